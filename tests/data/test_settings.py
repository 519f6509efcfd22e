"""Settings files: whatever is wrong with one, the error names it."""

import argparse
from dataclasses import dataclass

import pytest

from speechlm.arms.config import load_arm
from speechlm.bin.train_judge import read_course
from speechlm.codecs.trainers import read_config
from speechlm.data.grammar import Grammar
from speechlm.data.llm_model import read_llm_model
from speechlm.data.settings import Option, Positive, fill, read_json, read_yaml
from speechlm.data.voices import read_cast
from speechlm.metrics.protocol import load_protocol
from speechlm.model.generate import read_decode_config


@dataclass(frozen=True)
class Config:
    sizes: tuple[int, ...]
    rate: float = 1.0


def test_values_are_filled_and_wrong_ones_named():
    assert fill(Config, {"sizes": [1, 2], "rate": 3}, "c.yaml").rate == 3
    mistakes = {
        "no sizes": {},
        "unknown keys": {"sizes": [], "size": 1},
        "sizes is": {"sizes": [1.5]},
        "rate is True": {"sizes": [], "rate": True},
    }
    for message, values in mistakes.items():
        with pytest.raises(ValueError, match=f"c.yaml: {message}"):
            fill(Config, values, "c.yaml")
    with pytest.raises(ValueError, match="c.yaml: found a list"):
        fill(Config, [1], "c.yaml")


def test_damaged_files_are_refused_by_name(tmp_path):
    for read, contents in (
        (read_json, (b"{", b"\xff", b"[" * 100_000)),
        (read_yaml, (b"a: [", b"\xff", b"[" * 100_000, b"a: 2001-99-99")),
    ):
        for content in contents:
            (tmp_path / "file").write_bytes(content)
            with pytest.raises(ValueError, match="file: cannot be read as"):
                read(tmp_path / "file")
        with pytest.raises(ValueError, match="gone: No such file"):
            read(tmp_path / "gone")


def test_a_small_file_that_stands_for_a_giant_one_is_refused_at_once(tmp_path):
    lines = ["rate: &a0 [x, x]"] + [f"b{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 60)] + ["sizes: *a59"]
    (tmp_path / "c.yaml").write_text("\n".join(lines))
    with pytest.raises(ValueError, match="c.yaml: unknown keys"):
        fill(Config, read_yaml(tmp_path / "c.yaml"), "c.yaml")
    values = {key: value for key, value in read_yaml(tmp_path / "c.yaml").items() if key == "sizes"}
    with pytest.raises(ValueError, match="sizes is"):
        fill(Config, values, "c.yaml")


def test_yaml_is_read_as_it_looks(tmp_path):
    (tmp_path / "c.yaml").write_text("{a: 1e-1, b: 010, c: no, d: 1:30, e: true, f: null, g: 16.0, h: '1'}")
    assert read_yaml(tmp_path / "c.yaml") == {
        "a": 0.1,
        "b": 10,
        "c": "no",
        "d": "1:30",
        "e": True,
        "f": None,
        "g": 16.0,
        "h": "1",
    }
    for content in ("a: 1\nb: 2\na: 3", "x: {a: 1, a: 2}"):
        (tmp_path / "c.yaml").write_text(content)
        with pytest.raises(ValueError, match="c.yaml: cannot be read as YAML: line .: a is there twice"):
            read_yaml(tmp_path / "c.yaml")
    (tmp_path / "c.json").write_text('{"a": 1, "a": 2}')
    with pytest.raises(ValueError, match="c.json: cannot be read as JSON: a is there twice"):
        read_json(tmp_path / "c.json")


DECODING = "prompt_frames: 16.0\ntext: {temperature: 1e-1}\nspeech: {max_rows: 9, seed: 3}\n"


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("1e-1", "-1", "text: temperature is -1; expected a number, 0 or more"),
        ("1e-1", ".nan", "text: temperature is nan"),
        ("1e-1", "'hot'", "text: temperature is 'hot'"),
        ("1e-1", "0.1, beam: 0", "text: beam is 0; expected a whole number, 1 or more"),
        ("1e-1", "0.1, beams: 2", r"text: unknown keys \['beams'\]"),
        ("max_rows: 9", "max_rows: 0", "speech: max_rows is 0; expected a whole number, 1 or more"),
        ("max_rows: 9", "max_rows: 9.5", "speech: max_rows is 9.5; expected a whole number"),
        ("{max_rows: 9, seed: 3}", "", "speech is missing or empty; expected options"),
        ("speech: {max_rows: 9, seed: 3}", "", "speech is missing or empty; expected options"),
        ("{max_rows: 9, seed: 3}", "[max_rows, 9]", "speech is .*; expected names and values"),
        ("16.0", "true", "prompt_frames is True; expected a whole number, 1 or more or nothing"),
        ("prompt_frames: 16.0", "prompt_frames: 0", "prompt_frames is 0; expected a whole number, 1 or more"),
    ],
)
def test_decoding_settings_are_checked_when_they_are_read(tmp_path, before, after, message):
    path = tmp_path / "decode.yaml"
    path.write_text(DECODING)
    options, prompt_frames = read_decode_config([path], "text", seed=7)
    assert (options.temperature, options.seed, prompt_frames, type(prompt_frames)) == (0.1, 7, 16, int)
    assert read_decode_config([path], "speech", seed=7)[0].seed == 3
    path.write_text(DECODING.replace(before, after))
    with pytest.raises(ValueError, match=f"^{path}: {message}"):
        for kind in ("text", "speech"):
            read_decode_config([path], kind, seed=7)


