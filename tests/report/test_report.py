"""What goes on the page: figures, systems of several experiments, recordings; made once, the same twice, and wrong
input refused.
"""

import json
import re
import shutil
from pathlib import Path

import pytest
from report_maker import EVIL, Maker, make_report

from speechlm.metrics.rows import read_lines, write_lines
from speechlm.report.sound import make_clip


@pytest.fixture
def maker(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Maker(tmp_path, 20)


def content(out: Path) -> dict:
    """Return what a page was given."""
    return json.loads(
        re.search(r'<script type="application/json" id="data">(.*?)</script>', (out / "index.html").read_text(), re.S)[
            1
        ]
    )


def files(out: Path) -> dict:
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


def options(maker):
    return ["--data", maker.root / "data", "--src_lang", "es", "--train_sets", "train"]


def test_the_same_twice_and_made_once(maker, capsys):
    exp = maker.experiment("exp", 0.3)
    for out in ("one", "two"):
        make_report(exp, "--out", out, *options(maker))
    assert files(Path("one")) == files(Path("two"))
    capsys.readouterr()
    before = Path("one/index.html").stat().st_mtime_ns
    make_report(exp, "--out", "one", *options(maker))
    assert "already complete" in capsys.readouterr().out and Path("one/index.html").stat().st_mtime_ns == before
    maker.wavs("exp/sft_s2st/score/wav", "sft")  # decoded again: other recordings, the same texts
    make_report(exp, "--out", "one", *options(maker))
    assert "done again" in capsys.readouterr().out
    names = {Path(name).stem for name in files(Path("one")) if name.startswith("audio/")}
    assert names == set(content(Path("one"))["clips"])  # those of before are gone


def test_an_interrupted_report_keeps_the_old_page_and_goes_on(maker, monkeypatch):
    exp = maker.experiment("exp", 0.3)
    make_report(exp, "--out", "out", *options(maker))
    old = Path("out/index.html").read_bytes()
    maker.wavs("exp/sft_s2st/score/wav", "sft")
    made = []

    def killed(span, folder):
        if len(made) == 30:
            raise KeyboardInterrupt
        made.append(make_clip(span, folder))
        return made[-1]

    monkeypatch.setattr("speechlm.report.listen.make_clip", killed)
    with pytest.raises(KeyboardInterrupt):
        make_report(exp, "--out", "out", *options(maker))
    clips = content(Path("out"))["clips"]
    assert Path("out/index.html").read_bytes() == old and all(Path(f"out/audio/{name}.mp3").exists() for name in clips)
    monkeypatch.setattr("speechlm.report.listen.make_clip", make_clip)
    made_before = {clip.name: Path(f"out/audio/{clip.name}.mp3").stat().st_mtime_ns for clip in made}
    make_report(exp, "--out", "out", *options(maker))
    assert {
        name: Path(f"out/audio/{name}.mp3").stat().st_mtime_ns for name in made_before
    } == made_before  # not made again


def test_figures_are_those_of_the_scores(maker):
    make_report(maker.experiment("exp", 0.3), "--out", "out", *options(maker))
    page = content(Path("out"))
    [speech] = [group for group in page["groups"] if group["task"] == "s2st"]
    [row] = [row for row in page["rows"] if (row["task"], row["metric"], row["model"]) == ("s2st", "ASR-BLEU", "sft")]
    voices = page["voices"]["s2st"]
    assert [part["name"] for part in voices["parts"]] == ["heard in training", "not heard in training"]
    for broken in (speech["speakers"], speech["lengths"], voices):
        assert sum(part["n"] for part in broken["parts"]) == 20
        assert all(low <= value <= high for value, low, high in broken["values"]["ASR-BLEU"]["sft"])
    anna = speech["speakers"]["values"]["ASR-BLEU"]["sft"][0]
    lines = [line for line in read_lines("exp/sft_s2st/score/utterances.jsonl") if line["speaker"] == "anna"]
    import sacrebleu

    whole = sacrebleu.corpus_bleu([line["hyp_norm"] for line in lines], [[line["ref_norm"] for line in lines]]).score
    assert anna[0] == pytest.approx(whole, abs=1e-3) and row["low"] <= row["value"] <= row["high"]
    assert [system["name"] for system in speech["systems"]] == ["sft", "originals", "codec reconstruction"]
    assert page["curves"][0]["kinds"]["valid"]["loss"] == [[100, 2.1]]
    heard = [utterance for utterance in speech["utterances"] if "clips" in utterance]
    assert {utterance["clips"]["why"] for utterance in heard} == {"chosen", "worst"}
    assert all(set(utterance["clips"]) == {"why", "source", "reference", "codec", "0"} for utterance in heard)
    assert heard[0]["source"] == f"es {heard[0]['ref']}"


def test_experiments_side_by_side_share_their_ceilings(maker):
    make_report(maker.experiment("exp/a", 0.1), maker.experiment("exp/b", 0.6), "--out", "exp/both", *options(maker))
    [speech] = [group for group in content(Path("exp/both"))["groups"] if group["task"] == "s2st"]
    assert [system["name"] for system in speech["systems"]] == ["a/sft", "b/sft", "originals", "codec reconstruction"]
    assert {len(utterance["clips"]) for utterance in speech["utterances"] if "clips" in utterance} == {6}


def test_what_does_not_compare_is_refused(maker):
    a, b = maker.experiment("exp/a", 0.1), maker.experiment("exp/b", 0.6)
    path = b / "sft_s2st/score/utterances.jsonl"
    write_lines(path, read_lines(path)[1:])
    with pytest.raises(ValueError, match="s2st / test has other utterances"):
        make_report(a, b, "--out", "out")
    with pytest.raises(ValueError, match="Give --out"):
        make_report(a, b)
    with pytest.raises(ValueError, match="Score first"):
        make_report(maker.root / "data")
    (a / "sft_s2st/train.jsonl").write_text("[1]\n")
    with pytest.raises(ValueError, match="not the log of a training"):
        make_report(a)


def test_texts_of_a_corpus_are_no_html(maker):
    exp = maker.experiment("exp", 0.3)
    for path in exp.rglob("utterances.jsonl"):
        write_lines(path, [line | {"hyp": EVIL, "hyp_norm": EVIL} for line in read_lines(path)])
    make_report(exp, "--out", "out", "--title", EVIL, *options(maker))
    page = Path("out/index.html").read_text()
    assert "<img" not in page and "<script>alert" not in page
    assert content(Path("out"))["groups"][0]["utterances"][0]["hyps"][0]["text"] == EVIL
    sources = "".join(path.read_text() for path in Path(make_clip.__code__.co_filename).with_name("page").glob("*.js"))
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|https?://(?!www\.w3\.org/2000/svg)", sources
    )


