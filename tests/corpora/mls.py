"""A small MLS of Polish (opus) and German (flac): transcripts.txt, segments.txt, audio by speaker and book, lists of
limited supervision.

Odd cases: a recording of train that is missing, an empty one in test, letters outside of ASCII, a limited list that
names an unknown id.
"""

from pathlib import Path

from tests.corpora.voice import save, say

LANGUAGES = {  # language -> (folder, kind, {set: {id: text}})
    "pl": ("mls_polish_opus", "opus", {
        "train": {
            "6892_4910_000000": "zażółć gęślą jaźń", "6892_4910_000001": "nie było nagrania",
            "6892_4910_000002": "dzień dobry panu",
            "8758_8338_000000": "idzie zima",
        },
        "dev": {"5090_1447_000000": "było ich dwóch", "5090_1447_000001": "cicho"},
        "test": {"8758_9999_000000": "która godzina", "8758_9999_000001": "nic"},
    }),
    "de": ("mls_german", "flac", {
        "train": {"4536_2870_000000": "der große könig", "4536_2870_000001": "es war einmal"},
        "dev": {"1874_1807_000000": "guten tag"},
        "test": {"7150_6083_000000": "auf wiedersehen"},
    }),
}  # fmt: skip
MISSING, EMPTY_TEST = "6892_4910_000001", "8758_9999_000001"


def make_mls(folder: Path) -> Path:
    """Write the folders of both languages; return `folder`."""
    for lang, (name, kind, sets) in LANGUAGES.items():
        for set_, texts in sets.items():
            place = folder / name / set_
            for key, text in texts.items():
                speaker, book, _ = key.split("_")
                path = place / "audio" / speaker / book / f"{key}.{kind}"
                if key == EMPTY_TEST:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.touch()
                elif key != MISSING:
                    save(path, say(text, lang, int(speaker)), 16000)
            (place / "transcripts.txt").write_text(
                "".join(f"{key}\t{text}\n" for key, text in texts.items()), encoding="utf-8"
            )
            (place / "segments.txt").write_text(
                "".join(f"{key}\thttp://www.archive.org/download/x/y.mp3\t1.5\t12.1\n" for key in texts)
            )
        train = list(sets["train"])
        limited = folder / name / "train/limited_supervision"
        for i in range(6):
            write(limited / f"1hr/{i}/handles.txt", train[:1] if i == 0 else [])
        write(limited / "9hr/handles.txt", [train[-1], "1_2_000003"])
    return folder


def write(path: Path, ids: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{key}\n" for key in ids))
