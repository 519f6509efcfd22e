"""LibriTTS: LibriSpeech's books cut at sentences, 585 hours, 24 kHz, for synthesis. openslr.org/60

`LibriTTS/<part>/<speaker>/<chapter>/` holds `<speaker>_<chapter>_<paragraph>_<sentence>.wav`, `.original.txt` (as
printed) and `.normalized.txt` (as spoken: numbers and abbreviations in words). The text used here is the normalised
one, with its case and punctuation.
"""

from dataclasses import dataclass
from pathlib import Path

from speechlm.data.audio import Span
from speechlm.data.corpora.librispeech import sets_of, total
from speechlm.data.corpora.prompts import write_prompts
from speechlm.data.corpora.sets import RawSet, obtain_parts, visible, write_set
from speechlm.data.corpus import CorpusInfo, Expected, check_sets
from speechlm.data.download import RemoteFile
from speechlm.data.plaintext import read_plain

ADDRESS = "https://www.openslr.org/resources/60/{}.tar.gz"
LICENCE = "CC BY 4.0"
# Bytes and sha256 of the archives. Source: tensorflow/datasets, url_checksums/libritts.txt.
ARCHIVES = {
    "dev-clean": (1291469655, "da0864e1bd26debed35da8a869dd5c04dfc27682921936de7cff9c8a254dbe1a"),
    "dev-other": (924804676, "d413eda26f3a152ac7c9cf3658ef85504dfb1b625296e5fa83727f5186cca79c"),
    "test-clean": (1230670113, "234ea5b25859102a87024a4b9b86641f5b5aaaf1197335c95090cde04fe9a4f5"),
    "test-other": (964502297, "33a5342094f3bba7ccc2e0500b9e72d558f72eb99328ac8debe1d9080402f10d"),
    "train-clean-100": (7723686890, "c5608bf1ef74bb621935382b8399c5cdd51cd3ee47cec51f00f885a64c6c7f6b"),
    "train-clean-360": (27504073644, "ce7cff44dcac46009d18379f37ef36551123a1dc4e5c8e4eb73ae57260de4886"),
    "train-other-500": (44565031479, "e35f7e34deeb2e2bdfe4403d88c8fdd5fbf64865cae41f027a185a6965f0a5df"),
}
# Utterances: tensorflow.org/datasets/catalog/libritts. Hours of a part: no figures that we could verify; all parts have
# about 585.
PUBLISHED = {
    "dev-clean": Expected(5736), "dev-other": Expected(4613), "test-clean": Expected(4837),
    "test-other": Expected(5120),
    "train-clean-100": Expected(33236), "train-clean-360": Expected(116500), "train-other-500": Expected(205044),
}  # fmt: skip
UNPACKED = 1.2  # times the archives: 585 hours at 24 kHz and 16 bits
CROSS, CONTINUATION = "test_clean", "test_clean_continuation"  # one set, synthesised in two ways


@dataclass(frozen=True)
class Options:
    """`libritts`: its folder, unpacked or the archives; empty: fetched. `subset`: training parts, named by the hours of
    LibriSpeech.

    `prompts`: a table of what to synthesise of test_clean; empty: by the rule.
    """

    libritts: str
    subset: str
    prompts: str
    downloads: Path
    datadir: Path
    partial: bool = False


def prepare(options: Options) -> None:
    """Write datadir/{train_<subset>,dev_clean,...,test_clean_continuation}; ValueError if they are not as published."""
    sets = sets_of(options.subset)
    needed = [part for parts in sets.values() for part in parts]
    CorpusInfo("LibriTTS", LICENCE, int(sum(ARCHIVES[part][0] for part in needed) * (1 + UNPACKED))).announce()
    files = {
        part: RemoteFile(ADDRESS.format(part), f"{part}.tar.gz", ARCHIVES[part][0], sha256=ARCHIVES[part][1])
        for part in needed
    }
    folders = obtain_parts(options.libritts, files, options.downloads)
    found, published = {}, {name: total([PUBLISHED[part] for part in parts]) for name, parts in sets.items()}
    for name, parts in (sets | {CONTINUATION: sets[CROSS]}).items():
        raw = read_set(name, [folders[part] for part in parts])
        found[name] = write_set(
            raw, options.datadir / name, may_shrink=name.startswith("train"), partial=options.partial
        )
    for name in (CROSS, "test_other"):
        write_prompts(options.datadir / name, "en", given=options.prompts if name == CROSS else "")
    write_prompts(options.datadir / CONTINUATION, "en", kind="continuation")
    check_sets(published | {CONTINUATION: published[CROSS]}, found, full=not options.partial)


def read_set(name: str, folders: list[Path]) -> RawSet:
    """Return the sentences of some parts: whatever has a recording or a text."""
    raw = RawSet(name, [], {"en": {}}, {"en": {}}, {})
    for chapter in (path for folder in folders for path in visible(folder, "*/*/")):
        texts = {path.name.removesuffix(".normalized.txt"): path for path in visible(chapter, "*.normalized.txt")}
        recordings = {path.stem: path for path in visible(chapter, "*.wav")}
        ids = sorted(texts.keys() | recordings.keys())
        raw.ids += ids
        raw.texts["en"] |= {key: read_plain(path).strip() for key, path in texts.items()}
        raw.audio["en"] |= {key: Span(str(path.resolve())) for key, path in recordings.items()}
        raw.speakers |= dict.fromkeys(ids, chapter.parent.name)
    return raw
