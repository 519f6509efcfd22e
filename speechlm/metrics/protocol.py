"""Protocols: how each task is scored, as a declarative file that a paper can name.

A file of speechlm/metrics/protocols (or your own) has a description and, for each task that it covers, the fields of `Rules`.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from speechlm.data.settings import fill, read_yaml
from speechlm.metrics.normalise import NORMALISERS
from speechlm.metrics.text import METRICS

FOLDER = Path(__file__).with_name("protocols")
TASKS = ("asr", "tts", "s2tt", "s2st")
SPOKEN = ("tts", "s2st")  # tasks whose output is speech


@dataclass(frozen=True)
class Rules:
    """How one task is scored.

    metrics: of texts; `normaliser` is of the hypotheses, `reference_normaliser` of the references (default: the same).
    recogniser: KIND:MODEL[@REVISION] that writes down spoken output; `beam` 1 is greedy.
    quality: measures of the audio itself; `codec_quality`: measures against the original, made of the codec ceiling only.
    """

    metrics: list[str]
    normaliser: str = "none"
    reference_normaliser: str = ""
    tokenise: str = "auto"
    recogniser: str = ""
    beam: int = 1
    quality: tuple[str] = ()
    codec_quality: tuple[str] = ()
    protocol: str = ""

    def __post_init__(self) -> None:
        for what, names, known in (
            ("metric", self.metrics, METRICS),
            ("normaliser", {self.normaliser, self.reference_normaliser or self.normaliser}, NORMALISERS),
        ):
            if wrong := [name for name in names if name not in known]:
                raise ValueError(f"{what} {', '.join(wrong)}; expected some of {', '.join(known)}")

    def normalise(self, hyp: str, ref: str, lang: str) -> tuple[str, str]:
        """Return the hypothesis and the reference as they are compared."""
        return NORMALISERS[self.normaliser](hyp, lang), NORMALISERS[self.reference_normaliser or self.normaliser](ref, lang)

    @property
    def signature(self) -> str:
        same = self.reference_normaliser in ("", self.normaliser)
        return f"norm:{self.normaliser}" + ("" if same else f",ref:{self.reference_normaliser}")


def rules_for(specs: list[str], task: str, judge: str | None = None) -> Rules:
    """Return the rules of the first protocol (a name or a file) that covers a task; `judge` replaces its recogniser.

    Raises ValueError if there is no such protocol, or none covers the task.
    """
    for spec in specs:
        protocol = load_protocol(spec)
        if task in protocol:
            rules = protocol[task]
            return replace(rules, recogniser=judge) if judge and task in SPOKEN else rules
    covering = ", ".join(path.stem for path in sorted(FOLDER.glob("*.yaml")) if task in load_protocol(path.stem))
    raise ValueError(f"--protocol {' '.join(specs)}: says nothing of task {task}. Add one that does: {covering}")


def load_protocol(spec: str) -> dict[str, Rules]:
    """Return {task: rules} of a protocol given by its name or its file."""
    path = next((p for p in (FOLDER / f"{spec}.yaml", Path(spec)) if p.is_file()), None)
    if path is None:
        known = ", ".join(sorted(p.stem for p in FOLDER.glob("*.yaml")))
        raise ValueError(f"--protocol {spec}: found no such protocol and no such file. Expected one of {known}, or your own .yaml")
    content = read_yaml(path)
    if not isinstance(content, dict) or not isinstance(content.get("description"), str) or len(content) < 2:
        raise ValueError(f"{path}: no protocol; expected a description and the rules of some of {', '.join(TASKS)}")
    if unknown := sorted(str(task) for task in content.keys() - {"description", *TASKS}):
        raise ValueError(f"{path}: unknown tasks {unknown}; expected some of {', '.join(TASKS)}")
    rules = {task: fill(Rules, values, f"{path}: {task}") for task, values in content.items() if task != "description"}
    return {task: replace(rule, protocol=path.stem) for task, rule in rules.items()}
