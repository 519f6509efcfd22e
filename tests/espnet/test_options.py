"""Settings of a training, from files: typed and ranged as on the command line, and named with their file."""

from pathlib import Path

import pytest

from speechlm.espnet.options import parse_options
from speechlm.espnet.task import SpeechLMTask

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def parser():
    return SpeechLMTask.get_parser


def parse(parser, path, *options):
    return parse_options(parser(), ["--config", str(path), *options])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("mixture: {asr: null}", "mixture: asr is None; expected a number, 0 or more"),
        ("mixture: [asr]", r"mixture is \['asr'\]; expected names and values"),
        ("mixture: {asr: -1}", "mixture: asr is -1"),
        ("mixture:", "mixture is None; expected names and values"),
        ("dtype: bf16", "dtype is 'bf16'; expected one of bfloat16, float32"),
        ("rows: 0", "rows is 0; expected a whole number, 1 or more"),
        ("rows: many", "rows is 'many'"),
        ("max_steps: .inf", "max_steps is inf"),
        ("lr: [1]", r"lr is \[1\]; expected a number, 0 or more"),
        ("final_lr_ratio: 1.5", "final_lr_ratio is 1.5; expected a number, from 0 to 1"),
        ("stream_weights: [1.0, -1]", "stream_weights is -1"),
        ("stream_weights: 1.0", "stream_weights is 1.0; expected a list"),
        ("pattern: zigzag", "pattern is 'zigzag'; expected one of parallel, delay"),
        ("codebook_init: 1", "codebook_init is 1; expected true or false"),
        ("task_langs: {tts: en}", "task_langs: tts is 'en'; expected a list"),
        ("accum_grad: 0", "accum_grad is 0"),
        ("seed: -1", "seed is -1"),
        ("- rows", "is .*; expected names and values"),
        ("rows: 1\nrows: 2", "rows is there twice"),
    ],
)
def test_a_wrong_setting_is_one_line_with_its_file(parser, tmp_path, content, message):
    (tmp_path / "cpt.yaml").write_text(content)
    with pytest.raises(ValueError, match=message) as caught:
        parse(parser, tmp_path / "cpt.yaml")
    assert str(tmp_path / "cpt.yaml") in str(caught.value)


def test_numbers_are_numbers_and_an_overlay_may_be_empty(parser, tmp_path):
    (tmp_path / "cpt.yaml").write_text("{lr: 1e-3, max_steps: 1e3, prompt_frames: 16.0, mixture: {asr: 1}, llm: null}")
    (tmp_path / "empty.yaml").write_text("# rows: 3\n")
    args = parse(parser, tmp_path / "cpt.yaml", "--overlay", str(tmp_path / "empty.yaml"))
    assert (args.lr, args.max_steps, args.prompt_frames, args.mixture, args.llm) == (
        0.001,
        1000,
        16,
        {"asr": 1.0},
        None,
    )
    assert type(args.max_steps) is type(args.prompt_frames) is int


def test_all_shipped_settings_are_read(parser):
    files = [
        p
        for p in ROOT.glob("egs/**/conf/**/*.yaml")
        if p.stem in ("cpt", "llm", "sft", "train") or p.stem.startswith("sft_")
    ]
    assert len(files) > 30
    for path in files:
        parse(parser, path)


def test_the_command_line_says_what_it_expects(parser, tmp_path, capsys):
    (tmp_path / "cpt.yaml").write_text("")
    for option, message in (
        ("--rows 0", "expected a whole number, 1 or more"),
        ("--lr nan", "expected a number, 0 or more"),
    ):
        with pytest.raises(SystemExit):
            parse(parser, tmp_path / "cpt.yaml", *option.split())
        assert message in capsys.readouterr().err
    with pytest.raises(ValueError, match="--mixture: asr is 'x'; expected a number"):
        parse(parser, tmp_path / "cpt.yaml", "--mixture", "asr=x")
