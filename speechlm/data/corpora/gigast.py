"""GigaSpeech with the translations of GigaST and the Chinese speech of GigaS2S: English to Mandarin.

* `GigaSpeech.json` and `audio/**/*.opus` (github.com/SpeechColab/GigaSpeech): recordings cut into segments; `text_tn`
in capitals with
  <COMMA> <PERIOD> <QUESTIONMARK> <EXCLAMATIONPOINT>, or one of <SIL> <MUSIC> <NOISE> <OTHER> where nobody speaks;
  `subsets` {XS} ... {XL}, {DEV}, {TEST}.
* `GigaST.zh.json` (github.com/bytedance/neurst, datasets/GigaST): segments by `sid` with the translation `text_raw`.
* GigaS2S (github.com/SpeechTranslation/GigaS2S): the translations of the training set spoken by one synthetic voice,
`<sid>*.wav`.
"""

import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Iterator

import ijson

from speechlm.data.audio import Span
from speechlm.data.corpora.sets import RawSet, find_one, obtain, write_set
from speechlm.data.corpus import CorpusInfo, Expected, check_sets
from speechlm.data.download import RemoteFile, fetch
from speechlm.data.files import atomic_write, walk

GIGAST = "https://lf3-nlp-opensource.bytetos.com/obj/nlp-opensource/datasets/GigaST/GigaST.zh.json"
GIGAS2S = "http://lf3-nlp-opensource.bytetos.com/obj/nlp-opensource/datasets/GigaS2S/EN2ZH/ZH/train.tar.gz.split.{:02d}"
GIGAS2S_PARTS = 27  # data/en2zh/train_url.txt of its repository
INFO = CorpusInfo(
    "GigaSpeech + GigaST + GigaS2S, en to zh",
    "GigaSpeech: for non-commercial research, by application; GigaST CC BY-NC 4.0; GigaS2S CC BY 4.0",
    900_000_000_000,  # "at least 900G of free space" for GigaSpeech: its README. The size of GigaS2S is not published.
    "GigaSpeech, after accepting its terms (https://github.com/SpeechColab/GigaSpeech): give its folder with"
    " --gigaspeech",
)
SUBSETS = ("XS", "S", "M", "L", "XL")
# Segments and hours with a translation (GigaST's README); of XS it says nothing, and of dev neither.
PUBLISHED = {
    "S": Expected(210012, 243.1),
    "M": Expected(835846, 974.3),
    "L": Expected(2084274, 2337.7),
    "XL": Expected(7650889, 9780.8),
}
TEST = Expected(19888, 35.3)
MARKS = {"<COMMA>": ",", "<PERIOD>": ".", "<QUESTIONMARK>": "?", "<EXCLAMATIONPOINT>": "!"}
NOBODY_SPEAKS = {"<SIL>", "<MUSIC>", "<NOISE>", "<OTHER>"}


@dataclass(frozen=True)
class Options:
    """Folders: `gigaspeech` with GigaSpeech.json; `gigast` (file or folder; empty: fetched); `gigas2s` (empty: no
    Chinese speech; fetch: fetched).

    `dev_recordings`: how many of the last training recordings become the development set; 0: GigaSpeech's own.
    """

    gigaspeech: str
    gigast: str
    gigas2s: str
    subset: str
    dev_recordings: int
    downloads: Path
    datadir: Path
    partial: bool = False


@dataclass
class Segments:
    """Segments of one set, in the order of the corpus: where each is, what is said, which recording it belongs to."""

    spans: dict[str, Span] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    recordings: dict[str, str] = field(default_factory=dict)

    def move_last(self, recordings: int) -> "Segments":
        """Take the segments of the last recordings out, and return them."""
        chosen = set(list(dict.fromkeys(self.recordings.values()))[-recordings:])
        keys = [key for key, name in self.recordings.items() if name in chosen]
        return Segments(*({key: table.pop(key) for key in keys} for table in (self.spans, self.texts, self.recordings)))


def prepare(options: Options) -> None:
    """Write datadir/{train,dev,test}; ValueError if something is missing or not as published."""
    if options.subset not in SUBSETS:
        raise ValueError(f"--subset {options.subset}: expected one of {', '.join(SUBSETS)}")
    INFO.announce()
    if not options.gigaspeech:
        raise ValueError(f"no recordings: to fetch by hand is {INFO.by_hand}")
    table = find_one(Path(options.gigaspeech), ["GigaSpeech.json"], deepest=2)
    translations = read_translations(find_gigast(options))
    sets = read_segments(table, options.subset, set(translations))
    if options.dev_recordings:
        sets["dev"] = sets["train"].move_last(options.dev_recordings)
    spoken = find_speech(options)
    found = {}
    for name, segments in sets.items():
        if not segments.spans:
            hint = " Make it of the last training recordings: --dev_recordings 20" if name == "dev" else ""
            raise ValueError(f"{table}: no segments of {name} with a translation.{hint}")
        raw = RawSet(
            name,
            list(segments.spans),
            {"en": segments.spans},
            {"en": segments.texts, "zh": translations},
            segments.recordings,
        )
        if spoken and name == "train":
            raw.audio["zh"] = {key: Span(spoken[key]) for key in raw.ids if key in spoken}
        found[name] = write_set(raw, options.datadir / name, may_shrink=name == "train", partial=options.partial)
    whole = Expected() if options.dev_recordings or spoken else PUBLISHED.get(options.subset, Expected())
    check_sets({"train": whole, "dev": Expected(), "test": TEST}, found, full=not options.partial)


