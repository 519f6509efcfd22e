"""What is printed about a corpus before it is fetched, and the comparison of its sets with their published sizes."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Iterable, Mapping

from speechlm.data.audio import MAX_SEC, AudioError, Span, duration_sec
from speechlm.data.items import shorten
from speechlm.data.kaldi import read_audio

HOURS_TOLERANCE = 0.01  # of a set: published hours are rounded, and formats pad differently
GB = 1e9
BATCH = 1000  # recordings that a thread measures at a time
REPORT_SEC = 10.0


@dataclass(frozen=True)
class CorpusInfo:
    """`bytes` on the disk, archives and unpacked files together; `by_hand`: what no program may fetch, and how to get
    it.
    """

    name: str
    licence: str
    bytes: int
    by_hand: str = "nothing"

    def announce(self) -> None:
        """Print it; to be called before anything starts."""
        print(
            f"{self.name}\n  licence: {self.licence}\n  on disk: about {self.bytes / GB:.1f} GB\n  to fetch by hand:"
            f" {self.by_hand}",
            flush=True,
        )


@dataclass(frozen=True)
class Expected:
    """The published size of a set; None where nothing is published."""

    utterances: int | None = None
    hours: float | None = None


@dataclass(frozen=True)
class Found:
    """A set as it is: its size, and the ids of recordings that cannot be used or are too long to be used (all are
    counted).
    """

    utterances: int
    hours: float
    broken: tuple[str, ...] = ()
    long: tuple[str, ...] = ()


def measure(data_dir: str | Path, side: str, jobs: int = 4) -> Found:
    """Return the size of one language of a data directory, by the headers of its recordings (about 0.1 ms each)."""
    spans = read_audio(data_dir, side)
    keys, seconds = list(spans), {}
    batches = [keys[i : i + BATCH] for i in range(0, len(keys), BATCH)]
    began = said = time.monotonic()
    with ThreadPoolExecutor(max_workers=jobs) as pool:
        for found in pool.map(lambda batch: {key: _seconds(spans[key]) for key in batch}, batches):
            seconds |= found
            if time.monotonic() - said > REPORT_SEC:
                said = time.monotonic()
                left_sec = (said - began) * (len(spans) - len(seconds)) / len(seconds)
                print(
                    f"{data_dir}: {len(seconds)} of {len(spans)} recordings measured, {left_sec:.0f} s left", flush=True
                )
    long = tuple(key for key, value in seconds.items() if value > MAX_SEC)
    return Found(
        len(seconds), sum(seconds.values()) / 3600, tuple(key for key, value in seconds.items() if not value), long
    )


def _seconds(span: Span) -> float:
    try:
        return duration_sec(span)
    except AudioError:
        return 0.0


def check_sets(published: Mapping[str, Expected], found: Mapping[str, Found], full: bool) -> None:
    """Print the size of each set beside the published one; with `full`, raise ValueError naming every set that differs.

    Hours may differ by 1 %. For a set without published figures, only its own size is printed. Broken and long
    recordings are counted here and reported by the stage of the codes: none is dropped.
    """
    print("set: utterances, hours (published)", flush=True)
    wrong = []
    for name in [*published, *(name for name in found if name not in published)]:
        expected, set_ = published.get(name, Expected()), found.get(name)
        differs = list(_differences(expected, set_))
        print(_line(name, expected, set_) + ("  <- differs" if differs else ""), flush=True)
        wrong += [f"  {name}: {difference}" for difference in differs]
    if wrong and full:
        listing = "\n".join(wrong)
        raise ValueError(
            f"{len(wrong)} figure(s) differ from the published ones:\n{listing}\n"
            "Fetch what is missing and run stage 1 again, or say that this is only a part of the corpus: --partial true"
        )


def _differences(expected: Expected, found: Found | None) -> Iterable[str]:
    if found is None:
        yield "the set is missing"
        return
    if expected.utterances is not None and found.utterances != expected.utterances:
        yield (
            f"{found.utterances} utterances, published {expected.utterances}"
            f" ({found.utterances - expected.utterances:+d})"
        )
    if expected.hours is not None and abs(found.hours - expected.hours) > max(0.051, HOURS_TOLERANCE * expected.hours):
        yield f"{found.hours:.2f} hours, published {expected.hours:g}"


def _line(name: str, expected: Expected, found: Found | None) -> str:
    if found is None:
        return f"  {name}: missing"
    utterances = "" if expected.utterances is None else f" ({expected.utterances})"
    hours = "" if expected.hours is None else f" ({expected.hours:g})"
    line = f"  {name}: {found.utterances}{utterances}, {found.hours:.2f}{hours}"
    for kind, keys in (("broken or empty", found.broken), (f"longer than {MAX_SEC:g} s", found.long)):
        if keys:
            line += f"; {len(keys)} {kind} ({shorten(keys)})"
    return line
