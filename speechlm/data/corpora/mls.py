"""Multilingual LibriSpeech: audio books in eight languages, 16 kHz. openslr.org/94, arXiv 2012.03411

`mls_<language>[_opus]/<train|dev|test>/` holds `transcripts.txt` (id, tab, text in lower case), `segments.txt` (where
each comes from: not needed), and `audio/<speaker>/<book>/<speaker>_<book>_<number>.flac` or `.opus`.
`train/limited_supervision/` lists ids: `9hr/handles.txt` and
`1hr/<0 to 5>/handles.txt`, ten minutes each.
"""

from dataclasses import dataclass
from pathlib import Path

from speechlm.data.audio import Span
from speechlm.data.corpora.sets import RawSet, obtain_parts, report_unlisted, visible, write_set
from speechlm.data.corpus import CorpusInfo, Expected, Found, check_sets
from speechlm.data.download import RemoteFile, fetch
from speechlm.data.plaintext import read_lines, read_plain

ADDRESS = "https://dl.fbaipublicfiles.com/mls/"
LICENCE = "CC BY 4.0"
FORMATS = ("opus", "flac")
NAMES = {
    "en": "english", "de": "german", "nl": "dutch", "fr": "french", "es": "spanish", "it": "italian",
    "pt": "portuguese", "pl": "polish",
}  # fmt: skip
# GB of the archives as flac and as opus, rounded: openslr.org/94. Their md5 are fetched from md5sum.txt beside them.
GB = {
    "en": (2400, 651), "de": (115, 29), "nl": (86, 23), "fr": (61, 16), "es": (50, 14), "it": (15, 3.8), "pt": (9.3,
    2.5), "pl": (6.2, 1.6),
}  # fmt: skip
# Utterances of train, dev, test, and of the limited sets of 9 and of 1 hour: the dataset card of
# multilingual_librispeech on the Hugging Face hub, which does not have English.
UTTERANCES = {
    "de": (469942, 3469, 3394, 2194, 241), "nl": (374287, 3095, 3075, 2153, 234), "fr": (258213, 2416, 2426, 2167, 241),
    "es": (220701, 2408, 2385, 2110, 233), "it": (59623, 1248, 1262, 2173, 240), "pt": (37533, 826, 871, 2116, 236),
    "pl": (25043, 512, 520, 2173, 238), "en": (None,) * 5,
}  # fmt: skip
# Hours of train, dev, test: the dataset card of facebook/multilingual_librispeech.
HOURS = {
    "en": (44659.74, 15.75, 15.55), "de": (1966.51, 14.28, 14.29), "nl": (1554.24, 12.76, 12.76), "fr": (1076.58,
    10.07, 10.07),
    "es": (917.68, 9.99, 10.0), "it": (247.38, 5.18, 5.27), "pt": (160.96, 3.64, 3.74), "pl": (103.65, 2.08, 2.14),
}  # fmt: skip
LIMITED = {"1h": ["1hr/*/handles.txt"], "10h": ["1hr/*/handles.txt", "9hr/handles.txt"]}


@dataclass(frozen=True)
class Options:
    """`langs`: "pl", or several: "de nl". `format`: opus or flac. `mls`: the folder of the languages, unpacked or
    archives; empty: fetched.
    """

    langs: str
    format: str
    mls: str
    downloads: Path
    datadir: Path
    partial: bool = False


def prepare(options: Options) -> None:
    """Write datadir/{train,dev,test,train_1h,train_10h}_<lang> of each language; ValueError if they are not as
    published.
    """
    langs = options.langs.split()
    if not langs or set(langs) - set(NAMES) or options.format not in FORMATS:
        known = f"some of {', '.join(NAMES)}, and {' or '.join(FORMATS)}"
        raise ValueError(f"--langs '{options.langs}' --format {options.format}: expected {known}")
    size = 2 * sum(GB[lang][options.format == "opus"] for lang in langs) * 1e9
    CorpusInfo(f"Multilingual LibriSpeech ({options.format}), {options.langs}", LICENCE, int(size)).announce()
    folders = obtain_parts(options.mls, archives(langs, options), options.downloads)
    published: dict[str, Expected] = {}
    found: dict[str, Found] = {}
    for lang in langs:
        published |= published_of(lang)
        found |= write_language(lang, folders[part_name(lang, options.format)], options)
    check_sets(published, found, full=not options.partial)


