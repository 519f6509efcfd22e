"""CoVoST 2: Common Voice 4 with translations; 21 languages into English, English into 15.
github.com/facebookresearch/covost

`covost_v2.<src>_<tgt>.tsv` has the columns path, translation, split. The split of a row is train, train_covost (which
CoVoST adds to train), dev or test. Transcript and speaker come from Common Voice's validated.tsv, by path. Only the
source side is spoken.
"""

from dataclasses import dataclass
from pathlib import Path

from speechlm.data.corpora.common_voice import BYTES, CODES, CommonVoice, load_common_voice, utterance_id
from speechlm.data.corpora.sets import RawSet, find_one, first_rows, obtain, read_tsv, write_set
from speechlm.data.corpus import CorpusInfo, Expected, check_sets

ADDRESS = "https://dl.fbaipublicfiles.com/covost/covost_v2.{pair}.tsv.tar.gz"
LICENCE = "translations CC0; recordings (Common Voice) CC0; do not try to find out who the speakers are"
FROM_ENGLISH = {"de", "tr", "fa", "sv", "mn", "zh", "cy", "ca", "sl", "et", "id", "ar", "ta", "lv", "ja"}
SPLITS = {"train": {"train", "train_covost"}, "dev": {"dev"}, "test": {"test"}}
# Utterances of train, dev and test by source language. Source: the dataset card of facebook/covost2 on the Hugging Face
# hub; dev and test agree with the buckets in Common Voice's cv-corpus-4-2019-12-10.json. Hours per set: not published
# in figures that we could check.
UTTERANCES = {
    "en": (289430, 15531, 15531), "fr": (207374, 14760, 14760), "de": (127834, 13511, 13511), "es": (79015, 13221,
    13221),
    "ca": (95854, 12730, 12730), "it": (31698, 8940, 8951), "ru": (12112, 6110, 6300), "zh": (7085, 4843, 4898),
    "pt": (9158, 3318, 4023),
    "fa": (53949, 3445, 3445), "et": (1782, 1576, 1571), "mn": (2067, 1761, 1759), "nl": (7108, 1699, 1699),
    "tr": (3966, 1624, 1629),
    "ar": (2283, 1758, 1695), "sv": (2160, 1349, 1595), "lv": (2337, 1125, 1629), "sl": (1843, 509, 360), "ta": (1358,
    384, 786),
    "ja": (1119, 635, 684), "id": (1243, 792, 844), "cy": (1241, 690, 690),
}  # fmt: skip


@dataclass(frozen=True)
class Options:
    """Where things are (`common_voice`, `covost2`: a folder, an archive or an address; the latter may be empty: its
    public one).
    """

    src_lang: str
    tgt_lang: str
    common_voice: str
    covost2: str
    downloads: Path
    datadir: Path
    partial: bool = False


def prepare(options: Options) -> None:
    """Write datadir/{train,dev,test}; ValueError if the pair is not in the corpus, or the sets are not as published."""
    src, tgt = options.src_lang, options.tgt_lang
    check_pair(src, tgt)
    CorpusInfo(f"CoVoST 2, {src} to {tgt}", LICENCE, 2 * BYTES[src], f"the clips of {src} in Common Voice 4").announce()
    pair = f"{CODES.get(src, src)}_{CODES.get(tgt, tgt)}"
    voice = load_common_voice(options.common_voice, src, options.downloads)
    place = obtain(options.covost2 or ADDRESS.format(pair=pair), f"covost_v2.{pair}.tsv.tar.gz", options.downloads)
    table = find_one(place, [f"covost_v2.{pair}.tsv"])
    rows, repeated = first_rows(read_tsv(table, ["path", "translation", "split"]), "path")
    found = {}
    for name, splits in SPLITS.items():
        paths = [path for path, row in rows.items() if row["split"] in splits]
        raw = raw_set(name, paths, voice, (src, tgt), {path: rows[path]["translation"] for path in paths})
        raw.repeated = [utterance_id(path) for path in repeated if rows[path]["split"] in splits]
        found[name] = write_set(raw, options.datadir / name, may_shrink=name == "train", partial=options.partial)
    check_sets({name: Expected(count) for name, count in zip(SPLITS, UTTERANCES[src])}, found, full=not options.partial)


def check_pair(src: str, tgt: str) -> None:
    """Raise ValueError if CoVoST 2 does not translate from `src` to `tgt` (our codes: zh, sv)."""
    if (src in UTTERANCES and src != "en" and tgt == "en") or (src == "en" and tgt in FROM_ENGLISH):
        return
    known = f"{', '.join(sorted(set(UTTERANCES) - {'en'}))} to en, and en to {', '.join(sorted(FROM_ENGLISH))}"
    raise ValueError(f"--src_lang {src} --tgt_lang {tgt}: not a pair of CoVoST 2. It has {known}.")


def raw_set(
    name: str, paths: list[str], voice: CommonVoice, pair: tuple[str, str], translations: dict[str, str]
) -> RawSet:
    """Put the clips of a set together: recording, transcript and speaker from Common Voice, and the translation."""
    ids = {path: utterance_id(path) for path in paths}
    src, tgt = pair
    transcripts = {ids[path]: voice.rows[path]["sentence"] for path in paths if path in voice.rows}
    return RawSet(
        name,
        list(ids.values()),
        {src: {ids[path]: voice.span(path) for path in paths}},
        {src: transcripts, tgt: {ids[path]: translations[path] for path in paths}},
        {ids[path]: voice.rows[path]["client_id"] for path in paths if path in voice.rows},
    )
