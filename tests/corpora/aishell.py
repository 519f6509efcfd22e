"""A small AISHELL-1 (an archive of archives, one a speaker) and AISHELL-2 (folders with wav.scp and trans.txt,
separated by tabs).

Odd cases: recordings without a transcript, a transcript without a recording, full-width Latin letters, an English name
with a blank, the utterance of AISHELL-2 that its own script leaves out.
"""

import io
import tarfile
from pathlib import Path

from tests.corpora.voice import save, say

SPEAKERS = {  # set -> {speaker: sentences, words set apart}
    "train": {
        "S0002": ["而 对 楼市 成交", "三 线 城市", "没有 录音"],
        "S0003": ["ａｂ 股 上涨", "他 用 app store 下载"],
    },
    "dev": {"S0724": ["广州 市 房地产", "今天 天气 好"]},
    "test": {"S0764": ["甚至 出现 交易", "一二线 城市"]},
}
MISSING = "BAC009S0002W0002"
UNTRANSCRIBED = "BAC009S0724W0099"
CHANNELS = {"iOS": "I", "Android": "A", "Mic": "M"}
BAD = "IC0803W0380"


def make_aishell(folder: Path) -> Path:
    """Write data_aishell.tgz; return its folder."""
    lines = []
    with tarfile.open(folder / "data_aishell.tgz", "w:gz") as whole:
        for name, speakers in SPEAKERS.items():
            for speaker, sentences in speakers.items():
                place = folder / "wav" / name / speaker
                for i, text in enumerate(sentences):
                    key = f"BAC009{speaker}W{i:04d}"
                    lines.append(f"{key} {text} \n")
                    if key != MISSING:
                        save(place / f"{key}.wav", say(text, "zh", int(speaker[1:])), 16000)
                if speaker == "S0724":
                    save(place / f"{UNTRANSCRIBED}.wav", say("没有", "zh"), 16000)
                with tarfile.open(folder / f"{speaker}.tar.gz", "w:gz") as inner:
                    inner.add(place, f"./{name}/{speaker}")
                whole.add(folder / f"{speaker}.tar.gz", f"data_aishell/wav/{speaker}.tar.gz")
        content = "".join(sorted(lines)).encode()
        member = tarfile.TarInfo("data_aishell/transcript/aishell_transcript_v0.8.txt")
        member.size = len(content)
        whole.addfile(member, io.BytesIO(content))
    return folder


def make_aishell2(folder: Path) -> Path:
    """Write the folders of AISHELL-2; return their folder."""
    places = {"iOS/data": "I"} | {
        f"AISHELL-DEV-TEST-SET/{name}/{kind}": letter for name, letter in CHANNELS.items() for kind in ("dev", "test")
    }
    for place, letter in places.items():
        texts = {f"{letter}C0001W{i:04d}": text for i, text in enumerate(["打开电视", "Here's 一首歌"])}
        if place == "iOS/data":
            texts[BAD] = "不好"
        paths = {key: f"wav/{key[1:6]}/{key}.wav" for key in texts}
        for key, path in paths.items():
            save(folder / place / path, say(texts[key], "zh"), 16000)
        (folder / place / "trans.txt").write_text(
            "".join(f"{key}\t{text}\n" for key, text in texts.items()), encoding="utf-8"
        )
        (folder / place / "wav.scp").write_text("".join(f"{key}\t{path}\n" for key, path in paths.items()))
    return folder
