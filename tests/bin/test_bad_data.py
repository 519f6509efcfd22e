"""One of every bad thing, through the real commands: all are reported at once, and left out only of training sets, only
when allowed.
"""

import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechlm.bin import extract_codes, manifest
from speechlm.bin.ceiling import copy_originals
from speechlm.data.items import ADVICE, read_items
from speechlm.data.kaldi import read_audio
from speechlm.metrics.recognisers.base import hear

RATE_HZ = 16000
SETS = ("train", "cut", "lines")


def noise(seconds: float = 0.5, rate_hz: int = RATE_HZ, channels: int = 1) -> np.ndarray:
    return 0.1 * np.random.default_rng(0).standard_normal((round(seconds * rate_hz), channels))


def write(
    path: Path, wav_TC: np.ndarray, rate_hz: int = RATE_HZ, kind: str = "WAV", subtype: str | None = None
) -> None:
    soundfile.write(path, wav_TC, rate_hz, format=kind, subtype=subtype)


def cut_off(path: Path, kind: str = "WAV", missing_bytes: int = 4000) -> None:
    write(path, noise(), kind=kind)
    path.write_bytes(path.read_bytes()[:-missing_bytes])


def join_two(path: Path) -> None:
    write(path, noise())
    path.write_bytes(2 * path.read_bytes())


USABLE = {  # id -> how its file is written: all of these are simply used
    "bits08": lambda p: write(p, noise(), subtype="PCM_U8"),
    "bits24": lambda p: write(p, noise(), subtype="PCM_24"),
    "clipped": lambda p: write(p, np.clip(50 * noise(), -1, 1)),
    "double": lambda p: write(p, noise(), subtype="DOUBLE"),
    "early": lambda p: cut_off(p, missing_bytes=960),  # 30 ms
    "flac-named-wav": lambda p: write(p, noise(), kind="FLAC"),
    "float": lambda p: write(p, noise(), subtype="FLOAT"),
    "plain": lambda p: write(p, noise()),
    "rate44": lambda p: write(p, noise(rate_hz=44100), 44100),
    "rate8": lambda p: write(p, noise(rate_hz=8000), 8000),
    "stereo": lambda p: write(p, noise(channels=2)),
}
BAD_AUDIO = {  # id -> (kind, how its file is written)
    "cut-flac": ("truncated", lambda p: cut_off(p, "FLAC")),
    "cut-wav": ("truncated", cut_off),
    "empty": ("empty file", lambda p: p.write_bytes(b"")),
    "folder": ("missing file", lambda p: p.mkdir()),
    "gone": ("missing file", lambda p: None),
    "hours": ("too long", lambda p: write(p, noise(3 * 3600, 1000), 1000, subtype="PCM_U8")),
    "inf": ("NaN or infinite", lambda p: write(p, np.append(noise(), np.inf), subtype="FLOAT")),
    "nan": ("NaN or infinite", lambda p: write(p, np.append(noise(), np.nan), subtype="FLOAT")),
    "one-frame": ("cannot be coded", lambda p: write(p, noise(0.001))),
    "page": ("not audio", lambda p: p.write_text("<html>404: not found</html>")),
    "pointer": (
        "not fetched",
        lambda p: p.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 16044\n"),
    ),
    "silent": ("silence", lambda p: write(p, np.zeros(8000))),
    "two": ("joined", join_two),
    "zero": ("no samples", lambda p: write(p, np.zeros(0))),
}
BAD_TEXT = {  # id -> (kind, its line in text.en)
    "blank": ("empty", b"blank  \n"),
    "bell": ("control character", b"bell ding\x07\n"),
    "latin": ("not UTF-8", b"latin se\xf1or\n"),
    "many": ("too many words", b"many" + 1000 * b" word" + b"\n"),
    "nul": ("control character", b"nul a\0b\n"),
    "separator": ("control character", "separator a\u2028b\n".encode()),
    "tab": ("control character", b"tab two\twords\n"),
    "twice": ("duplicate id", b"twice once\ntwice again\n"),
    "unspoken": ("missing in a file", b"unspoken only text\n"),
    "unwritten": ("missing in a file", b""),
    "windows": ("Windows line end", b"windows end\r\n"),
}
BAD_IDS = {b"../up": "../up", b"/root": "/root", b".hidden": ".hidden", b"n\0l": "n\\x00l", b"-rf": "-rf"}
SEGMENTS = {  # id of the set `cut` -> (kind, "" for a usable one; its line in segments)
    "s1": ("", "plain 0.1 0.3"),
    "s2": ("", "stereo 0.25 0.55"),
    "s3-late": ("outside the recording", "plain 0.4 0.9"),
    "s4-never": ("outside the recording", "plain 7 8"),
    "s5-turned": ("bad segment", "plain 0.3 0.1"),
    "s6-unknown": ("bad segment", "nothing 0 1"),
    "s7-words": ("bad segment", "plain zero one"),
    "s8-nan": ("bad segment", "plain nan inf"),
}
KINDS = {
    "train": (
        {key: kind for key, (kind, _) in (BAD_AUDIO | BAD_TEXT).items()} | dict.fromkeys(BAD_IDS.values(), "bad id")
    )
}
KINDS["train"] |= {"piped": "a command", "two-names": "bad id"}  # the latter's speaker
KINDS["cut"] = {key: kind for key, (kind, _) in SEGMENTS.items() if kind}
KINDS["lines"] = {"t2": "empty"}
BAD_COUNT = sum(map(len, KINDS.values()))


