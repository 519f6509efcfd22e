"""Bad items: which utterance is wrong, in what way, and the report of all of them.

A report has one line per finding, sorted: id, kind, file, detail, separated by tabs. In the folder of a set's codes it
is called
`bad_items.tsv` where the stage stopped because of it, `left_out.tsv` where it went on without these utterances, and
`warnings.tsv` holds what is suspicious but used.
"""

import re
from collections import Counter, defaultdict
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Iterable

from speechlm.data.files import atomic_write
from speechlm.data.plaintext import conversion

BAD_ITEMS, LEFT_OUT, WARNINGS = "bad_items.tsv", "left_out.tsv", "warnings.tsv"
WARNING_KINDS = {"clipping", "ends early", "kept: truncated", "kept: silence"}  # suspicious, but used
SHOWN = 5  # examples named in a message about many utterances

ADVICE = {  # kind -> (what is expected, how to fix it)
    "not UTF-8": ("UTF-8 text", "{convert}"),
    "byte order mark": ("plain UTF-8", "sed -i 's/^\\xef\\xbb\\xbf//' {file}"),
    "Windows line end": ("lines that end in \\n", "sed -i 's/\\r$//' {file}"),
    "bad id": (
        ("ids of at most 200 bytes, usable in file names: without / \\ : | or spaces, and not starting with . or -"),
        "change the id in every file of the directory, in local/data.sh",
    ),
    "duplicate id": (
        "each id once",
        "remove equal lines: sort -u -o {file} {file} ; give different utterances different ids",
    ),
    "empty": (
        "`id value`",
        "write the value, or remove the utterance: python -m speechlm.bin.validate_data {dir} --drop",
    ),
    "missing in a file": (
        "the same utterance ids in every file",
        "run local/data.sh again, or drop incomplete utterances: python -m speechlm.bin.validate_data {dir} --drop",
    ),
    "control character": ("printable text with single spaces, no tabs", "replace them with spaces, in local/data.sh"),
    "too many words": ("the words of one utterance", "cut it into utterances, in local/data.sh"),
    "bad segment": (
        "`id recording start_sec end_sec`, 0 <= start < end, a recording of wav.scp",
        "correct it, in local/data.sh",
    ),
    "a command": (
        "paths of audio files; commands in a corpus are never run",
        (
            "where a command only decodes a file, write that file's path instead (flac, mp3, ogg, m4a, sph without"
            " compression are read as they are, and `segments` cut stretches); else run each command once (sox a.wav -t"
            " wav - > wav/ID.wav), and write the path of its output"
        ),
    ),
    "missing file": ("files that exist", "paths are relative to {here}; run local/data.sh there again"),
    "empty file": ("wav or flac files with samples", "fetch or make the files again, and run local/data.sh"),
    "not audio": ("a format that libsndfile or FFmpeg reads", "convert them to wav or flac"),
    "not fetched": (
        "the recordings themselves",
        "fetch them: git lfs pull, in the repository that holds them; then run local/data.sh again",
    ),
    "joined": ("one recording in a file", "cut them apart, or join them with sox or ffmpeg, which write one header"),
    "no samples": ("wav or flac files with samples", "fetch or make the files again"),
    "truncated": (
        "as many samples as the header says",
        "fetch or make the files again; in a test set that was published that way, keep them: --keep_published"
        " truncated",
    ),
    "NaN or infinite": ("samples in [-1, 1]", "make the files again"),
    "silence": (
        "a sound",
        (
            "fetch the files again, or remove the utterances; in a test set that was published that way, keep"
            " them: --keep_published silence"
        ),
    ),
    "too long": ("one utterance", "cut the recordings with a `segments` file, or raise --max_sec"),
    "outside the recording": ("segments inside their recording", "correct the times of `segments`, in local/data.sh"),
    "cannot be coded": ("what the codec takes", "see the report for each file's reason"),
    "clipping": (
        "a level below full scale",
        "nothing needs to be done, but a better copy of the recordings would improve the result",
    ),
}


@dataclass(frozen=True, order=True)
class BadItem:
    """One finding: an utterance id, a kind of `ADVICE`, the file of the data directory that it was found in, and the
    details.
    """

    id: str
    kind: str
    file: str
    detail: str


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong in a data directory: where, what, what should be there, and how to fix it."""

    file: str
    found: str
    expected: str
    fix: str

    def __str__(self) -> str:
        return f"{self.file}: found {self.found}; expected {self.expected}.\n    Fix: {self.fix}"


def ids_of(items: Iterable[BadItem]) -> set[str]:
    """Return the distinct ids of findings: what --skip_bad counts."""
    return {item.id for item in items}


def group(items: Iterable[BadItem]) -> list[Problem]:
    """Return one problem per file and kind, for the console."""
    found, lines = defaultdict(set), defaultdict(list)
    for item in items:
        found[item.file, item.kind].add(item.id)
        if match := re.match(r"line (\d+): ", item.detail):
            lines[item.file, item.kind].append(int(match[1]))
    problems = []
    for (file, kind), ids in sorted(found.items()):
        expected, fix = ADVICE[kind]
        convert = conversion(file) if "{convert}" in fix else ""
        fix = fix.format(file=file, dir=Path(file).parent, here=Path.cwd(), convert=convert)
        where = f"; first in line {min(lines[file, kind])}" if lines[file, kind] else ""
        problems.append(Problem(file, f"{len(ids)} x {kind} ({shorten(sorted(ids))}{where})", expected, fix))
    return problems


def count_kinds(items: Iterable[BadItem]) -> str:
    """Return how many ids there are of each kind: "missing file 2, silence 1"."""
    counts = Counter(kind for _, kind in {(item.id, item.kind) for item in items})
    return ", ".join(f"{kind} {counts[kind]}" for kind in sorted(counts))


def shorten(names: Iterable[str]) -> str:
    """Return the first few names, and how many more there are."""
    names = list(names)
    return ", ".join(names[:SHOWN]) + (f", and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def printable(text: str) -> str:
    """Return text as it may stand in a report: control characters escaped, at most 80 characters."""
    text = "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)
    return text if len(text) <= 80 else f"{text[:80]}..."


def write_items(path: Path, items: Iterable[BadItem]) -> None:
    """Write a report, whole or not at all; without items, remove it."""
    items = sorted(set(items))
    if not items:
        path.unlink(missing_ok=True)
        return
    with atomic_write(path) as stream:
        stream.writelines("\t".join(astuple(item)) + "\n" for item in items)


def read_items(path: Path) -> list[BadItem]:
    """Return the findings of a report, none if there is no such file; raise ValueError if it is not one."""
    if not path.is_file():
        return []
    try:
        return [BadItem(*line.split("\t")) for line in path.read_text(encoding="utf-8").split("\n") if line]
    except (UnicodeDecodeError, TypeError):
        raise ValueError(
            f"{path}: not a report (id, kind, file, detail, separated by tabs). Delete it and run: python -m"
            " speechlm.bin.extract_codes"
        ) from None
