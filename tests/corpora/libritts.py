"""A small LibriTTS: parts with `<speaker>/<chapter>/` of wav at 24 kHz, *.normalized.txt, *.original.txt and the tables
of a chapter.

Odd cases: a wav without texts and texts without a wav in train, an empty wav in test_clean, quotes and a number in the
original text, utterances too short and too long to synthesise.
"""

from pathlib import Path

from tests.corpora.voice import save, say

LONG = "It is not the same thing at all, said the old man, and he did not look up from his book."  # about five seconds
PARTS = {  # part -> {speaker_chapter: {paragraph_sentence: normalised text}}
    "train-clean-100": {
        "103_1240": {
            "000000_000001": "Chapter one.",
            "000001_000000": '"Missus Lynde is surprised," he said.',
            "000003_000000": "No recording.",
        },
        "911_128684": {"000002_000000": "Twenty two men."},
    },
    "dev-clean": {"84_121123": {"000007_000001": "Maximilian.", "000008_000000": "Go! Do you hear?"}},
    "dev-other": {"116_288045": {"000003_000000": "As I approached the city."}},
    "test-clean": {
        "61_70968": {"000000_000000": "He began.", "000003_000000": LONG, "000003_000001": f"{LONG} Again."},
        "908_31957": {"000001_000000": LONG, "000002_000000": "All is said.", "000002_000001": f"{LONG} {LONG} {LONG}"},
    },
    "test-other": {"367_130732": {"000002_000000": LONG, "000003_000000": f"{LONG} Too."}},
}
MISSING, NO_TEXT, EMPTY_TEST = "103_1240_000003_000000", "103_1240_000009_000000", "908_31957_000002_000000"


def make_libritts(folder: Path) -> Path:
    """Write the parts below `folder`/LibriTTS; return `folder`."""
    for part, chapters in PARTS.items():
        for name, sentences in chapters.items():
            chapter = folder / "LibriTTS" / part / name.replace("_", "/")
            chapter.mkdir(parents=True)
            rows = []
            for number, text in sentences.items():
                key, original = f"{name}_{number}", text.replace("Twenty two", "22")
                rows.append(f"{key}\t{original}\t{text}\n")
                (chapter / f"{key}.normalized.txt").write_text(text)
                (chapter / f"{key}.original.txt").write_text(original)
                if key == EMPTY_TEST:
                    (chapter / f"{key}.wav").touch()
                elif key != MISSING:
                    save(chapter / f"{key}.wav", say(text, "en", int(name.split("_")[0])), 24000)
            (chapter / f"{name}.trans.tsv").write_text("".join(rows))
    save(folder / "LibriTTS/train-clean-100/103/1240" / f"{NO_TEXT}.wav", say("nobody wrote it", "en"), 24000)
    return folder