@pytest.fixture(scope="module")
def wavs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wavs")
    for key, make in (USABLE | {key: make for key, (_, make) in BAD_AUDIO.items()}).items():
        make(folder / f"{key}.wav")
    return folder


def write_sets(data: Path, wavs: Path, with_bad: bool) -> None:
    """Write the sets train, cut and lines, and a good test set; the bad corpus is not even sorted."""
    audio = dict.fromkeys([*USABLE, *(BAD_AUDIO if with_bad else [])])
    scp = {key: f"{key} {wavs}/{key}.wav\n".encode() for key in audio}
    text = {key: f"{key} words of {key}\n".encode() for key in audio}
    speakers = {key: f"{key} v{len(key) % 2}\n".encode() for key in audio}
    if with_bad:
        for key, (_, line) in BAD_TEXT.items():
            scp[key], text[key], speakers[key] = f"{key} {wavs}/plain.wav\n".encode(), line, f"{key} v0\n".encode()
        del scp["unspoken"]
        for table, value in ((scp, f"{wavs}/plain.wav".encode()), (text, b"words"), (speakers, b"v0")):
            table |= {key: key + b" " + value + b"\n" for key in BAD_IDS}
            table |= {key: key.encode() + b" " + value + b"\n" for key in ("piped", "two-names")}
        scp["piped"], speakers["two-names"] = b"piped touch hacked; cat a.wav |\n", b"two-names ana maria\n"
    cut = {key: line for key, (kind, line) in SEGMENTS.items() if with_bad or not kind}
    tables = {
        "train/wav.scp.en": scp.values(), "train/text.en": text.values(), "train/utt2spk": speakers.values(),
        "cut/wav.scp.en": [f"{key} {wavs}/{key}.wav\n".encode() for key in ("plain", "stereo")],
        "cut/segments.en": [f"{key} {line}\n".encode() for key, line in cut.items()],
        "cut/text.en": [f"{key} cut\n".encode() for key in cut], "cut/utt2spk": [f"{key} v0\n".encode() for key in cut],
        "lines/text.en": [b"t1 a line\n", b"t2\n"][: 1 + with_bad],
        "test/wav.scp.en": [scp["plain"]], "test/text.en": [text["plain"]], "test/utt2spk": [speakers["plain"]],
    }  # fmt: skip
    for name, lines in tables.items():
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_bytes(b"".join(reversed(lines) if with_bad else sorted(lines)))


def run(monkeypatch, main, *options) -> None:
    monkeypatch.setattr(sys, "argv", ["command", *map(str, options)])
    main()


def code(monkeypatch, folder: Path, skip_bad: int, nj: int = 1) -> None:
    """Stages 2 and 3 in a folder with data/."""
    monkeypatch.chdir(folder)
    sets = ["--train_sets", *SETS, "--test_sets", "test"]
    run(monkeypatch, extract_codes.main, "--data", "data", *sets, "--dump", "dump", "--nj", nj, "--skip_bad", skip_bad)
    for name in (*SETS, "test"):
        run(monkeypatch, manifest.main, "--data", f"data/{name}", "--codes", f"dump/{name}")


