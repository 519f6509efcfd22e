"""A small GigaSpeech (opus recordings cut by GigaSpeech.json), GigaST.zh.json and GigaS2S (wav files by segment id).

Odd cases: segments of music, one that nobody translated, one whose Mandarin recording is missing, a translation without
a segment.
"""

import json
import tarfile
from pathlib import Path

import numpy as np

from tests.corpora.voice import save, say

RECORDINGS = {  # aid -> (path, subset label, [(spoken, text_tn, translation)])
    "AUD0000000001": ("audio/audiobook/P0001/AUD0000000001.opus", "{XL}", [
        ("hello my friend", "HELLO <COMMA> MY FRIEND <PERIOD>", "你好，我的朋友。"), ("", "<MUSIC>", None),
        ("the sun is up", "THE SUN IS UP <PERIOD>", "太阳升起来了。"), ("who is there", "WHO IS THERE <QUESTIONMARK>",
        "谁在那里？"),
    ]),
    "POD0000000002": ("audio/podcast/P0000/POD0000000002.opus", "{XL}", [
        ("we like music", "WE LIKE MUSIC", "我们喜欢音乐。"), ("nobody knows", "NOBODY KNOWS", None), ("come home",
        "COME HOME", "回家吧。"),
    ]),
    "POD1000000004": ("audio/podcast/P0000/POD1000000004.opus", "{DEV}", [
        ("good morning", "GOOD MORNING", "早上好。"), ("one two", "ONE TWO", "一二。"),
    ]),
    "YOU1000000005": ("audio/youtube/P0000/YOU1000000005.opus", "{TEST}", [
        ("see you soon", "SEE YOU SOON", "回头见。"), ("it is late", "IT IS LATE", "很晚了。"),
    ]),
}  # fmt: skip
NO_SPEECH = "POD0000000002_S0000002"  # of GigaS2S


def make_gigaspeech(folder: Path) -> tuple[Path, Path, Path]:
    """Return GigaSpeech's folder, GigaST's file and GigaS2S' archive."""
    audios, translated = [], []
    for aid, (place, label, said) in RECORDINGS.items():
        wav_T, segments = np.zeros(8000, np.float32), []
        for i, (words, text, translation) in enumerate(said):
            piece_T = (
                say(words, "en") if words else np.random.default_rng(0).uniform(-0.1, 0.1, 8000).astype(np.float32)
            )
            start, sid = len(wav_T) / 16000, f"{aid}_S{i:07d}"
            wav_T = np.concatenate([wav_T, piece_T, np.zeros(1600, np.float32)])
            end = (len(wav_T) - 1600) / 16000
            segments.append(
                {
                    "sid": sid,
                    "speaker": "N/A",
                    "begin_time": start,
                    "end_time": end,
                    "text_tn": text,
                    "subsets": [label],
                }
            )
            if translation:
                translated.append({"sid": sid, "text_raw": translation, "extra": {"alignment_score": 8.2}})
                if label == "{XL}" and sid != NO_SPEECH:
                    save(folder / "zh" / f"{sid}.wav", say(translation, "zh"), 24000)
        save(folder / "GigaSpeech" / place, wav_T, 16000)
        audios.append(
            {
                "title": "“a title”",
                "path": place,
                "aid": aid,
                "format": "opus",
                "sample_rate": 16000,
                "segments": segments,
            }
        )
    translated.append({"sid": "AUD0000009999_S0000001", "text_raw": "没有", "extra": {}})
    write(
        folder / "GigaSpeech/GigaSpeech.json",
        {"dataset": "GigaSpeech", "language": "EN", "version": "v1.0.0", "audios": audios},
    )
    write(
        folder / "GigaST.zh.json",
        {"dataset": "GigaST", "language": "ZH", "version": "v1.0.0", "audios": [{"segments": translated}]},
    )
    with tarfile.open(folder / "gigas2s.tar.gz", "w:gz") as tar:
        tar.add(folder / "zh", "train")
    return folder / "GigaSpeech", folder / "GigaST.zh.json", folder / "gigas2s.tar.gz"


def write(path: Path, content: dict) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
