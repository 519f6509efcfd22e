"""A small LibriSpeech: archives of parts with `LibriSpeech/<part>/<speaker>/<chapter>/` of flac and *.trans.txt in
capitals.

Odd cases: an utterance of train whose flac is missing, an empty flac in train and one in test_clean, a flac that nobody
transcribed, a file of another system's (._*), apostrophes, utterances too short and too long to synthesise.
"""

import tarfile
from pathlib import Path

from tests.corpora.voice import save, say

LONG = "IT IS NOT THE SAME THING AT ALL SAID THE OLD MAN AND HE DIDN'T LOOK UP FROM HIS BOOK"  # about five seconds
PARTS = {  # part -> {speaker-chapter: sentences}
    "train-clean-100": {
        "103-1240": ["CHAPTER ONE", "MISSUS LYNDE IS SURPRISED", "I DON'T KNOW", "NO RECORDING", "NOTHING IN IT"],
        "911-128684": ["GOOD NIGHT"],
    },
    "dev-clean": {"84-121123": ["GO DO YOU HEAR", "BUT IN LESS THAN FIVE MINUTES"]},
    "dev-other": {"116-288045": ["AS I APPROACHED THE CITY"]},
    "test-clean": {
        "61-70968": ["HE BEGAN A CONFUSED COMPLAINT", LONG, f"{LONG} AGAIN"],
        "908-31957": [LONG, "ALL IS SAID", LONG, f"{LONG} {LONG} {LONG}"],
    },
    "test-other": {"367-130732": [LONG, f"{LONG} TOO"]},
}
MISSING, EMPTY_TRAIN, EMPTY_TEST = "103-1240-0003", "103-1240-0004", "908-31957-0001"
UNLISTED = "911-128684-0009"


def make_librispeech(folder: Path) -> Path:
    """Write the archives; return their folder."""
    for part, chapters in PARTS.items():
        for name, sentences in chapters.items():
            chapter = folder / "LibriSpeech" / part / name.replace("-", "/")
            chapter.mkdir(parents=True)
            (chapter / f"{name}.trans.txt").write_text(
                "".join(f"{name}-{i:04d} {text}\n" for i, text in enumerate(sentences))
            )
            for i, text in enumerate(sentences):
                path = chapter / f"{name}-{i:04d}.flac"
                if path.stem in (EMPTY_TRAIN, EMPTY_TEST):
                    path.touch()
                elif path.stem != MISSING:
                    save(path, say(text.lower(), "en", int(name.split("-")[0])), 16000)
    extra = folder / "LibriSpeech/train-clean-100/911/128684"
    save(extra / f"{UNLISTED}.flac", say("not transcribed", "en"), 16000)
    (extra / "._911-128684.trans.txt").write_bytes(b"\0\5\x16\7")
    for part in PARTS:
        with tarfile.open(folder / f"{part}.tar.gz", "w:gz") as tar:
            tar.add(folder / "LibriSpeech" / part, f"LibriSpeech/{part}")
    return folder
