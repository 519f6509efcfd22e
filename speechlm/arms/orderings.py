"""Does one arm do better than another, as the paper found? Agrees, differs, or undecided within noise."""

from dataclasses import dataclass

from speechlm.arms.figures import Measured
from speechlm.metrics.bootstrap import bounds

AGREES, DIFFERS, UNDECIDED, MISSING = "agrees", "differs", "undecided", "not measured"


@dataclass(frozen=True)
class Verdict:
    """`gain`: by how much the arm that should be better is better (negative: worse), with its 95 % interval over
    utterances.
    """

    word: str
    why: str
    gain: float | None = None
    interval: tuple[float, float] | None = None


def judge(better: Measured | None, worse: Measured | None, lower: bool) -> Verdict:
    """Return the verdict on "`better` is better than `worse`"; `lower`: less is better.

    It takes both to decide: an interval of the difference of the means over seeds that excludes zero (utterances
    resampled, the same in both arms), and every seed of one arm better than every seed of the other. One seed says
    nothing about the noise between seeds.
    """
    if not better or not worse:
        return Verdict(MISSING, "an arm has no figure yet")
    require_same_utterances(better, worse)
    sign = -1 if lower else 1
    gain = sign * (better.mean - worse.mean)
    a_R, b_R = better.means_R(), worse.means_R()
    interval = None if a_R is None or b_R is None else bounds(sign * (a_R - b_R))
    if interval is None:
        return Verdict(UNDECIDED, "no values of single utterances", gain)
    if interval[0] <= 0 <= interval[1]:
        return Verdict(UNDECIDED, "within the noise of the utterances", gain, interval)
    if min(len(better.values), len(worse.values)) < 2:
        return Verdict(UNDECIDED, "one seed", gain, interval)
    ours, others = ([sign * value for value in side.values] for side in (better, worse))
    if not (min(ours) > max(others) or max(ours) < min(others)):
        return Verdict(UNDECIDED, "within the noise of the seeds", gain, interval)
    return Verdict(AGREES if gain > 0 else DIFFERS, "", gain, interval)


def require_same_utterances(one: Measured, other: Measured) -> None:
    """Raise ValueError unless all figures are over the same utterances and measured alike."""
    figures = [*one.by_seed.values(), *other.by_seed.values()]
    for figure in figures[1:]:
        if (figure.keys and figures[0].keys and figure.keys != figures[0].keys) or figure.row.protocol != figures[
            0
        ].row.protocol:
            raise ValueError(
                f"{figures[0].file} and {figure.file}: different utterances, or measured in another way"
                f" ({figures[0].row.signature}; {figure.row.signature}). Delete the outdated piece's piece.json and"
                " run the command again"
            )


def undominated(points: dict[str, tuple[float, ...]]) -> set[str]:
    """Return the names of the points that no other is at least as good as in everything and better in something (less
    is better).
    """

    def beats(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
        return all(x <= y for x, y in zip(a, b, strict=True)) and a != b

    return {name for name, point in points.items() if not any(beats(other, point) for other in points.values())}