def test_recordings_are_found_where_an_experiment_was_moved_and_limited(maker, capsys, tmp_path):
    exp = maker.experiment("exp", 0.3)
    shutil.move(exp, tmp_path / "kept")
    make_report("kept", "--out", "out", *options(maker))
    assert "warning" not in capsys.readouterr().out
    shutil.rmtree("kept/sft_s2st/score/wav")
    make_report("kept", "--out", "out", *options(maker))
    assert re.search(
        r"warning: \d+ recordings were not found or can't be read, for instance exp/sft_s2st", capsys.readouterr().out
    )
    make_report("kept", "--out", "small", "--max_mb", "0.05", *options(maker))
    assert (
        content(Path("small"))["full"]
        and 0 < sum(path.stat().st_size for path in Path("small/audio").iterdir()) < 0.2e6
    )


def test_an_experiment_within_an_experiment_is_not_its_own(maker):
    exp = maker.experiment("exp", 0.3)
    shutil.copytree(exp, maker.root / "tiny")
    shutil.move(maker.root / "tiny", exp / "tiny")
    (exp / "tiny/.lock").touch()
    lines = exp / "tiny/sft_s2st/score/score.json"
    lines.write_text(lines.read_text().replace('"value": ', '"value": 1'))
    make_report(exp, "--out", "out", *options(maker))
    assert len(content(Path("out"))["groups"]) == 2
