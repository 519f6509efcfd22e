"""Arms as data: what one arm of the comparison changes. All else is equal, because all run through the same driver.

An arm is a file of conf/arms with the fields of `Arm`. A number after its name is a parameter: replay_30 is replay.yaml
with
`number` 30.
"""

import json
import re
from dataclasses import dataclass, field, replace
from pathlib import Path

from speechlm.arms.figures import load_layout
from speechlm.data.layers import find_layers
from speechlm.data.settings import Percentage, fill, read_mapping, read_value, read_yaml
from speechlm.tasks import SCORED, TASKS, check_tasks

COMPARED = tuple(task for task in SCORED if task in {wanted["task"] for wanted in load_layout()["metrics"].values()})


@dataclass(frozen=True)
class Arm:
    """What an arm changes. `description`: what it is, in the tables. `cpt`, `sft`: settings over those of all arms.

    skip_cpt: fine-tune the LLM itself; random_init: take only its architecture. `tasks` are fine-tuned.
    number: the percentage of the tasks `share_of` among the CPT examples of the tasks `among` (default: of all tasks);
    for an arm that names none, the percentage of the steps of all its trainings.
    """

    description: str
    cpt: dict = field(default_factory=dict)
    sft: dict = field(default_factory=dict)
    skip_cpt: bool = False
    random_init: bool = False
    tasks: tuple[str] = COMPARED
    share_of: tuple[str] = ()
    among: tuple[str] = ()
    number: Percentage | None = None

    def __post_init__(self) -> None:
        check_tasks(self.tasks, SCORED, "tasks")
        check_tasks([*self.share_of, *self.among], TASKS, "share_of, among")
        if self.skip_cpt and (self.cpt or self.share_of):
            raise ValueError("skip_cpt with settings of CPT; expected one of them")

    def only(self, tasks: list[str]) -> "Arm":
        """Return the arm with these of its tasks alone; raise ValueError if it has none of them."""
        kept = tuple(task for task in self.tasks if task in tasks)
        if not kept:
            raise ValueError(
                f"--tasks {' '.join(tasks)}: {self.description} has {' '.join(self.tasks)}. Name some of them"
            )
        return replace(self, tasks=kept)


def load_arm(name: str, folders: list[Path]) -> Arm:
    """Return an arm by its name, from the last folder that has its file; raise ValueError if none has."""
    stem, number = re.fullmatch(r"(.*?)(?:_(\d+))?", name).groups()
    path = next((p for folder in reversed(folders) if (p := folder / "arms" / f"{stem}.yaml").is_file()), None)
    if path is None:
        known = sorted({p.stem for folder in folders for p in (folder / "arms").glob("*.yaml")})
        raise ValueError(
            f"--arms {name}: no arms/{stem}.yaml in {', '.join(map(str, folders))}. Expected some of {', '.join(known)}"
        )
    arm = fill(Arm, read_yaml(path), str(path))
    if number is None:
        if arm.share_of and arm.number is None:
            raise ValueError(f"--arms {name}: {path} takes a percentage. Expected it after the name, such as {name}_30")
        return arm
    if arm.number is not None or (not arm.share_of and number == "0"):
        raise ValueError(f"--arms {name}: {path} takes no percentage, found {number}. Expected {stem}")
    read_value(int(number), Percentage, f"--arms {name}: the percentage")
    return replace(
        arm,
        number=int(number),
        description=f"{arm.description}: {number} %" + ("" if arm.share_of else " of the steps"),
    )


def mixture_of(arm: Arm, mixture: dict[str, float]) -> dict[str, float]:
    """Return the CPT mixture in which the tasks `share_of` have their share; within each part the proportions stay."""
    among = [task for task in mixture if not arm.among or task in arm.among]
    chosen = [task for task in among if task in arm.share_of]
    rest = [task for task in among if task not in chosen]
    total, inside, outside = (sum(mixture[task] for task in tasks) for tasks in (among, chosen, rest))
    if not inside or not outside:
        raise ValueError(
            f"share_of {', '.join(arm.share_of)}: the mixture {mixture} has none of them, or no others. Name some of"
            " its tasks"
        )
    share = arm.number / 100
    scale = dict.fromkeys(chosen, share * total / inside) | dict.fromkeys(rest, (1 - share) * total / outside)
    return {task: round(weight * scale.get(task, 1), 6) for task, weight in mixture.items() if scale.get(task, 1)}


def layered(name: str, folders: list[Path]) -> tuple[dict, list[Path]]:
    """Return the settings of a training as the driver puts them together, and the files: later folders override earlier
    ones.
    """
    files = find_layers(name, folders)
    settings: dict = {}
    for path in files:
        settings |= read_mapping(path)
    return settings, files


@dataclass(frozen=True)
class Plan:
    """What the driver is given for one arm: `overlay` {file name: settings}, its options, and the files it all came
    from.
    """

    overlay: dict[str, dict]
    options: list[str]
    files: list[Path]


def make_plan(arm: Arm, folders: list[Path], overlays: list[Path], probe: tuple[str, list[int]]) -> Plan:
    """`probe`: the task whose fine-tuning is scored as it goes on, and after which percentages of its steps."""
    task, percentages = probe
    steps = 100 if arm.share_of or arm.number is None else arm.number
    overlay, files, options = {"sft": arm.sft}, [], ["--tasks", " ".join(arm.tasks)]
    for name in arm.tasks:
        settings, used = layered(f"sft_{name}", [*folders, *overlays])
        files += used
        settings |= arm.sft
        if steps != 100:
            overlay[f"sft_{name}"] = fewer_steps(settings, steps)
        if name == task and percentages:
            last = (settings | overlay.get(f"sft_{name}", {}))["max_steps"]
            kept = sorted({max(1, round(last * percent / 100)) for percent in percentages} - {last})
            options += ["--probe_task", task, "--probe_steps", " ".join(map(str, kept))]
    if arm.skip_cpt:
        options += ["--skip_cpt", "true", "--zero_shot_tasks", ""]
    else:
        settings, used = layered("cpt", [*folders, *overlays])
        files += used
        shares = {"mixture": mixture_of(arm, settings["mixture"])} if arm.share_of else {}
        fewer = fewer_steps(settings, steps) if steps != 100 else {}
        overlay["cpt"] = arm.cpt | shares | fewer
        options += ["--zero_shot_tasks", task if task in arm.tasks else ""]
    if arm.random_init:
        options += ["--random_init", "true"]
    return Plan({name: settings for name, settings in overlay.items() if settings}, options, list(dict.fromkeys(files)))


def fewer_steps(settings: dict, percent: int) -> dict:
    """Return the settings of a training in `percent` of the steps; it is validated at its end alone."""
    steps = max(1, round(settings["max_steps"] * percent / 100))
    return {"max_steps": steps, "warmup_steps": min(settings.get("warmup_steps", 50), steps), "eval_interval": steps}


def as_yaml(settings: dict) -> str:
    """JSON is YAML, too: one setting a line."""
    return "".join(f"{key}: {json.dumps(value)}\n" for key, value in settings.items())
