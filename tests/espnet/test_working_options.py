"""The options of training: each works, or is refused with what works instead."""

import sys
import types

import pytest

from speechlm.espnet import training
from speechlm.espnet.help import help_parser
from speechlm.espnet.options import own_options, parse_options
from speechlm.espnet.task import SpeechLMTask
from speechlm.espnet.working import INSTEAD, SHOWN, WORKING
from speechlm.train.build import require_same
from speechlm.train.log import Log
from tests.model.tiny import tiny_model


def parse(*argv: str):
    return parse_options(SpeechLMTask.get_parser(), argv)


@pytest.mark.parametrize(
    ("option", "instead"),
    [
        (("--optim", "sgd"), "--lr and --weight_decay"),
        (("--patience", "3"), "--max_steps"),
        (("--use_amp", "true"), "--dtype bfloat16"),
        (("--batch_size", "4"), "--rows"),
        (("--use_matplotlib", "true"), "--use_tensorboard"),
    ],
)
def test_an_option_without_effect_is_refused_with_what_works(option, instead):
    with pytest.raises(ValueError, match=f"{option[0]} .*has no effect in this training.*{instead}"):
        parse(*option)


def test_it_is_refused_in_a_config_too_and_what_is_the_case_anyway_is_not(tmp_path):
    config = tmp_path / "train.yaml"
    config.write_text("use_matplotlib: false\npatience: null\n")
    assert parse("--config", str(config)).resume, "an interrupted training goes on by itself"
    config.write_text("patience: 3\nmax_epoch: 7\n")
    with pytest.raises(ValueError, match="(?s)max_epoch 7: .*patience 3: |patience 3: .*max_epoch 7: "):
        parse("--config", str(config))


def test_what_is_advised_against_is_none_that_works():
    assert not set(" ".join(INSTEAD).split()) & (WORKING | {action.dest for action in own_options()})


def test_help_shows_all_that_works_with_its_default():
    real = {action.dest: action for action in SpeechLMTask.get_parser()._actions}
    assert {name: real[name].default for name in SHOWN} == {name: default for name, (default, _) in SHOWN.items()}
    told = help_parser("").format_help()
    for name in [*SHOWN, *(action.dest for action in own_options())]:
        assert f"--{name} " in told or f"--{name}\n" in told


def test_wandb_gets_what_tensorboard_gets(tmp_path, monkeypatch):
    logged = []
    wandb = types.SimpleNamespace(log=lambda values, step: logged.append((step, values)))
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    log = Log(tmp_path, 4, 1, use_tensorboard=False, use_wandb=True)
    log.start(0)
    log.write("valid", 2, {"loss": 1.5})
    assert logged == [(2, {"valid/loss": 1.5})]


def test_wandb_that_cannot_be_used_is_said_before_the_training(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)  # as if it were not installed
    with pytest.raises(ValueError, match="pip install wandb"):
        training.require_wandb()


def test_what_the_model_to_start_from_has_decided_is_not_asked_for_otherwise():
    vocab = tiny_model().vocab
    require_same(parse("--init_from", "cpt", "--langs", "en", "--pattern", "parallel"), vocab)
    require_same(parse("--init_from", "cpt"), tiny_model("delay").vocab)
    for options, found in (
        (("--pattern", "delay"), "--pattern delay"),
        (("--tasks", "s2st"), "<s2st>"),
        (("--langs", "en", "zh"), "<zh>"),
    ):
        with pytest.raises(ValueError, match=f"--init_from cpt: the model has the pattern parallel .* found {found}"):
            require_same(parse("--init_from", "cpt", *options), vocab)
