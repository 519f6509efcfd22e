"""LibriSpeech: read English, 960 hours, 16 kHz. openslr.org/12

`LibriSpeech/<part>/<speaker>/<chapter>/` holds `<speaker>-<chapter>-<number>.flac` and `<speaker>-<chapter>.trans.txt`:
id, space, words in capitals. The words are written in lower case here, as the LLM knows them; scoring ignores the case.
"""

from dataclasses import dataclass
from pathlib import Path

from speechlm.data.audio import Span
from speechlm.data.corpora.prompts import write_prompts
from speechlm.data.corpora.sets import RawSet, obtain_parts, report_unlisted, visible, write_set
from speechlm.data.corpus import CorpusInfo, Expected, check_sets
from speechlm.data.download import RemoteFile
from speechlm.data.plaintext import read_lines

ADDRESS = "https://www.openslr.org/resources/12/{}.tar.gz"
LICENCE = "CC BY 4.0"
# Bytes and sha256 of the archives. Source: tensorflow/datasets, url_checksums/librispeech.txt; the sizes are also those
# of Kaldi's egs/librispeech/s5/local/download_and_untar.sh, the checksums those of torchaudio/datasets/librispeech.py.
ARCHIVES = {
    "dev-clean": (337926286, "76f87d090650617fca0cac8f88b9416e0ebf80350acb97b343a85fa903728ab3"),
    "dev-other": (314305928, "12661c48e8c3fe1de2c1caa4c3e135193bfb1811584f11f569dd12645aa84365"),
    "test-clean": (346663984, "39fde525e59672dc6d1551919b1478f724438a95aa55f874b576be21967e6c23"),
    "test-other": (328757843, "d09c181bba5cf717b3dee7d4d592af11a3ee3a09e08ae025c5506f6ebe961c29"),
    "train-clean-100": (6387309499, "d4ddd1d5a6ab303066f14971d768ee43278a5f2a0aa43dc716b0e64ecbbbf6e2"),
    "train-clean-360": (23049477885, "146a56496217e96c14334a160df97fffedd6e0a04e66b9c5af0d40be3c792ecf"),
    "train-other-500": (30593501606, "ddb22f27f96ec163645d53215559df6aa36515f26e01dd70798188350adcb6d2"),
}
# Utterances: the dataset card of openslr/librispeech_asr on the Hugging Face hub. Hours: the paper (Panayotov et al.,
# 2015), Table 1; its figures for dev-other (5.3) and test-other (5.1) are left out, since the sizes of the archives say
# the opposite.
PUBLISHED = {
    "dev-clean": Expected(2703, 5.4), "dev-other": Expected(2864), "test-clean": Expected(2620, 5.4),
    "test-other": Expected(2939),
    "train-clean-100": Expected(28539, 100.6), "train-clean-360": Expected(104014, 363.6),
    "train-other-500": Expected(148688, 496.7),
}  # fmt: skip
TRAIN = {
    "100": ["train-clean-100"],
    "460": ["train-clean-100", "train-clean-360"],
    "960": ["train-clean-100", "train-clean-360", "train-other-500"],
}
TESTED = ["dev-clean", "dev-other", "test-clean", "test-other"]


@dataclass(frozen=True)
class Options:
    """`librispeech`: its folder, unpacked or the archives; empty: fetched. `subset`: hours of training data.

    `prompts`: a table of what to synthesise of test_clean; empty: by the rule.
    """

    librispeech: str
    subset: str
    prompts: str
    downloads: Path
    datadir: Path
    partial: bool = False


def sets_of(subset: str) -> dict[str, list[str]]:
    """Return {set: its parts}; ValueError for an unknown subset."""
    if subset not in TRAIN:
        raise ValueError(f"--subset {subset}: expected one of {', '.join(TRAIN)}")
    return {f"train_{subset}": TRAIN[subset]} | {part.replace("-", "_"): [part] for part in TESTED}


def total(parts: list[Expected]) -> Expected:
    """Return the published size of several parts together; None where one is not known."""
    utterances, hours = [part.utterances for part in parts], [part.hours for part in parts]
    return Expected(None if None in utterances else sum(utterances), None if None in hours else sum(hours))


def prepare(options: Options) -> None:
    """Write datadir/{train_<subset>,dev_clean,dev_other,test_clean,test_other}; ValueError if they are not as
    published.
    """
    sets = sets_of(options.subset)
    needed = [part for parts in sets.values() for part in parts]
    CorpusInfo("LibriSpeech", LICENCE, 2 * sum(ARCHIVES[part][0] for part in needed)).announce()
    files = {
        part: RemoteFile(ADDRESS.format(part), f"{part}.tar.gz", ARCHIVES[part][0], sha256=ARCHIVES[part][1])
        for part in needed
    }
    folders = obtain_parts(options.librispeech, files, options.downloads)
    found = {}
    for name, parts in sets.items():
        raw = read_set(name, [folders[part] for part in parts])
        found[name] = write_set(
            raw, options.datadir / name, may_shrink=name.startswith("train"), partial=options.partial
        )
    for name in ("test_clean", "test_other"):
        write_prompts(options.datadir / name, "en", given=options.prompts if name == "test_clean" else "")
    published = {name: total([PUBLISHED[part] for part in parts]) for name, parts in sets.items()}
    check_sets(published, found, full=not options.partial)


def read_set(name: str, folders: list[Path]) -> RawSet:
    """Return what the chapters of some parts list."""
    raw = RawSet(name, [], {"en": {}}, {"en": {}}, {})
    for chapter in (path for folder in folders for path in visible(folder, "*/*/")):
        texts = {
            key: words for table in visible(chapter, "*.trans.txt") for key, words in read_transcripts(table).items()
        }
        recordings = {path.stem: Span(str(path.resolve())) for path in visible(chapter, "*.flac")}
        report_unlisted(chapter, recordings, texts, "its *.trans.txt")
        raw.ids += texts
        raw.texts["en"] |= texts
        raw.audio["en"] |= {key: recordings[key] for key in texts if key in recordings}
        raw.speakers |= dict.fromkeys(texts, chapter.parent.name)
    return raw


def read_transcripts(path: Path) -> dict[str, str]:
    """Return {id: words in lower case} of a `*.trans.txt`."""
    lines = [line.partition(" ") for line in read_lines(path) if line.strip()]
    return {key: words.strip().lower() for key, _, words in lines}