def test_the_files_of_later_layers_say_only_what_differs(tmp_path):
    below, above = tmp_path / "a.yaml", tmp_path / "b.yaml"
    below.write_text("vocab_size: 9\nmodel: {model_type: llama, hidden_size: 8, num_attention_heads: 4}")
    above.write_text("model: {hidden_size: 16}")
    model = {"model_type": "llama", "hidden_size": 16, "num_attention_heads": 4}
    assert read_llm_model(below, above) == {"vocab_size": 9, "model": model}
    above.write_text("model: {hidden_size: 6}")
    with pytest.raises(ValueError, match="a.yaml .* .*b.yaml: model: hidden_size is 6; expected a multiple"):
        read_llm_model(below, above)


@pytest.mark.parametrize(
    ("read", "content", "message"),
    [
        (
            read_cast,
            "train: [{name: a, rate_wpm: 0}]\nunheard: []",
            "train: rate_wpm is 0; expected a whole number, from 80 to 450",
        ),
        (read_cast, "train:\nunheard: []", "train is None; expected a list"),
        (read_cast, "train: [{name: a}]", "no unheard"),
        (read_cast, "train: [{name: ../a}]\nunheard: [{name: b}]", "name is '../a'"),
        (
            read_llm_model,
            "vocab_size: 0\nmodel: {model_type: llama}",
            "vocab_size is 0; expected a whole number, 1 or more",
        ),
        (read_llm_model, "vocab_size: 9\nmodel:", "model is None; expected names and values"),
        (
            read_llm_model,
            "vocab_size: 9\nmodel: {model_type: llama, hidden_size: 10, num_attention_heads: 4}",
            "expected a multiple",
        ),
        (read_llm_model, "- 1", r"is \[1\]; expected names and values"),
        (read_course, "max_epoch: 3\nnum_iters_per_epoch: 2", "no scheduler_conf"),
        (read_course, "max_epoch: 0\nnum_iters_per_epoch: 2\nscheduler_conf: {}", "max_epoch is 0"),
        (read_config, "model: {kind: spectral}\nfit_clips: 0", "fit_clips is 0; expected a whole number, 1 or more"),
        (read_config, "model: {kind: encodec, ratios: [2, 0]}", "ratios is 0"),
        (
            read_config,
            "model: {kind: encodec, activation: GELU}",
            "activation is 'GELU'; expected one of ELU, LeakyReLU",
        ),
        (read_config, "model: {kind: vocos}\ndecay_share: 2", "decay_share is 2; expected a number, from 0 to 1"),
        (Grammar, "languages: []\nrules: {sentence: [{en: a}]}", r"languages is \[\]"),
        (Grammar, "languages: [en]\nrules: []", r"rules is \[\]; expected names and values"),
        (load_protocol, "description: x\nasr: {metrics: []}", r"metrics is \[\]"),
        (
            load_protocol,
            "description: x\ntts: {metrics: [WER], beam: 0}",
            "beam is 0; expected a whole number, 1 or more",
        ),
        (load_protocol, "description: x\ntts: {metrics: WER}", "metrics is 'WER'; expected a list"),
    ],
)
def test_every_file_of_settings_is_checked_when_it_is_read(tmp_path, read, content, message):
    path = tmp_path / "file.yaml"
    path.write_text(content)
    with pytest.raises(ValueError, match=message) as caught:
        read(path)
    assert str(path) in str(caught.value)


def test_arms_are_checked_when_they_are_read(tmp_path):
    (tmp_path / "arms").mkdir()
    for content, name, message in (
        ("description: x\ntasks: [asr, s2xx]", "x", "tasks: found 's2xx'; expected some of asr, tts"),
        ("description: x\nnumber: 101", "x", "number is 101; expected a whole number, from 0 to 100"),
        ("description: x\nshare_of: [lm]", "x_150", "the percentage is 150; expected a whole number, from 0 to 100"),
        ("description: x\nskip_cpt: 1", "x", "skip_cpt is 1; expected true or false"),
        ("description: x\ncpt: [rows]", "x", "cpt is .*; expected names and values"),
    ):
        (tmp_path / "arms/x.yaml").write_text(content)
        with pytest.raises(ValueError, match=message):
            load_arm(name, [tmp_path])


def test_options_of_a_command_line_are_checked_alike():
    parser = argparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--beam", type=Option(Positive))
    assert parser.parse_args(["--beam", "2"]).beam == 2
    with pytest.raises(argparse.ArgumentError, match="found '0'; expected a whole number, 1 or more"):
        parser.parse_args(["--beam", "0"])