def part_name(lang: str, kind: str) -> str:
    """Return what the folder of a language is called: mls_polish_opus, or mls_polish for flac."""
    return f"mls_{NAMES[lang]}" + ("_opus" if kind == "opus" else "")


def archives(langs: list[str], options: Options) -> dict[str, RemoteFile]:
    """Return the archives of the languages with their md5, which are fetched unless there is a copy."""
    parts = [part_name(lang, options.format) for lang in langs]
    sums: dict[str, str] = {}
    if not options.mls:
        fetch([RemoteFile(f"{ADDRESS}md5sum.txt", "mls_md5sum.txt")], options.downloads)
        lines = (line.split() for line in read_lines(options.downloads / "mls_md5sum.txt"))
        sums = {Path(words[1].lstrip("*")).name: words[0] for words in lines if len(words) == 2}
    return {
        part: RemoteFile(f"{ADDRESS}{part}.tar.gz", f"{part}.tar.gz", md5=sums.get(f"{part}.tar.gz")) for part in parts
    }


def published_of(lang: str) -> dict[str, Expected]:
    """Return {set: its published size}."""
    train, dev, test, nine, one = UTTERANCES[lang]
    sizes = {
        f"{name}_{lang}": Expected(*pair)
        for name, *pair in zip(("train", "dev", "test"), (train, dev, test), HOURS[lang])
    }
    return sizes | {f"train_1h_{lang}": Expected(one), f"train_10h_{lang}": Expected(nine + one if one else None)}


def write_language(lang: str, folder: Path, options: Options) -> dict[str, Found]:
    """Write the sets of a language, the limited ones too; return their sizes."""
    raws = {name: read_set(f"{name}_{lang}", folder / name, lang, options.format) for name in ("train", "dev", "test")}
    for name, patterns in LIMITED.items():
        listed = read_handles(folder / "train/limited_supervision", patterns)
        raws[f"train_{name}"] = choose(raws["train"], f"train_{name}_{lang}", listed)
    return {
        raw.name: write_set(
            raw, options.datadir / raw.name, may_shrink=name.startswith("train"), partial=options.partial
        )
        for name, raw in raws.items()
    }


def read_set(name: str, folder: Path, lang: str, kind: str) -> RawSet:
    """Return what the transcripts list. The place of a recording follows from its id, so that millions of files need
    not be listed.
    """
    table = folder / "transcripts.txt"
    if not table.is_file():
        raise ValueError(f"{table}: no such file. Unpack the whole archive.")
    pairs = (line.rstrip("\r\n").partition("\t") for line in read_lines(table) if line.strip())
    texts = {key: text for key, _, text in pairs}
    audio, speakers = {}, {}
    for key in texts:
        speaker, book, _ = key.split("_")
        audio[key], speakers[key] = Span(str((folder / "audio" / speaker / book / f"{key}.{kind}").absolute())), speaker
    return RawSet(name, list(texts), {lang: audio}, {lang: texts}, speakers)


def read_handles(folder: Path, patterns: list[str]) -> list[str]:
    """Return the ids that the lists of limited supervision name."""
    found = [path for pattern in patterns for path in visible(folder, pattern)]
    return [key for path in found for key in read_plain(path).split()]


def choose(raw: RawSet, name: str, ids: list[str]) -> RawSet:
    """Return some utterances of a set as a set; what it does not list is printed."""
    report_unlisted(Path(name), ids, raw.ids, "transcripts.txt")
    kept = [key for key in ids if key in raw.speakers]
    return RawSet(name, kept, raw.audio, raw.texts, raw.speakers)
