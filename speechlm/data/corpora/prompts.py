"""Which utterances of a test set are synthesised and in whose voice: the file `prompts` of its data directory.

The rule is deterministic: utterances of 4 to 10 s, in the order of their ids. *Cross-sentence*: each is given the voice
of the speaker's next utterance (after the last comes the first) that is long enough. *Continuation*: each is given its
own first seconds. So every laboratory that has the published recordings gets the same list, and its digest is printed
to compare it.
"""

from pathlib import Path
from typing import Mapping

from speechlm.data.audio import duration_sec
from speechlm.data.files import file_digest
from speechlm.data.kaldi import read_audio, read_speakers, read_table, write_table

SHORTEST_SEC, LONGEST_SEC = 4.0, 10.0  # tested: as in VALL-E (arXiv 2301.02111) and its successors
PROMPT_SEC = 3.0


def cross_sentence(seconds: Mapping[str, float], speakers: Mapping[str, str]) -> dict[str, str]:
    """Return {utterance: prompt}, both of one speaker; a speaker with no second utterance that is long enough
    has none.
    """
    by_speaker: dict[str, list[str]] = {}
    for key in sorted(seconds):
        if seconds[key] >= PROMPT_SEC:
            by_speaker.setdefault(speakers[key], []).append(key)
    following = {key: keys[(i + 1) % len(keys)] for keys in by_speaker.values() for i, key in enumerate(keys)}
    return {key: following[key] for key in sorted(seconds) if _tested(seconds[key]) and following[key] != key}


def continuation(seconds: Mapping[str, float]) -> dict[str, str]:
    """Return {utterance: itself}."""
    return {key: key for key in sorted(seconds) if _tested(seconds[key])}


def _tested(seconds: float) -> bool:
    return SHORTEST_SEC <= seconds <= LONGEST_SEC


def write_prompts(data_dir: Path, side: str, kind: str = "cross_sentence", given: str = "") -> None:
    """Write `prompts` by a rule (`cross_sentence` or `continuation`), or copy a `given` table, and print its size and
    digest.

    ValueError if nothing is left to test, or `given` is not a table.
    """
    path = Path(data_dir) / "prompts"
    if given:
        prompts = read_table(given)
    else:
        seconds = {key: duration_sec(span) for key, span in read_audio(data_dir, side).items()}
        prompts = (
            cross_sentence(seconds, read_speakers(data_dir)) if kind == "cross_sentence" else continuation(seconds)
        )
    if not prompts:
        raise ValueError(
            f"{data_dir}: no utterance of {SHORTEST_SEC:g} to {LONGEST_SEC:g} s to synthesise. Give a list: --prompts"
            " FILE"
        )
    write_table(path, prompts)
    print(
        f"{path}: {len(prompts)} utterances to synthesise ({given or kind}), sha256 {file_digest(path)[:16]}",
        flush=True,
    )
