"""speechocean762: English read by 250 native speakers of Mandarin, half of them children, 16 kHz. openslr.org/101,
arXiv 2104.01378

`speechocean762/{train,test}/` are Kaldi directories: `wav.scp` names a recording relative to speechocean762/, `text`
has words in capitals. They are written in lower case here. The corpus has no development set: of every ten speakers of
train, the first is for development.
"""

from dataclasses import dataclass
from pathlib import Path

from speechlm.data.audio import Span
from speechlm.data.corpora.prompts import write_prompts
from speechlm.data.corpora.sets import RawSet, obtain_parts, write_set
from speechlm.data.corpus import CorpusInfo, Expected, check_sets
from speechlm.data.download import RemoteFile
from speechlm.data.kaldi import read_table

NAME = "speechocean762"
ARCHIVE = RemoteFile("https://www.openslr.org/resources/101/speechocean762.tar.gz", "speechocean762.tar.gz")
INFO = CorpusInfo(NAME, "free for commercial and non-commercial use (openslr.org/101)", 1_200_000_000)
LISTED = {"train": 2500, "test": 2500}  # arXiv 2104.01378, section 2: 5,000 utterances of 250 speakers, in two halves
DEV_EVERY = 10  # speakers


@dataclass(frozen=True)
class Options:
    """`speechocean`: the folder that holds speechocean762/ or its archive; empty: fetched."""

    speechocean: str
    downloads: Path
    datadir: Path
    partial: bool = False


def prepare(options: Options) -> None:
    """Write datadir/{train,dev,test}; ValueError if they are not as published."""
    INFO.announce()
    corpus = obtain_parts(options.speechocean, {NAME: ARCHIVE}, options.downloads)[NAME]
    train, dev = split(read_set(corpus, "train"))
    found = {}
    for raw in (train, dev, read_set(corpus, "test")):
        found[raw.name] = write_set(
            raw, options.datadir / raw.name, may_shrink=raw.name == "train", partial=options.partial
        )
    write_prompts(options.datadir / "test", "en")
    published = {"train": Expected(LISTED["train"] - len(dev.ids)), "dev": Expected(), "test": Expected(LISTED["test"])}
    check_sets(published, found, full=not options.partial)


def read_set(corpus: Path, name: str) -> RawSet:
    """Return what a folder of the corpus lists; ValueError names a table that is missing."""
    texts, paths, speakers = (read_table(corpus / name / table) for table in ("text", "wav.scp", "utt2spk"))
    ids = sorted(paths)
    if unknown := [key for key in ids if key not in speakers]:
        raise ValueError(
            f"{corpus / name}/utt2spk: lacks {len(unknown)} of {len(ids)} utterances of wav.scp (first: {unknown[0]})"
        )
    audio = {key: Span(str((corpus / paths[key]).resolve())) for key in ids}
    return RawSet(name, ids, {"en": audio}, {"en": {key: words.lower() for key, words in texts.items()}}, speakers)


def split(raw: RawSet) -> tuple[RawSet, RawSet]:
    """Return (train, dev), which share no speaker."""
    held = set(sorted(set(raw.speakers.values()))[::DEV_EVERY])
    ids = {"train": [], "dev": []}
    for key in raw.ids:
        ids["dev" if raw.speakers[key] in held else "train"].append(key)
    train, dev = (RawSet(name, ids[name], raw.audio, raw.texts, raw.speakers) for name in ("train", "dev"))
    return train, dev
