"""FSDP2: losses, gradients and steps of one process, of two with DDP and of two that share the model; checkpoints go
from each to each.
"""

from argparse import Namespace
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.distributed.tensor import DTensor
from transformers import Qwen2Config, Qwen2ForCausalLM

from speechlm.data.settings import read_yaml
from speechlm.model.adapter import add_lora
from speechlm.model.speechlm import SpeechLM
from speechlm.model.tensors import whole
from speechlm.model.weights import save_weights
from speechlm.tasks.examples import Sequence
from speechlm.tokens.vocabulary import BOUNDARIES, Vocabulary
from speechlm.train import precision
from speechlm.train.build import build_optimizers
from speechlm.train.checkpoint import Checkpoints, tensors_of
from speechlm.train.dry_run import LLMS
from speechlm.train.elastic import launch, place
from speechlm.train.iterator import pack
from speechlm.train.loop import Run
from speechlm.train.loss import TrainingModel
from speechlm.train.sharding import shard
from tests.model.tiny import tiny_model

BATCHES, STEPS = 4, 3  # of a step over all processes
OPTIONS = {
    "output_dir": "", "ngpu": 0, "max_loss_ratio": 0.0, "warmup_steps": 1, "accum_grad": 1, "use_tensorboard": False,
    "use_wandb": False,
    "max_steps": STEPS, "unused_parameters": False, "dtype": "float32", "seed": 1, "grad_clip": 0.05, "skip_steps": [],
    "lr": 0.01, "weight_decay": 0.1, "muon_lr": 0.02, "muon_ns": 5, "final_lr_ratio": 0.1, "dist_timeout_min": 1.0,
    "compile": "false",
}  # fmt: skip


def batch(number: int, vocab: Vocabulary) -> dict:
    """Return a batch of two rows, with more predicted rows the higher its number."""
    generator = torch.Generator().manual_seed(number)
    T = 6 + number % 5
    ids_TK = torch.full((T, 3), vocab.pad_id)
    ids_TK[:, 0] = torch.randint(0, 20, (T,), generator=generator)
    start = vocab.codes_start
    ids_TK[T // 2 :] = torch.randint(0, 8, (T - T // 2, 3), generator=generator) + torch.tensor(
        [start, start + 8, start + 16]
    )
    weight_T = (torch.arange(T) > 0).float()  # nothing is before the first row to predict it from
    sequence = Sequence(ids_TK.numpy(), weight_T.numpy(), "tts")
    return pack([[sequence], [sequence]], 16, vocab.pad_id, 3)


def make_run(folder: Path, kind: str, variant: str, speechlm: SpeechLM | None = None) -> Run:
    """Return a training of a model, or of a tiny one: tied tables, or with adapters and a frozen layer."""
    speechlm = speechlm or tiny_model(tied=variant == "tied")
    if variant == "lora":
        torch.manual_seed(1)
        add_lora(speechlm.llm, {"rank": 2})
        speechlm.new_embedding.requires_grad_(False)
    model = TrainingModel(speechlm, [1.0, 0.5, 0.5], 1.0, ["tts"])
    if kind == "full":
        shard(model, speechlm.llm.get_decoder().layers, "cpu", "float32")
    args = Namespace(**OPTIONS | {"output_dir": str(folder)})
    rank, world = place() if torch.distributed.is_initialized() else (0, 1)
    distributed = Namespace(dist_rank=rank, dist_world_size=world)
    return Run(model, build_optimizers(args, model), Namespace(state={}), [], args, distributed)


def learn(run: Run, steps: range) -> list[tuple[float, float]]:
    """Make steps; return (loss, gradient norm) of each."""
    parallel, found = run.wrap(), []
    for run.step in steps:
        mine = [batch(run.step * BATCHES + i, run.model.speechlm.vocab) for i in range(run.rank, BATCHES, run.world)]
        if not run.step:
            run.gradients(parallel, mine)
            run.found = {name: whole(p.grad).clone() for name, p in run.model.named_parameters() if p.grad is not None}
            run.model.zero_grad()
        run.options.accum_grad, run.meter = len(mine), run.new_meter()
        run.one_step(parallel, ((None, each) for each in mine))
        assert run.guard.refused() is None
        found.append(tuple(run.meter.means()[name] for name in ("loss", "grad_norm")))
    return found


def train(folder: Path, kind: str, variant: str, start: Path | None = None) -> None:
    """Go from a checkpoint, if there is one, to the last step; leave figures, weights and a checkpoint of the step
    before.
    """
    run = make_run(folder, kind, variant)
    if start:
        run.checkpoints.load(Checkpoints(start).newest(), run.model, run.optimizers)
    found, first = [] if start else learn(run, range(STEPS - 1)), vars(run).get("found", {})
    run.checkpoints.save(STEPS - 1, tensors_of(run.model, run.optimizers), {})
    run.checkpoints.wait()
    found += learn(run, range(STEPS - 1, STEPS))
    weights = {name: whole(tensor).clone() for name, tensor in run.model.state_dict().items()}
    save_weights(folder / "model.safetensors" if run.rank == 0 else None, run.model.speechlm)
    if run.rank == 0:
        torch.save({"steps": found, "weights": weights, "gradients": first}, folder / "found.pt")


