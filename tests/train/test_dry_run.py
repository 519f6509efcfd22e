"""The plan of a training: every config and every size of machine, with the real architectures and no weights."""

import itertools
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from speechlm.arms.config import layered
from speechlm.data.settings import read_yaml
from speechlm.espnet.options import parse_options
from speechlm.espnet.task import SpeechLMTask
from speechlm.tokens.vocabulary import BOUNDARIES
from speechlm.train import dry_run

ROOT = Path(__file__).resolve().parents[2]
CONF = ROOT / "egs/TEMPLATE/conf"
OVERLAYS = ("paper", "gpu1", "gpu8", "nodes4", "tiny")
TRAINED = [
    path
    for path in sorted(ROOT.glob("egs/*/conf/**/*.yaml"))
    if path.name.startswith(("llm.", "cpt", "sft_")) and path.parent.name not in OVERLAYS
]
MACHINES = {"gpu1": 1, "gpu8": 8, "nodes4": 8}


def layers(name, folders):
    """The options for a training's settings, as the driver puts them together."""
    first, *others = layered(name, list(dict.fromkeys(folders)))[1]
    return "--config", first, "--overlay", *others


def plan(*options):
    codec = [] if "--codec" in options else ["--codec", "codec_16k"]
    argv = ["--src_lang", "en", "--tgt_lang", "zh", "--dry_run", "true", *codec, *map(str, options)]
    return dry_run.show(parse_options(SpeechLMTask.get_parser(), argv))


@pytest.mark.parametrize("path", TRAINED, ids=lambda path: str(path.relative_to(ROOT / "egs")))
def test_every_config_is_planned(path):
    recipe = next(folder for folder in path.parents if folder.name == "conf")
    folders = [CONF, recipe, path.parent]
    small = [folder / "llm_model.yaml" for folder in dict.fromkeys(folders) if (folder / "llm_model.yaml").exists()]
    found = plan(*layers(path.stem, folders), "--llm_model_config", *small)
    assert found.args.mixture and found.step_positions > 0 and sum(found.memory().values()) > 4 * found.total


@pytest.mark.parametrize(("machine", "stage"), itertools.product(MACHINES, ("cpt", "sft")))
def test_every_size_of_machine_is_planned_and_has_the_papers_batch(machine, stage, capsys):
    settings = layers("cpt" if stage == "cpt" else "sft_asr", [CONF, CONF / "paper", CONF / machine])
    more = ["--ngpu", MACHINES[machine], "--llm", "Qwen/Qwen1.5-0.5B", "--codec", "encodec_24khz:6", "--gpu", "H100"]
    found = plan(*settings, *more)
    args = found.args
    assert (args.lr, args.final_lr_ratio, args.grad_clip, args.dtype, args.muon_lr) == (1e-5, 0.1, 1.0, "bfloat16", 0.0)
    assert sum(found.memory().values()) < 80e9
    if stage == "cpt":
        assert found.step_positions == 640 * 4096 and args.max_steps == 40000
        assert set(args.mixture) == {"continuation", "asr", "tts", "s2tt", "t2st", "lm", "mt_text"}
    assert "GPU hours" in capsys.readouterr().out


def test_the_numbers_follow_from_the_options():
    more = ("--llm", "Qwen/Qwen1.5-0.5B", "--codec_shape", "8x1024@75", "--muon_lr", "0", "--accum_grad", "3")
    found = plan(*layers("cpt", [CONF]), *more)
    new = (8 * 1024 + len(BOUNDARIES) + 6 + 2) * 1024  # codes, boundaries, tasks, languages
    assert found.parameters["backbone"] == 463_987_712 - 151_936 * 1024 and found.parameters["text head"] == 0
    assert found.parameters["new tables"] == found.parameters["new heads"] == new
    assert found.memory()["optimizer"] == 8 * found.total and found.memory()["weights"] == 6 * found.total
    assert found.step_positions == 12 * 128 * 3
    head = found.total - found.parameters["new tables"]
    assert found.flops_per_position() == pytest.approx(6 * head, rel=0.15)
    assert found.hours(1e15, 0.3) == pytest.approx(2 * found.hours(2e15, 0.3))


QWEN = [
    "--config",
    CONF / "cpt.yaml",
    "--overlay",
    CONF / "paper/cpt.yaml",
    CONF / "gpu1/cpt.yaml",
    "--codec",
    "encodec_24khz:6",
    "--gpu",
    "H100",
]


def test_the_share_reached_is_a_measured_one_and_what_is_extrapolated_is_said(capsys):
    plan(*QWEN, "--llm", "Qwen/Qwen1.5-0.5B", "--rows", "2", "--ngpu", "1", "--gpu", "H200")
    said = capsys.readouterr().out
    assert (
        "of which 36% are reached: measured with Qwen/Qwen1.5-0.5B at commit b484ebb" in said
        and "extrapolated" not in said
    )
    plan(*QWEN, "--llm", "Qwen/Qwen2.5-1.5B", "--rows", "2", "--ngpu", "8", "--gpu", "A100")
    said = capsys.readouterr().out
    assert (
        "extrapolated, since that had GPU H200 (here A100), parameters 463,987,712 (here 1,5" in said
        and "processes 1 (here 8)" in said
    )


def test_seven_billion_parameters_fit_eight_gpus_sharded_and_no_gpu_whole(capsys):
    options = [*QWEN, "--llm", "Qwen/Qwen2.5-7B", "--rows", "1", "--ngpu", "8", "--gradient_checkpointing", "true"]
    assert sum(plan(*options).memory().values()) > 80e9
    assert "MORE than a H100 has (80 GB): --sharding full, fewer --rows" in capsys.readouterr().out
    found = plan(*options, "--sharding", "full")
    assert found.mine == pytest.approx(found.total / 8, rel=1e-3) and sum(found.memory().values()) < 60e9
    assert "fits a H100 (80 GB)" in capsys.readouterr().out
    assert plan(*options, "--sharding", "full", "--nodes", "8").mine == pytest.approx(found.total / 64, rel=1e-3)


def test_the_listed_llms_have_their_published_size():
    for name, entry in read_yaml(dry_run.LLMS).items():
        values = dict(entry["config"])
        with torch.device("meta"):
            llm = AutoModelForCausalLM.from_config(CONFIG_MAPPING[values.pop("model_type")](**values))
        assert sum(p.numel() for p in llm.parameters()) == entry["parameters"], name


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--llm", "nobody/nothing"], "config.json is enough; or name one of Qwen/Qwen1.5-0.5B"),
        (["--llm", "Qwen/Qwen1.5-0.5B", "--gpu", "X9"], "--gpu X9: expected one of A10"),
        (["--llm", "Qwen/Qwen1.5-0.5B", "--codec_shape", "8"], "for example 8x1024@75"),
        (["--llm", "Qwen/Qwen1.5-0.5B", "--codec", "unknown"], "--codec_shape 8x1024@75"),
        (["--llm", "Qwen/Qwen1.5-0.5B", "--overlay", "UNKNOWN"], "unknown settings \\['row_lenght'\\]"),
    ],
)
def test_mistakes_are_named(options, message, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("transformers.utils.hub._is_offline_mode", True)
    (tmp_path / "typo.yaml").write_text("row_lenght: 3\n")
    options = [str(tmp_path / "typo.yaml") if option == "UNKNOWN" else option for option in options]
    with pytest.raises(ValueError, match=message):
        plan("--config", CONF / "cpt.yaml", *options)
