"""A small speechocean762: Kaldi tables separated by tabs, recordings of its speakers in WAVE, words in capitals.

Odd cases: an utterance of train whose recording is missing, an empty recording in test, utterances too short to
synthesise.
"""

import tarfile
from pathlib import Path

from tests.corpora.voice import save, say

LONG = "IT IS NOT THE SAME THING AT ALL SAID THE OLD MAN AND HE DIDN'T LOOK UP FROM HIS BOOK"  # about five seconds
SPEAKERS = {  # set -> {speaker: sentences}
    "train": {
        "0001": ["WE CALL IT BEAR", "MARK IS GOING TO SEE ELEPHANT"],
        "0005": ["I DON'T KNOW", "NO RECORDING"],
        "0012": ["GOOD NIGHT"],
    },
    "test": {
        "0003": [LONG, f"{LONG} AGAIN", "ALL IS SAID"],
        "0024": ["NOTHING IN IT", "HE BEGAN A CONFUSED COMPLAINT"],
    },
}
MISSING, EMPTY = "000050001", "000240000"


def make_speechocean(folder: Path) -> Path:
    """Write the archive; return its folder."""
    corpus = folder / "tree/speechocean762"
    for name, speakers in SPEAKERS.items():
        texts = {f"0{s}{i:04d}": text for s, sentences in speakers.items() for i, text in enumerate(sentences)}
        paths = {key: f"WAVE/SPEAKER{key[1:5]}/{key}.WAV" for key in texts}
        for key, path in paths.items():
            (corpus / path).parent.mkdir(parents=True, exist_ok=True)
            if key == EMPTY:
                (corpus / path).touch()
            elif key != MISSING:
                save((corpus / path).with_suffix(".wav"), say(texts[key].lower(), "en", int(key[1:5])), 16000)
                (corpus / path).with_suffix(".wav").rename(corpus / path)
        (corpus / name).mkdir()
        for table, entries in (("text", texts), ("wav.scp", paths), ("utt2spk", {key: key[1:5] for key in texts})):
            (corpus / name / table).write_text("".join(f"{key}\t{value}\n" for key, value in entries.items()))
    with tarfile.open(folder / "speechocean762.tar.gz", "w:gz") as tar:
        tar.add(corpus, "speechocean762")
    return folder