def two(work, *args) -> None:
    """Run work(*args) in two processes of a group, forked from one that has computed nothing, and so has no threads."""
    process = get_context("forkserver").Process(target=_two, args=(work, *args))
    process.start()
    process.join()
    assert process.exitcode == 0


def _two(work, *args) -> None:
    def rank(_args):
        torch.distributed.init_process_group("gloo")
        work(*args)

    precision.has_bfloat16 = lambda device: False
    launch(rank, Namespace(ngpu=0, nodes=1, max_restarts=0, dist_backend="gloo"), 2)


def in_two(folder: Path, *more) -> dict:
    """Train in two processes; return what they found."""
    folder.mkdir()
    two(train, folder, *more)
    return torch.load(folder / "found.pt", weights_only=True)


@pytest.mark.parametrize("variant", ["tied", "lora"])
def test_ddp_fsdp_and_one_process_learn_the_same(tmp_path, monkeypatch, variant):
    monkeypatch.setattr(precision, "has_bfloat16", lambda device: False)
    (tmp_path / "one").mkdir()
    train(tmp_path / "one", "none", variant)
    one = torch.load(tmp_path / "one/found.pt", weights_only=True)
    both = {kind: in_two(tmp_path / kind, kind, variant) for kind in ("none", "full")}
    both["full, from one"] = in_two(tmp_path / "read", "full", variant, tmp_path / "one")
    (tmp_path / "back").mkdir()
    train(tmp_path / "back", "none", variant, tmp_path / "full")
    both["one, from full"] = torch.load(tmp_path / "back/found.pt", weights_only=True)
    for kind, found in both.items():
        expected = one["steps"][-len(found["steps"]) :]
        assert found["steps"] == [pytest.approx(pair, rel=1e-6) for pair in expected], kind
        for name, gradient in found["gradients"].items():
            assert (gradient - one["gradients"][name]).abs().max() <= 1e-6 * one["gradients"][name].abs().max(), (
                f"{kind}: {name}"
            )
        for name, weight in one["weights"].items():  # after three steps of 0.01; AdamW makes much of what is nearly 0
            torch.testing.assert_close(found["weights"][name], weight, rtol=0, atol=1e-5, msg=f"{kind}: {name}")
    names = [load_file(tmp_path / kind / "model.safetensors").keys() for kind in ("one", "full")]
    assert names[0] == names[1]


def seven_billion(divide: int) -> SpeechLM:
    """Return two layers of Qwen2.5-7B's shape, its widths divided by a number, and a small vocabulary."""
    config = dict(read_yaml(LLMS)["Qwen/Qwen2.5-7B"]["config"]) | {
        "num_hidden_layers": 2,
        "vocab_size": 2000,
        "head_dim": 128 // divide,
    }
    config |= {name: config[name] // divide for name in ("hidden_size", "intermediate_size")}
    torch.manual_seed(0)
    llm = Qwen2ForCausalLM(Qwen2Config(**config))
    return SpeechLM(llm, Vocabulary(2000, (*BOUNDARIES, "<asr>", "<tts>", "<en>"), (8, 8, 8), "parallel", "t", "c"))


def learn_seven_billion(folder: Path, divide: int) -> None:
    """Make two steps in two processes that share the model; leave the losses and the bytes that the first keeps of
    weights and moments.
    """
    two(_learn_seven_billion, folder, divide)


def _learn_seven_billion(folder: Path, divide: int) -> None:
    run = make_run(folder, "full", "7B", seven_billion(divide))
    losses = [loss for loss, _ in learn(run, range(2))]
    tensors = [tensor for tensor in tensors_of(run.model, run.optimizers).values() if isinstance(tensor, DTensor)]
    if run.rank == 0:
        kept, total = sum(each.to_local().numel() for each in tensors), sum(each.numel() for each in tensors)
        torch.save({"losses": losses, "kept": kept, "total": total}, folder / "found.pt")


def test_two_layers_of_seven_billion_parameters_learn_sharded(tmp_path):
    """Widths are an eighth here; `python -m tests.long.seven_billion` takes them as they are."""
    learn_seven_billion(tmp_path, 8)
    found = torch.load(tmp_path / "found.pt", weights_only=True)
    assert found["losses"][1] < found["losses"][0]
    assert found["kept"] == pytest.approx(found["total"] / 2, rel=0.01), "half of the weights and moments"
