"""CVSS: CoVoST 2's pairs into English with the translation spoken. github.com/google-research-datasets/cvss, arXiv
2201.03713

`cvss_<c|t>_<lang>_en_v1.0.tar.gz` holds train, dev and test with `common_voice_<lang>_N.mp3.wav` (24 kHz, English), and
train.tsv, dev.tsv, test.tsv: clip, tab, normalised English text, no header. C: one voice; T: the voice of the source
speaker. Source recording and transcript are Common Voice 4's, by the clip's name (its validated.tsv holds all of them,
so that CoVoST's own tables are not needed).
"""

from dataclasses import dataclass
from pathlib import Path

from speechlm.data.audio import Span
from speechlm.data.corpora.common_voice import BYTES, CODES, CommonVoice, load_common_voice, utterance_id
from speechlm.data.corpora.covost2 import UTTERANCES, raw_set
from speechlm.data.corpora.sets import RawSet, find_one, obtain, report_unlisted, visible, write_set
from speechlm.data.corpus import CorpusInfo, check_sets
from speechlm.data.plaintext import read_lines

ADDRESS = "https://storage.googleapis.com/cvss/cvss_{version}_v1.0/cvss_{version}_{lang}_en_v1.0.tar.gz"
LICENCE = "CC BY 4.0; recordings (Common Voice) CC0"
LANGUAGES = sorted(set(UTTERANCES) - {"en"})  # the 21 of CoVoST 2
SETS = ("train", "dev", "test")
# All of CVSS-C is 719 hours (arXiv 2201.03713, section 1), at 24 kHz and 16 bits; a language's part is taken by its
# utterances.
TARGET_BYTES = 719 * 3600 * 24000 * 2


@dataclass(frozen=True)
class Options:
    """Where things are (`common_voice`, `cvss`: a folder, an archive or an address; the latter may be empty: its public
    one).
    """

    src_lang: str
    version: str
    common_voice: str
    cvss: str
    downloads: Path
    datadir: Path
    partial: bool = False


def prepare(options: Options) -> None:
    """Write datadir/{train,dev,test} with both sides; ValueError for a language or version that CVSS does not have."""
    lang, version = options.src_lang, options.version
    if lang not in LANGUAGES or version not in ("c", "t"):
        raise ValueError(
            f"--src_lang {lang} --version {version}: expected a language of {', '.join(LANGUAGES)}, and c or t"
        )
    share = sum(UTTERANCES[lang]) / sum(sum(UTTERANCES[other]) for other in LANGUAGES)
    size = 2 * BYTES[lang] + int(2 * TARGET_BYTES * share)
    CorpusInfo(
        f"CVSS-{version.upper()}, {lang} to en", LICENCE, size, f"the clips of {lang} in Common Voice 4"
    ).announce()
    voice = load_common_voice(options.common_voice, lang, options.downloads)
    name = f"cvss_{version}_{lang}_en_v1.0.tar.gz"
    folder = find_one(
        obtain(options.cvss or ADDRESS.format(version=version, lang=lang), name, options.downloads), ["train.tsv"]
    ).parent
    found = {}
    for set_ in SETS:
        raw = read_set(set_, folder, voice, lang)
        listed = [Path(span.path).name for span in raw.audio["en"].values()]
        report_unlisted(folder / set_, (path.name for path in visible(folder / set_, "*.wav")), listed, f"{set_}.tsv")
        found[set_] = write_set(raw, options.datadir / set_, may_shrink=set_ == "train", partial=options.partial)
    check_sets({}, found, full=False)  # its utterances per set are not published


def read_set(name: str, folder: Path, voice: CommonVoice, lang: str) -> RawSet:
    """Return a set of the corpus; the target side is `<name>/<clip>.wav`."""
    texts, repeated = read_texts(folder / f"{name}.tsv")
    prefix = f"common_voice_{CODES.get(lang, lang)}_"
    if wrong := [clip for clip in texts if not clip.startswith(prefix)]:
        raise ValueError(
            f"{folder / name}.tsv: found the clip {wrong[0]!r}; expected {prefix}*.mp3. Give the folder of --src_lang"
            f" {lang}."
        )
    raw = raw_set(name, list(texts), voice, (lang, "en"), texts)
    raw.audio["en"] = {utterance_id(clip): Span(str((folder / name / f"{clip}.wav").resolve())) for clip in texts}
    raw.repeated = [utterance_id(clip) for clip in repeated]
    return raw


def read_texts(path: Path) -> tuple[dict[str, str], list[str]]:
    """Return {clip: text} of a table without header, and the clips listed again; a further tab belongs to the text."""
    if not path.is_file():
        raise ValueError(f"{path}: no such file. Unpack the whole archive of CVSS.")
    texts, repeated = {}, []
    for line in read_lines(path):
        clip, _, text = line.rstrip("\r\n").partition("\t")
        if clip in texts:
            repeated.append(clip)
        elif clip:
            texts[clip] = text
    return texts, repeated
