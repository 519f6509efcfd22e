"""The command `speechlm`: quick to start, one line for each file, one error for each bad one, and every stage's
program.
"""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from speechlm import cli
from speechlm.data.audio import load_wav, save_wav


@pytest.fixture
def command(made, monkeypatch, capsys):
    """Run `speechlm ...` in the recipe's folder; return (what it printed, how it ended)."""
    monkeypatch.chdir(made.root)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["speechlm", *map(str, arguments)])
        ended = 0
        try:
            cli.main()
        except SystemExit as error:
            ended = error.code or 0
        return capsys.readouterr().out.splitlines(), ended

    return run


@pytest.mark.parametrize("arguments", [["--help"], ["transcribe", "--help"], ["train", "--help"]])
def test_help_is_there_at_once(arguments):
    cpu_sec = lambda: sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])  # noqa: E731  # a busy machine is not our fault
    before = cpu_sec()
    done = subprocess.run([sys.executable, "-m", "speechlm", *arguments], capture_output=True, text=True)
    assert done.returncode == 0 and "usage: speechlm" in done.stdout and cpu_sec() - before < 2


HELP = """
import contextlib, importlib, io, sys
for name in sys.argv[1:]:
    sys.argv = [name, "--help"]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
        importlib.import_module(f"speechlm.bin.{name}").main()
print(*(name for name in ("torch", "transformers", "espnet2.tasks") if name in sys.modules))
"""


def test_options_are_read_before_what_is_slow_to_import():
    """ESPnet and transformers take 4 to 10 s of a core, torch 2 s: what codes recordings needs it in any case."""
    coding = {"extract_codes", "ceiling", "codec_report", "train_codec", "train_judge", "report"}
    for names, expected in ((set(cli.programs()) - coding, ""), (coding, "torch")):
        done = subprocess.run([sys.executable, "-c", HELP, *sorted(names)], capture_output=True, text=True)
        assert done.stdout.strip() == expected, done.stderr


def test_every_program_is_a_command():
    found = cli.programs()
    assert {"transcribe", "translate", "synthesise", "push", "bench", "train", "decode", "score"} <= set(found)
    assert all(found.values()) and "command" not in found and "using" not in found


@pytest.mark.parametrize(
    "line, expected",
    [
        ("speechlm trans", {"transcribe", "translate"}),
        ("speechlm transcribe --la", {"--lang"}),
        ("speechlm translate --to ", {"text", "speech"}),
        ("speechlm train --max_s", {"--max_steps"}),
    ],
)
def test_the_shell_completes_programs_and_options(tmp_path, line, expected):
    asked = {
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
        "COMP_TYPE": "9",
        "_ARGCOMPLETE_IFS": "\n",
        "_ARGCOMPLETE": "1",
    }
    answer = {"_ARGCOMPLETE_STDOUT_FILENAME": str(tmp_path / "answer")}
    subprocess.run([sys.executable, "-m", "speechlm"], env=os.environ | asked | answer, timeout=60, check=True)
    assert {word.strip() for word in (tmp_path / "answer").read_text().splitlines()} == expected


def test_a_command_that_there_is_not(command):
    assert (
        command("trian")[1] == "error: speechlm trian: no such command. Did you mean train? speechlm --help lists them."
    )


def test_transcribe_and_translate(command, made):
    out, ended = command("transcribe", "a.wav", "b.wav", "--lang", "es")
    texts = made.lm.transcribe([made.a, made.b], lang="es")
    assert ended == 0 and out == [f"a.wav\t{texts[0]}", f"b.wav\t{texts[1]}"]
    assert command("translate", "a.wav")[0] == [f"a.wav\t{made.lm.translate(made.a)}"]


def test_what_is_bad_is_one_line_each_and_the_others_are_done(command, made):
    Path("bad.wav").write_text("no sound")
    out, ended = command("transcribe", "none.wav", "a.wav", "bad.wav", "--lang", "es")
    assert [line.split("\t")[0] for line in out] == [
        "a.wav"
    ] and ended == "error: 2 of 3 inputs could not be used (see above)"
    assert (
        command("transcribe", "a.wav", "--lang", "fr")[1]
        == "error: Speech recognition (asr): asked for fr; the model was trained for es, en."
    )
    assert (
        "sft_asr: no model for Speech synthesis (tts). It has"
        in command("synthesise", "--text", "hi", "--model", "exp/sft_asr")[1]
    )


def test_translate_to_speech_goes_where_it_is_told_and_never_over_the_input(command, made, tmp_path):
    assert command("translate", "a.wav", "--to", "speech")[0] == ["a.wav\ttranslated/a.wav"]
    wav, rate_hz = load_wav("translated/a.wav")
    speech = made.lm.translate(made.a, to="speech")
    assert rate_hz == speech.rate_hz and len(wav) == len(speech.wav)
    assert command("translate", "a.wav", "--to", "speech", "--out", tmp_path / "x.mp3")[0] == [
        f"a.wav\t{tmp_path}/x.mp3"
    ]
    assert "a.wav: would be overwritten" in command("translate", "a.wav", "--to", "speech", "--out", ".")[1]
    save_wav(tmp_path / "a.wav", wav, rate_hz)
    assert "several files have the same name" in command("translate", "a.wav", tmp_path / "a.wav", "--to", "speech")[1]


def test_synthesise_texts_of_a_file(command, made, tmp_path):
    (tmp_path / "t.txt").write_text("hello\tgood morning\ngood evening\n")
    out, ended = command("synthesise", tmp_path / "t.txt", "--out", tmp_path / "spoken", "--voice", "bert")
    assert ended == 0 and out == [f"hello\t{tmp_path}/spoken/hello.wav", f"t-2\t{tmp_path}/spoken/t-2.wav"]
    assert len(load_wav(tmp_path / "spoken/t-2.wav")[0]) == len(made.lm.synthesise("good evening", voice="bert").wav)
    for line, told in (
        ("../x\thello", "t.txt:1: the name '../x'"),
        ("", "no text in it"),
        ("a\tb\na\tc", "t.txt:2: the name 'a'"),
    ):
        (tmp_path / "t.txt").write_text(line)
        assert told in command("synthesise", tmp_path / "t.txt", "--out", tmp_path / "spoken")[1]
    (tmp_path / "t.txt").write_bytes(b"\xff\xfe")
    assert "not UTF-8 text" in command("synthesise", tmp_path / "t.txt")[1]
    assert "give either --text TEXT or files" in command("synthesise")[1]


def test_push_saves_and_bench_measures(command, made, tmp_path):
    assert command("push", "--save", tmp_path / "saved")[1] == 0 and (tmp_path / "saved/speechlm.json").is_file()
    assert "give either OWNER/NAME" in command("push")[1]
    out, ended = command(
        "bench", "--batch", "1", "2", "--tasks", "tts", "--repeat", "1", "--sec", "0.5", "--json", tmp_path / "b.json"
    )
    assert (
        ended == 0
        and len(out) == 3
        and [row["batch"] for row in json.loads((tmp_path / "b.json").read_text())] == [1, 2]
    )