def read_segments(path: Path, subset: str, wanted: set[str]) -> dict[str, Segments]:
    """Return the segments in which somebody speaks and that are `wanted`, of train, dev and test. Reads the file as a
    stream.
    """
    labels = {f"{{{subset}}}": "train", "{DEV}": "dev", "{TEST}": "test"}
    sets = {name: Segments() for name in ("train", "dev", "test")}
    counted = {"no speech": 0, "without a translation": 0}
    for recording in _audios(path):
        place = str((path.parent / recording["path"]).resolve())
        for segment in recording["segments"]:
            name = next((labels[label] for label in segment["subsets"] if label in labels), None)
            if name is None:
                continue
            if NOBODY_SPEAKS & set(segment["text_tn"].split()):
                counted["no speech"] += 1
            elif segment["sid"] not in wanted:
                counted["without a translation"] += 1
            else:
                key, chosen = segment["sid"], sets[name]
                chosen.spans[key] = Span(place, segment["begin_time"], segment["end_time"])
                chosen.texts[key], chosen.recordings[key] = spell(segment["text_tn"]), recording["aid"]
    print(f"{path}: " + ", ".join(f"{count} segments {what}" for what, count in counted.items()), flush=True)
    return sets


def read_translations(path: Path) -> dict[str, str]:
    """Return {sid: translation} of GigaST."""
    return {segment["sid"]: segment["text_raw"] for recording in _audios(path) for segment in recording["segments"]}


def _audios(path: Path) -> Iterator[dict]:
    """Yield the recordings of a GigaSpeech or GigaST file, one at a time; ValueError if it is cut short or of another
    kind.
    """
    try:
        with open(path, "rb") as stream:
            yield from ijson.items(stream, "audios.item", use_float=True)
    except (ijson.JSONError, KeyError) as error:
        raise ValueError(f"{path}: not a whole GigaSpeech or GigaST file ({error}). Fetch it again.") from None


def spell(text: str) -> str:
    """Return a transcript as people write it: in lower case, with punctuation. `HELLO <COMMA> YOU <PERIOD>` gives
    `hello, you.`
    """
    text = " ".join(MARKS.get(word, word.lower()) for word in text.split())
    return re.sub(r" ([,.?!])", r"\1", text)


def find_gigast(options: Options) -> Path:
    """Return GigaST.zh.json: the one given, or fetched."""
    if not options.gigast:
        fetch([RemoteFile(GIGAST, "GigaST.zh.json")], options.downloads)
        return options.downloads / "GigaST.zh.json"
    path = Path(options.gigast)
    return path if path.is_file() else find_one(path, ["GigaST.zh.json", "GigaST.zh.cn.json"], deepest=2)


def find_speech(options: Options) -> dict[str, str]:
    """Return {sid: path} of the Chinese speech, by file names (`<sid>.wav` or `<sid>_ZH.wav`); empty if it is not
    wanted.
    """
    if not options.gigas2s:
        return {}
    folder = fetch_speech(options.downloads) if options.gigas2s == "fetch" else Path(options.gigas2s)
    folder = obtain(str(folder), "gigas2s_en2zh_train.tar.gz", options.downloads)
    wavs = (path for path in sorted(walk(folder)) if path.suffix == ".wav" and not path.stem.endswith("_EN"))
    found = {path.stem.removesuffix("_ZH"): str(path.resolve()) for path in wavs}
    if not found:
        raise ValueError(
            f"{folder}: no *.wav below it. Give the folder of GigaS2S's unpacked training set with --gigas2s."
        )
    return found


def fetch_speech(downloads: Path) -> Path:
    """Fetch the parts of the archive of GigaS2S and join them."""
    whole = downloads / "gigas2s_en2zh_train.tar.gz"
    if not whole.exists():
        parts = [RemoteFile(GIGAS2S.format(i), f"gigas2s.{i:02d}") for i in range(GIGAS2S_PARTS)]
        fetch(parts, downloads)
        with atomic_write(whole, "wb") as stream:
            for part in parts:
                with open(downloads / part.name, "rb") as source:
                    shutil.copyfileobj(source, stream)
    return whole
