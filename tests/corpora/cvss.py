"""A small CVSS-C of Spanish on the small Common Voice: train, dev, test with `<clip>.mp3.wav` at 24 kHz, and tables
without header.

Odd cases: a recording that the table does not list, a listed one that is missing, a row twice, a tab in the text, a
clip without transcript.
"""

import tarfile
from pathlib import Path

from tests.corpora.covost2 import SENTENCES, SPLITS, clip
from tests.corpora.voice import save, say

NO_TARGET, UNKNOWN = 5, "common_voice_es_999.mp3"


def make_cvss(folder: Path) -> Path:
    root = folder / "cvss_c_es_en_v1.0"
    tables: dict[str, list[str]] = {"train": [], "dev": [], "test": []}
    for i, (_, _, text) in enumerate(SENTENCES):
        name = SPLITS[i].removesuffix("_covost")
        normal = text.replace('"', "")
        tables[name].append(f"{clip(i)}\t{normal.replace(' ', chr(9), 1) if i == 0 else normal}\n")
        if i != NO_TARGET:
            save(root / name / f"{clip(i)}.wav", say(normal, "en"), 24000)
    tables["train"] += [tables["train"][0], f"{UNKNOWN}\tnobody transcribed it\n"]
    save(root / "train" / f"{UNKNOWN}.wav", say("nobody transcribed it", "en"), 24000)
    save(root / "train" / "common_voice_es_1000.mp3.wav", say("not listed", "en"), 24000)
    for name, lines in tables.items():
        (root / f"{name}.tsv").write_text("".join(lines), encoding="utf-8")
    with tarfile.open(folder / "cvss_c_es_en_v1.0.tar.gz", "w:gz") as tar:
        tar.add(root, root.name)
    return folder / "cvss_c_es_en_v1.0.tar.gz"
