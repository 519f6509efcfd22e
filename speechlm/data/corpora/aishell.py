"""AISHELL-1 (openslr.org/33) and AISHELL-2 (by application): read Mandarin, 16 kHz.

1: `data_aishell/wav/<speaker>.tar.gz`, each with `<set>/<speaker>/*.wav`, and
`data_aishell/transcript/aishell_transcript_v0.8.txt`: id, words with spaces between them. 325 of its 141,925 recordings
have no transcript and belong to no set (Kaldi's egs/aishell/s5 counts the recordings). 2: folders with `wav.scp` (id,
tab, path in the folder) and `trans.txt` (id, tab, text): `iOS/data` and `AISHELL-DEV-TEST-SET/<channel>/{dev,test}`.
Text is written without spaces between Mandarin characters.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from speechlm.data.archives import unpack
from speechlm.data.audio import Span
from speechlm.data.corpora.sets import RawSet, obtain_parts, report_unlisted, visible, write_set
from speechlm.data.corpus import CorpusInfo, Expected, Found, check_sets
from speechlm.data.download import RemoteFile
from speechlm.data.plaintext import read_lines

# Bytes: Kaldi, egs/aishell/s5/local/download_and_untar.sh. md5: PaddleSpeech, dataset/aishell/aishell.py.
ARCHIVE = RemoteFile(
    "https://www.openslr.org/resources/33/data_aishell.tgz",
    "data_aishell.tgz",
    15582913665,
    md5="2f494334227864a8a8fec932999db9d8",
)
INFO = CorpusInfo("AISHELL-1", "Apache 2.0", 3 * ARCHIVE.bytes)  # the archive, the archives in it, and their files
INFO_2 = CorpusInfo(
    "AISHELL-2",
    "for academic use, by application",
    1000 * 3600 * 16000 * 2,  # 1,000 hours (arXiv 1808.10583) at 16 kHz and 16 bits; the size itself is not published
    "all of it (https://www.aishelltech.com/aishell_2): give its folder, which holds iOS/ and AISHELL-DEV-TEST-SET/,"
    " with --aishell2",
)
# Utterances with a transcript: the dataset card of ASR-HypR/AISHELL1_withoutLM; dev and test also ESPnet,
# egs2/aishell/asr1/README.md. Hours of test: 36,108.9 s, PaddleSpeech's wiki (SpeechX performance).
PUBLISHED = {"train": Expected(120098), "dev": Expected(14326), "test": Expected(7176, 36108.9 / 3600)}
# ESPnet, egs2/aishell2/asr1/README.md. The size of the training set is not checked: no figure that we could verify.
PUBLISHED_2 = {
    "train": Expected(),
    "dev": Expected(2500),
    **{f"test_{name}": Expected(5000) for name in ("ios", "android", "mic")},
}
PLACES_2 = {
    "train": "iOS/data",
    "dev": "AISHELL-DEV-TEST-SET/iOS/dev",
    **{f"test_{name.lower()}": f"AISHELL-DEV-TEST-SET/{name}/test" for name in ("iOS", "Android", "Mic")},
}
BAD_2 = {
    "IC0803W0380"
}  # a bad utterance, says the corpus's own script (ESPnet, egs2/aishell2/asr1/local/prepare_data.sh)
BLANKS = re.compile(r"(?<![A-Za-z]) +| +(?![A-Za-z])")  # all but those between Latin words


@dataclass(frozen=True)
class Options:
    """`version`: 1 or 2. `aishell`: the folder of AISHELL-1, unpacked or with its archive; empty: fetched. `aishell2`:
    the folder of AISHELL-2.
    """

    version: int
    aishell: str
    aishell2: str
    downloads: Path
    datadir: Path
    partial: bool = False


def prepare(options: Options) -> None:
    """Write datadir/{train,dev,test} (AISHELL-2: test_ios, test_android, test_mic); ValueError if they are not as
    published.
    """
    if options.version not in (1, 2):
        raise ValueError(f"--version {options.version}: expected 1 or 2")
    raws, published = (read_first(options), PUBLISHED) if options.version == 1 else (read_second(options), PUBLISHED_2)
    found: dict[str, Found] = {}
    for name, raw in raws.items():
        found[name] = write_set(raw, options.datadir / name, may_shrink=name == "train", partial=options.partial)
    check_sets(published, found, full=not options.partial)


# ---------------------------------------------------------------- AISHELL-1


def read_first(options: Options) -> dict[str, RawSet]:
    """Return the sets of AISHELL-1: what is transcribed, by the folders of the recordings."""
    INFO.announce()
    corpus = obtain_parts(options.aishell, {"data_aishell": ARCHIVE}, options.downloads)["data_aishell"]
    texts = read_texts(corpus / "transcript/aishell_transcript_v0.8.txt")
    places = wav_folders(corpus / "wav", options.downloads / "aishell_wav")
    return {name: _read_set(name, [place / name for place in places], texts) for name in PUBLISHED}


def wav_folders(wav: Path, unpacked: Path) -> list[Path]:
    """Return the folders that hold train/, dev/ and test/: that of the corpus if it is unpacked, else one a speaker,
    unpacked now.
    """
    if any((wav / name).is_dir() for name in PUBLISHED):
        return [wav]
    archives = visible(wav, "*.tar.gz")
    if not archives:
        raise ValueError(f"{wav}: neither train/, dev/, test/ nor <speaker>.tar.gz. Unpack data_aishell.tgz again.")
    print(f"{wav}: unpacking the recordings of {len(archives)} speakers to {unpacked}", flush=True)
    return [unpack(path, unpacked / path.name.removesuffix(".tar.gz")) for path in archives]


def _read_set(name: str, folders: list[Path], texts: dict[str, str]) -> RawSet:
    """Return the transcribed utterances of the speakers in some folders; recordings without a transcript are
    counted.
    """
    speakers = {path.name: path for folder in folders for path in visible(folder, "*/")}
    recordings = {path.stem: path for folder in speakers.values() for path in visible(folder, "*.wav")}
    ids = [key for key in texts if speaker_of(key) in speakers]
    report_unlisted(
        folders[0].parent if len(folders) == 1 else folders[0].parents[1], recordings, texts, "the transcripts"
    )
    audio = {key: Span(str(recordings[key].resolve())) for key in ids if key in recordings}
    return RawSet(name, ids, {"zh": audio}, {"zh": texts}, {key: speaker_of(key) for key in ids})


def speaker_of(key: str) -> str:
    """Return S0002 for BAC009S0002W0122."""
    return key[6:11]


# ---------------------------------------------------------------- AISHELL-2


def read_second(options: Options) -> dict[str, RawSet]:
    """Return the sets of AISHELL-2."""
    INFO_2.announce()
    if not options.aishell2:
        raise ValueError(f"no recordings: to fetch by hand is {INFO_2.by_hand}")
    return {name: _read_folder(name, Path(options.aishell2) / place) for name, place in PLACES_2.items()}


def _read_folder(name: str, folder: Path) -> RawSet:
    texts = read_texts(folder / "trans.txt")
    paths = {key: path for key, path in _lines(folder / "wav.scp") if key not in BAD_2}
    report_unlisted(folder, paths, texts, "trans.txt")
    ids = [key for key in texts if key not in BAD_2]
    audio = {key: Span(str((folder / paths[key]).resolve())) for key in ids if key in paths}
    return RawSet(
        name, ids, {"zh": audio}, {"zh": texts}, {key: Path(paths[key]).parent.name for key in ids if key in paths}
    )


def read_texts(path: Path) -> dict[str, str]:
    """Return {id: text} of a table of transcripts, without spaces between Mandarin characters."""
    return {key: BLANKS.sub("", text) for key, text in _lines(path)}


def _lines(path: Path) -> list[tuple[str, str]]:
    """Return the first word and the rest of each line."""
    if not path.is_file():
        raise ValueError(f"{path}: no such file. Give the folder that holds it, or unpack the whole corpus.")
    pairs = [(line.split(maxsplit=1) + [""])[:2] for line in read_lines(path) if line.strip()]
    return [(key, value.strip()) for key, value in pairs]
