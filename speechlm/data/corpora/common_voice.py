"""Common Voice 4 (2019-12-10), which CoVoST 2 and CVSS are made from: `validated.tsv` and `clips/*.mp3` of one
language.

Its archives have no public links any more. 504 clips of its languages are empty (0 bytes), as counted in
github.com/common-voice/cv-dataset, issue 31; those that a set lists are counted when it is written.
"""

from dataclasses import dataclass
from pathlib import Path

from speechlm.data.audio import Span
from speechlm.data.corpora.sets import find_one, first_rows, obtain, read_tsv

CODES = {"zh": "zh-CN", "sv": "sv-SE"}  # ours -> Common Voice's, where they differ
# Bytes of the archive of each language. Source: github.com/common-voice/cv-dataset,
# datasets/scripted-speech/cv-corpus-4-2019-12-10.json
BYTES = {
    "en": 41448227462, "de": 15073085593, "fr": 11572099037, "cy": 2145771717, "tr": 408922099, "ca": 8180437356,
    "sl": 183825568,
    "it": 3447602853, "nl": 927639565, "et": 365304398, "fa": 7090877468, "es": 6226191576, "zh": 873632587,
    "mn": 350541861,
    "sv": 161284616, "ru": 2131930453, "id": 106786387, "ar": 346519122, "ta": 139043206, "pt": 774265004,
    "lv": 168378556, "ja": 88830917,
}  # fmt: skip
BY_HAND = (
    "the clips of Common Voice 4 (cv-corpus-4-2019-12-10): ask for the archive of the language at"
    " https://commonvoice.mozilla.org, or use a copy of your laboratory, and give its folder, the archive or the signed"
    " link with --common_voice"
)


@dataclass(frozen=True)
class CommonVoice:
    """The recordings of one language: rows of validated.tsv by file name (`common_voice_fr_17299384.mp3`), and the
    folder of clips.
    """

    rows: dict[str, dict[str, str]]
    repeated: frozenset[str]
    clips: Path

    def span(self, name: str) -> Span:
        return Span(str(self.clips / name))


def load_common_voice(place: str, lang: str, downloads: Path) -> CommonVoice:
    """Read the recordings of a language from a folder (of it, or of all languages), an archive or an address."""
    code = CODES.get(lang, lang)
    if not place:
        raise ValueError(f"no recordings: to fetch by hand are {BY_HAND}")
    folder = obtain(place, f"cv-corpus-4-2019-12-10-{code}.tar.gz", downloads)
    table = folder / "validated.tsv"  # the folder of one language
    if not table.is_file():
        table = find_one(folder, [f"{code}/validated.tsv"])
    clips = table.parent / "clips"
    if not clips.is_dir():
        raise ValueError(
            f"{clips}: no such folder; expected the clips (*.mp3) beside {table}. Unpack the whole archive."
        )
    rows, repeated = first_rows(read_tsv(table, ["client_id", "path", "sentence"]), "path")
    if not any(name.startswith(f"common_voice_{code}_") for name in rows):
        raise ValueError(
            f"{table}: found {next(iter(rows), 'no clips')}; expected common_voice_{code}_*. Give the folder of {code}"
            " in release 4."
        )
    return CommonVoice(rows, frozenset(repeated), clips.resolve())


def utterance_id(name: str) -> str:
    """Return `common_voice_fr_17299384` for the file name of a clip."""
    return name.removesuffix(".mp3")
