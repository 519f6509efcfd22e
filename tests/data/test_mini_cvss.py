"""egs/mini_cvss/local/make_corpus.py: what is spoken is not spoken again, what vanished or changed is."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def make(folder, path=ROOT, **options):
    sizes = {"pairs": 3, "mono": 1, "text_pairs": 2, "eval_pairs": 1, "nj": 1} | options
    words = [str(word) for name, value in sizes.items() for word in (f"--{name}", value)]
    command = [sys.executable, str(ROOT / "egs/mini_cvss/local/make_corpus.py"), "--out", "data", *words]
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": f"{path}:{ROOT}"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.stdout if done.returncode == 0 else done.stderr


def files(folder):
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in sorted((folder / "data").rglob("*"))
        if p.is_file() and p.name[0] != "."
    }


def test_only_what_is_missing_is_spoken_again(tmp_path):
    make(tmp_path)
    made = files(tmp_path)
    assert "already complete" in make(tmp_path)
    victim = next((tmp_path / "data/dev/wav.es").iterdir())
    os.truncate(victim, 1000)
    (tmp_path / "data/.done.mini_cvss.json").unlink()  # as if it had been killed before the end
    said = make(tmp_path)
    assert "dev: 0 of 1 shards were complete" in said and "train: 1 of 1 shards were complete" in said
    assert files(tmp_path) == made


def test_another_voice_is_spoken_anew_and_back_again(tmp_path):
    voices = tmp_path / "voices.yaml"
    text = (ROOT / "egs/mini_cvss/local/voices.yaml").read_text()
    voices.write_text(text)
    make(tmp_path, voices=voices)
    made = files(tmp_path)
    assert "pitch_low_hz: 165" in text
    voices.write_text(text.replace("pitch_low_hz: 165", "pitch_low_hz: 175"))  # as long, but not as low
    assert "because of input" in make(tmp_path, voices=voices)
    assert files(tmp_path) != made
    voices.write_text(text)
    make(tmp_path, voices=voices)
    assert files(tmp_path) == made


def test_one_voice_speaks_all_translations(tmp_path):
    make(tmp_path)
    cvss_t = files(tmp_path)
    make(tmp_path, target_voice="bruno")
    cvss_c = files(tmp_path)
    changed = {"/".join(name.split("/")[1:3]) for name in cvss_c if cvss_c[name] != cvss_t[name]}
    assert {"train/wav.en", "dev/wav.en", "test/wav.en"} <= changed
    assert not changed & {"test/wav.es", "test_unheard/wav.en", "train_mono/wav.en"}, "the first of a process"
    assert "--target_voice nobody: expected one of alba, bruno" in make(tmp_path, target_voice="nobody")


def test_a_process_that_crashes_does_not_hang_the_others(tmp_path):
    (tmp_path / "espeakng_loader.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n")
    said = make(tmp_path, path=tmp_path)
    assert "the process that spoke alba-" in said and "ended with status -" in said
    assert "already" not in make(tmp_path)


def test_natural_voices_speak_the_wide_grammar_and_open_sentences(tmp_path):
    local = ROOT / "egs/mini_cvss/local"
    natural = {"languages": "fr,en", "voices": local / "voices_pico.yaml", "grammar": local / "grammar_wide.yaml"}
    assert "train: 0 of 1 shards were complete" in make(tmp_path, **natural)
    made = files(tmp_path)
    assert {"data/train/text.fr", "data/train_mono/text.en"} <= set(made) and "data/train_mono/text.fr" not in made
    make(tmp_path, **natural | {"nj": 2})
    command = [
        sys.executable,
        str(local / "make_sentences.py"),
        "--out",
        "data/open",
        "--skip",
        "2",
        "--lines",
        "3",
        "--nj",
        "1",
    ]
    subprocess.run(command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True, timeout=60)
    said = [line.split(" ", 1)[1] for line in files(tmp_path)["data/open/text.en"].decode().splitlines()]
    assert said == (local / "sentences.txt").read_text().splitlines()[2:5]
