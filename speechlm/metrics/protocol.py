"""Protocols: how each task is scored, as a declarative file that a paper can name.

A file of speechlm/metrics/protocols (or your own) has a description and, for each task that it covers, the fields of
`Rules`. A task that it does not name is scored like one with the same metric and the same kind of output (t2st like
s2st).
"""

from dataclasses import dataclass, replace
from pathlib import Path

from speechlm.data.settings import Positive, fill, read_yaml
from speechlm.metrics.normalise import NORMALISERS
from speechlm.metrics.text import METRICS
from speechlm.tasks import SCORED, TASKS

FOLDER = Path(__file__).with_name("protocols")


@dataclass(frozen=True)
class Rules:
    """How one task is scored.

    metrics: of texts; `normaliser` is of the hypotheses, `reference_normaliser` of the references (default: the same).
    recogniser: KIND:MODEL[@REVISION] that writes down spoken output; `beam` 1 is greedy.
    quality: measures of the audio itself; `codec_quality`: measures against the original, made of the codec ceiling
    only.
    """

    metrics: list[str]
    normaliser: str = "none"
    reference_normaliser: str = ""
    tokenise: str = "auto"
    recogniser: str = ""
    beam: Positive = 1
    quality: tuple[str] = ()
    codec_quality: tuple[str] = ()
    protocol: str = ""

    def __post_init__(self) -> None:
        if not self.metrics:
            raise ValueError(f"metrics is []; expected some of {', '.join(METRICS)}")
        for what, names, known in (
            ("metric", self.metrics, METRICS),
            ("normaliser", {self.normaliser, self.reference_normaliser or self.normaliser}, NORMALISERS),
        ):
            if wrong := [name for name in names if name not in known]:
                raise ValueError(f"{what} {', '.join(wrong)}; expected some of {', '.join(known)}")

    def normalise(self, hyp: str, ref: str, lang: str) -> tuple[str, str]:
        """Return the hypothesis and the reference as they are compared."""
        return NORMALISERS[self.normaliser](hyp, lang), NORMALISERS[self.reference_normaliser or self.normaliser](
            ref, lang
        )

    @property
    def signature(self) -> str:
        same = self.reference_normaliser in ("", self.normaliser)
        return f"norm:{self.normaliser}" + ("" if same else f",ref:{self.reference_normaliser}")


def rules_for(specs: list[str], task: str, judge: str | None = None) -> Rules:
    """Return the rules of the first protocol (a name or a file) that covers a task; `judge` replaces its recogniser.

    Raises ValueError if there is no such protocol, or none covers the task.
    """
    for spec in specs:
        if rules := covering_rules(load_protocol(spec), task):
            return replace(rules, recogniser=judge) if judge and TASKS[task].speaks else rules
    covering = ", ".join(
        path.stem for path in sorted(FOLDER.glob("*.yaml")) if covering_rules(load_protocol(path.stem), task)
    )
    raise ValueError(f"--protocol {' '.join(specs)}: does not cover task {task}. Add one that does: {covering}")


def covering_rules(protocol: dict[str, Rules], task: str) -> Rules | None:
    """Return the rules of a task, or of one that is scored alike: with the same metric and the same kind of output."""
    alike = [
        name
        for name in protocol
        if (TASKS[name].metric, TASKS[name].speaks) == (TASKS[task].metric, TASKS[task].speaks)
    ]
    return next((protocol[name] for name in [task, *alike] if name in protocol), None)


def load_protocol(spec: str) -> dict[str, Rules]:
    """Return {task: rules} of a protocol given by its name or its file."""
    path = next((p for p in (FOLDER / f"{spec}.yaml", Path(spec)) if p.is_file()), None)
    if path is None:
        known = ", ".join(sorted(p.stem for p in FOLDER.glob("*.yaml")))
        raise ValueError(
            f"--protocol {spec}: found no such protocol and no such file. Expected one of {known}, or your own .yaml"
        )
    content = read_yaml(path)
    if not isinstance(content, dict) or not isinstance(content.get("description"), str) or len(content) < 2:
        raise ValueError(f"{path}: no protocol; expected a description and the rules of some of {', '.join(SCORED)}")
    if unknown := sorted(str(task) for task in content.keys() - {"description", *SCORED}):
        raise ValueError(f"{path}: unknown tasks {unknown}; expected some of {', '.join(SCORED)}")
    rules = {task: fill(Rules, values, f"{path}: {task}") for task, values in content.items() if task != "description"}
    return {task: replace(rule, protocol=path.stem) for task, rule in rules.items()}
