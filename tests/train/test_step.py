"""A step of the training: nothing in it waits for the device, whatever it finds; what must not be learned from is told
when somebody looks.
"""

from types import SimpleNamespace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from speechlm.tokens.sequence import join, plain_text_segment, special_segment, speech_segment
from speechlm.train.iterator import pack
from speechlm.train.loop import Run
from speechlm.train.loss import TrainingModel
from speechlm.train.precision import Muon
from tests.model.tiny import random_codes, tiny_model


class Waits(TorchDispatchMode):
    """Notes the operations that bring a number from the device: values, truths, counts of what a mask holds."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        masked = operation is torch.ops.aten.index.Tensor and any(
            index is not None and index.dtype == torch.bool for index in args[1]
        )
        if masked or operation.overloadpacket in (
            torch.ops.aten._local_scalar_dense,
            torch.ops.aten.nonzero,
            torch.ops.aten.masked_select,
        ):
            self.seen.append(str(operation))
        return operation(*args, **(kwargs or {}))


class Data:
    """A batch again and again; the `bad`-th one is as the model cannot learn it."""

    def __init__(self, vocab, bad: int | None = None):
        spoken = join(
            [special_segment(["<tts>"], vocab), *speech_segment(random_codes(9), vocab, target=True)], 0.5, "tts"
        )
        text = join([plain_text_segment([3, 9, 8], vocab)], 1.0, "lm")
        self.batch, self.bad = pack([[spoken, text], [text]], 20, vocab.pad_id, vocab.num_columns), bad
        self.state = {"taken": 0}

    def __iter__(self):
        while True:
            number = self.state["taken"]
            self.state = {"taken": number + 1}
            worst = {"loss_BL": self.batch["loss_BL"] * float("inf")} if number == self.bad else {}
            yield [[number]], self.batch | worst


def make_run(tmp_path, bad: int | None = None) -> tuple[Run, Data]:
    model = TrainingModel(tiny_model(), [1.0, 0.7, 0.5], 2.0, ["lm", "tts"])
    matrices = [p for name, p in model.named_parameters() if ".layers." in name and p.ndim == 2]
    others = [p for p in model.parameters() if all(p is not matrix for matrix in matrices)]
    optimizers = [torch.optim.AdamW(others, lr=0.01, fused=True), Muon(matrices, "cpu", lr=0.01)]
    options = SimpleNamespace(
        output_dir=str(tmp_path), ngpu=0, compile="auto", max_loss_ratio=10.0, warmup_steps=0, accum_grad=2,
        max_steps=99, seed=0, skip_steps=[],
        use_tensorboard=False, use_wandb=False, dist_timeout_min=0, grad_clip=1.0, dtype="float32",
    )  # fmt: skip
    data = Data(model.speechlm.vocab, bad)
    return Run(model, optimizers, data, [], options, SimpleNamespace(dist_world_size=1, dist_rank=0)), data


def test_a_step_waits_for_nothing(tmp_path, monkeypatch):
    run, data = make_run(tmp_path)
    run.model.by_segments = False  # which is of the CPU alone, where there is nothing to wait for
    run.model.speechlm.llm.set_attn_implementation("sdpa")
    batches, waits = iter(data), Waits()
    run.one_step(run.model, batches)  # what the optimizers set up at first
    monkeypatch.setattr(torch.Tensor, "tolist", lambda values: pytest.fail("a step asks for values"))
    with waits:
        run.one_step(run.model, batches)
        assert waits.seen == []
        float(run.meter.table_S2[0, 0])
    assert waits.seen == ["aten._local_scalar_dense.default"], "which is what would have been seen"


def test_a_bad_batch_is_told_when_somebody_looks_and_all_is_as_before_it(tmp_path, monkeypatch):
    (run, data), (as_before, same_data) = make_run(tmp_path, bad=5), make_run(tmp_path)
    batches, same_batches = iter(data), iter(same_data)
    for step in range(5):
        run.step = as_before.step = step
        run.one_step(run.model, batches)
        if step < 2:
            as_before.one_step(as_before.model, same_batches)
    monkeypatch.setattr(run, "refuse", lambda refusal, taken: pytest.fail(f"{refusal.complaint} {taken}"))
    with pytest.raises(
        pytest.fail.Exception,
        match=r"the loss is nan Taken\(step=2, position={'taken': 4}, plans=\[\[\[4\]\], \[\[5\]\]\]\)",
    ):
        run.settle()
    assert torch.equal(run.meter.table_S2, as_before.meter.table_S2) and run.guard.state() == as_before.guard.state()
    for one, other in zip(run.model.parameters(), as_before.model.parameters(), strict=True):
        assert torch.equal(one, other)