def results(folder: Path) -> dict[str, bytes]:
    """Return the content of what later stages read."""
    names = [
        p
        for pattern in ("codes.*", "manifest.jsonl", "warnings.tsv")
        for p in sorted((folder / "dump").glob(f"*/{pattern}"))
    ]
    return {str(path.relative_to(folder)): path.read_bytes() for path in names}


def listed(folder: Path, name: str, file: str) -> dict[str, str]:
    return {item.id: item.kind for item in read_items(folder / "dump" / name / file)}


def test_bad_items_are_reported_at_once_and_left_out_only_if_allowed(wavs, tmp_path, monkeypatch, capsys):
    nasty, clean = tmp_path / "nasty", tmp_path / "clean"
    for folder in (nasty, clean):
        write_sets(folder / "data", wavs, with_bad=folder == nasty)
    for allowed in (0, BAD_COUNT - 1):
        with pytest.raises(ValueError) as error:
            code(monkeypatch, nasty, skip_bad=allowed)
        message = str(error.value)
        assert f"--skip_bad {BAD_COUNT} (now {allowed})" in message
        assert "missing file 2, missing in a file 2" in message and "bad items in 3 of 4 sets" in message
        assert {name: listed(nasty, name, "bad_items.tsv") for name in KINDS} == KINDS
        assert not list((nasty / "dump").glob("*/codes.en.scp"))
    for folder in (nasty, clean):
        code(monkeypatch, folder, skip_bad=BAD_COUNT if folder == nasty else 0, nj=2)
    out = capsys.readouterr().out
    assert f"11 utterances, 76 code frames, {len(KINDS['train'])} left out" in out
    assert {name: listed(nasty, name, "left_out.tsv") for name in KINDS} == KINDS
    assert results(nasty) == results(clean) and len(results(nasty)) == 11
    assert listed(nasty, "train", "warnings.tsv") == {"clipped": "clipping", "early": "ends early"}
    assert not list(nasty.glob("dump/*/bad_items.tsv")) and not list(tmp_path.rglob("hacked"))
    assert {kind for kinds in KINDS.values() for kind in kinds.values()} == set(ADVICE) - {
        "clipping",
        "byte order mark",
    }  # this test knows all kinds


def test_what_was_published_in_a_test_set_is_kept_by_choice_and_listed(wavs, tmp_path, monkeypatch):
    keys = ("cut-flac", "cut-wav", "plain", "silent")
    tables = {"wav.scp.en": [f"{wavs}/{key}.wav" for key in keys], "text.en": ["words"] * 4, "utt2spk": ["v"] * 4}
    for name, values in tables.items():
        for set_ in ("train", "test"):
            (tmp_path / "data" / set_).mkdir(parents=True, exist_ok=True)
            (tmp_path / "data" / set_ / name).write_text(
                "".join(f"{key} {value}\n" for key, value in zip(keys, values))
            )
    monkeypatch.chdir(tmp_path)
    base = ["--data", "data", "--dump", "dump", "--nj", 1]
    with pytest.raises(
        ValueError, match="keep them: --keep_published silence(.|\n)*keep them: --keep_published truncated"
    ):
        run(monkeypatch, extract_codes.main, *base, "--test_sets", "test")
    run(monkeypatch, extract_codes.main, *base, "--test_sets", "test", "--keep_published", "truncated", "silence")
    kept = {"cut-flac": "kept: truncated", "cut-wav": "kept: truncated", "silent": "kept: silence"}
    assert listed(tmp_path, "test", "warnings.tsv") == kept and not listed(tmp_path, "test", "left_out.tsv")
    run(monkeypatch, manifest.main, "--data", "data/test", "--codes", "dump/test")
    assert len((tmp_path / "dump/test/manifest.jsonl").read_text().splitlines()) == 4
    with pytest.raises(ValueError, match="3 bad items"):  # a training set is not what was published for comparison
        run(monkeypatch, extract_codes.main, *base, "--train_sets", "train", "--keep_published", "truncated", "silence")
    spans = read_audio("data/test", "en")
    originals = copy_originals(spans, tmp_path / "originals")
    assert {key for key in keys if originals[key] != spans[key].path} == {"cut-flac", "cut-wav"}
    assert all(len(hear(path, RATE_HZ)) for path in originals.values()), "what was kept can be scored"
