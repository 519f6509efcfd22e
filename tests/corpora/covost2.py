"""A small CoVoST 2: Common Voice 4 of one language (validated.tsv, clips of mp3), and covost_v2.<src>_<tgt>.tsv in its
archive.

Odd cases: an empty clip in train and one in test, a clip that is missing, stereo and 44.1 kHz, quotes and a tab in a
cell, a clip listed twice, one that nobody translated, folders with non-ASCII names.
"""

import tarfile
from pathlib import Path

from tests.corpora.voice import save, say

SENTENCES = [
    ("es", 'el perro "negro come pan', 'the black dog "eats bread'), ("es", "la casa es muy grande",
    "the house is very big"),
    ("es", "mi hermana canta bien", "my sister sings well"), ("es", "hoy llueve en la ciudad",
    "it rains in the city today"),
    ("es", "el niño bebe agua fría", "the boy drinks cold water"), ("es", "los gatos duermen", "the cats sleep"),
    ("es", "nunca vamos al mar", "we never go to the sea"), ("es", "ella lee un libro", "she reads a book"),
    ("es", "el tren llega tarde", "the train is late"), ("es", "quiero una manzana", "i want an apple"),
]  # fmt: skip
SPLITS = ["train", "train_covost", "train", "train", "train", "train_covost", "dev", "dev", "test", "test"]
EMPTY_TRAIN, EMPTY_TEST, MISSING = 3, 9, 4
HEADER = "client_id path sentence up_votes down_votes age gender accent".split()
FIRST = 18885718


def clip(i: int) -> str:
    return f"common_voice_es_{FIRST + i}.mp3"


def make_common_voice(folder: Path) -> Path:
    """Write the Spanish part below a folder of all languages; return that."""
    voice = folder / "VozComún" / "cv-corpus-4-2019-12-10"
    (voice / "es/clips").mkdir(parents=True)
    rows = [HEADER]
    for i, (lang, sentence, _) in enumerate(SENTENCES):
        rows.append(
            [f"{i % 2:0128x}", clip(i), sentence.replace(" ", "\\\t", 1) if i == 2 else sentence, "2", "0", "", "", ""]
        )
        path = voice / "es/clips" / clip(i)
        if i in (EMPTY_TRAIN, EMPTY_TEST):
            path.touch()
        elif i != MISSING:
            save(path, say(sentence, lang, i), 44100 if i == 1 else 48000, channels=2 if i in (1, 8) else 1)
    rows += [rows[1], ["0" * 128, "common_voice_es_1.mp3", "nadie lo tradujo", "2", "0", "", "", ""]]
    (voice / "es/validated.tsv").write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")
    return voice


def make_covost2(folder: Path) -> Path:
    """Write the archive of es_en; return the folder's archive."""
    table = folder / "covost_v2.es_en.tsv"
    rows = [["path", "translation", "split"], *([clip(i), t, SPLITS[i]] for i, (_, _, t) in enumerate(SENTENCES))]
    table.write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")
    with tarfile.open(folder / "covost_v2.es_en.tsv.tar.gz", "w:gz") as tar:
        tar.add(table, table.name)
    table.unlink()
    return folder / "covost_v2.es_en.tsv.tar.gz"
