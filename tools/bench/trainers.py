"""Side by side on the same data and model: ESPnet's trainer with its sequence iterator, Hugging Face's Trainer with
padding, and ours.

Run from the repository: `python tools/bench/trainers.py` (two cores, three minutes). All train the same speech LLM in
float32 with fused AdamW, in rounds that alternate, on batches of as many positions: ours packs examples into rows;
ESPnet's sampler sorts by length and counts padding (`numel`); Hugging Face's draws examples at random and pads. Theirs
use the loss as it is usually written: all logits at once. Positions are those of examples, without padding; `of_cpu`
counts the seconds of the cores instead of the clock's, where others use the machine. The last line is JSON.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
import torch.nn.functional as F
from made_up import MINI, MIXTURE, make_vocabulary, open_corpus, write_set
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, LlamaConfig, Trainer, TrainingArguments

import speechlm.espnet.imports  # noqa: F401  (before anything of ESPnet)
from speechlm.data.machine import code_version, describe_machine
from speechlm.model.speechlm import SpeechLM
from speechlm.tokens.sequence import Sequence
from speechlm.train.iterator import Corpus, make_training_iterator
from speechlm.train.loop import Run
from speechlm.train.loss import TrainingModel

from espnet2.iterators.sequence_iter_factory import SequenceIterFactory  # isort: skip
from espnet2.samplers.num_elements_batch_sampler import NumElementsBatchSampler  # isort: skip
from espnet2.train.abs_espnet_model import AbsESPnetModel  # isort: skip
from espnet2.train.collate_fn import CommonCollateFn  # isort: skip
from espnet2.train.distributed_utils import DistributedOption  # isort: skip
from espnet2.train.reporter import Reporter  # isort: skip
from espnet2.train.trainer import Trainer as ESPnetTrainer  # isort: skip
from espnet2.train.trainer import TrainerOptions  # isort: skip

SIZES, VOCAB, LR, CLIP = MINI, make_vocabulary(MINI), 1e-3, 1.0
LLM = {
    "hidden_size": 256,
    "intermediate_size": 704,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
}  # mini_cvss


def make_model() -> SpeechLM:
    """Return the speech LLM that all train: the same weights each time."""
    torch.manual_seed(0)
    return SpeechLM(AutoModelForCausalLM.from_config(LlamaConfig(vocab_size=VOCAB.text_size, **LLM)), VOCAB)


class Padded(AbsESPnetModel):
    """The loss of examples that are padded to the longest: cross-entropies from the logits of all positions."""

    def __init__(self, speechlm: SpeechLM):
        super().__init__()
        self.speechlm, self.positions = speechlm, 0

    def forward(self, ids: Tensor, ids_lengths: Tensor, weight: Tensor, **_unused) -> tuple[Tensor, dict, Tensor]:
        """Return (loss per row, figures, rows)."""
        position_BL = torch.arange(ids.shape[1]).expand(ids.shape[:2])
        hidden_BLD = self.speechlm.hidden(ids, (position_BL < ids_lengths[:, None]).long(), position_BL)[:, :-1]
        target_BLK, weight_BL = ids[:, 1:], weight[:, 1:]
        nats_BL = F.cross_entropy(
            self.speechlm.first_logits(hidden_BLD).flatten(0, 1), target_BLK[..., 0].flatten(), reduction="none"
        )
        loss = (nats_BL.view_as(weight_BL) * weight_BL).sum()
        codes_BLJ = target_BLK[..., 1:] - torch.tensor(VOCAB.codebook_starts[1:])
        start = VOCAB.codebook_starts[1] - VOCAB.text_size
        logits_BLJC = F.linear(hidden_BLD, self.speechlm.new_head.weight[start:]).unflatten(2, (-1, SIZES.codes))
        targets = torch.where(target_BLK[..., 1:] == VOCAB.pad_id, -100, codes_BLJ)
        loss = (
            loss + F.cross_entropy(logits_BLJC.flatten(0, 2), targets.flatten(), reduction="sum", ignore_index=-100)
        ) / weight_BL.sum()
        self.positions += int(ids_lengths.sum())
        return loss, {"loss": loss.detach()}, weight_BL.sum().view(1)

    def collect_feats(self, **batch) -> dict:
        """Return nothing: ESPnet's statistics are not needed."""
        return {}


class ForHuggingFace(Padded):
    """The same, as Hugging Face's Trainer calls it."""

    def forward(self, **batch: Tensor) -> dict[str, Tensor]:
        """Return the loss by name."""
        return {"loss": super().forward(**batch)[0]}


def fields(example: Sequence) -> dict[str, np.ndarray]:
    """Return an example as ESPnet's data sets do: weights beside ids."""
    return {"ids": example.ids_TK, "weight": example.loss_T}


def optimizer_of(model: nn.Module) -> torch.optim.Optimizer:
    """Return the optimizer that all use."""
    return torch.optim.AdamW(model.parameters(), lr=LR, fused=True)


def ours(corpus: Corpus, rows: int, row_length: int, folder: Path) -> Callable[[int], int]:
    """Return a function that trains some steps more, and says how many positions they had."""
    layout = {"rows": rows, "row_length": row_length, "pad_id": VOCAB.pad_id, "num_columns": VOCAB.num_columns}
    data = make_training_iterator(corpus, MIXTURE, layout, 1, (0, 1), 0)
    settings = {
        "accum_grad": 1,
        "grad_clip": CLIP,
        "dtype": "float32",
        "seed": 0,
        "max_loss_ratio": 10.0,
        "warmup_steps": 0,
        "final_lr_ratio": 1.0,
    }
    settings |= {
        "compile": "auto",
        "log_interval": 50,
        "eval_interval": 10**9,
        "save_interval": 10**9,
        "keep_steps": [],
        "skip_steps": [],
    }
    never = {
        "use_tensorboard": False,
        "use_wandb": False,
        "max_steps": 10**9,
        "dist_timeout_min": 0.0,
        "ngpu": 0,
        "output_dir": str(folder),
    }
    model = TrainingModel(make_model(), [1.0] * SIZES.streams, 1.0, MIXTURE)
    distributed = SimpleNamespace(dist_world_size=1, dist_rank=0)
    run = Run(model, [optimizer_of(model)], data, [], SimpleNamespace(**settings, **never), distributed)
    batches, run.log = iter(data), None

    def train(steps: int) -> int:
        before = run.meter.table_S2[-2].sum().item()
        for _ in range(steps):
            run.one_step(model, batches)
            run.step += 1
        run.settle()
        return int(
            run.meter.table_S2[-2].sum().item() - before - steps
        )  # each step adds its positions, and a weight of 1

    return train


def espnets(examples: list[Sequence], positions: int, folder: Path) -> Callable[[int], int]:
    """Return the same of ESPnet's trainer, whose batches have so many positions, padding included."""
    shapes = folder / "shapes"
    shapes.write_text("".join(f"{i} {len(example)}\n" for i, example in enumerate(examples)))
    collate = CommonCollateFn(int_pad_value=VOCAB.pad_id, float_pad_value=0.0)
    data = Numbered(examples)
    sampler = list(NumElementsBatchSampler(positions, [str(shapes)]))
    model = Padded(make_model()).train()
    options = SimpleNamespace(**dict.fromkeys(TrainerOptions.__dataclass_fields__))  # None, which is false, but for:
    vars(options).update(
        ngpu=0, accum_grad=1, grad_clip=CLIP, grad_clip_type=2.0, log_interval=50, train_dtype="float32"
    )
    optimizer, reporter, epoch = optimizer_of(model), Reporter(), iter(range(1, 10**6))

    def train(steps: int) -> int:
        number, before = next(epoch), model.positions
        iterator = SequenceIterFactory(
            data, sampler, num_iters_per_epoch=steps, seed=0, shuffle=True, collate_fn=collate
        ).build_iter(number)
        reporter.set_epoch(number)
        with reporter.observe("train") as of_epoch:
            ESPnetTrainer.train_one_epoch(
                model,
                iterator,
                [optimizer],
                [None],
                None,
                of_epoch,
                None,
                options,
                DistributedOption(distributed=False),
            )
        return model.positions - before

    return train


class Numbered(torch.utils.data.Dataset):
    """Examples by their number as a word, as ESPnet's data sets return them."""

    def __init__(self, examples: list[Sequence]):
        self.examples = examples

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, key: str) -> tuple[str, dict[str, np.ndarray]]:
        return key, fields(self.examples[int(key)])


def hugging_faces(examples: list[Sequence], positions: int, folder: Path) -> Callable[[int], int]:
    """Return the same of Hugging Face's Trainer, whose batches have so many positions on average, padding not
    included.
    """
    size = max(1, round(positions / np.mean([len(example) for example in examples])))
    model, common = ForHuggingFace(make_model()), CommonCollateFn(int_pad_value=VOCAB.pad_id, float_pad_value=0.0)
    options = {
        "per_device_train_batch_size": size,
        "learning_rate": LR,
        "max_grad_norm": CLIP,
        "logging_steps": 50,
        "save_strategy": "no",
    }
    options |= {
        "optim": "adamw_torch_fused",
        "report_to": [],
        "use_cpu": True,
        "disable_tqdm": True,
        "remove_unused_columns": False,
    }

    def collate(chosen: list[Sequence]) -> dict[str, Tensor]:
        return common([("", fields(example)) for example in chosen])[1]

    def train(steps: int) -> int:
        arguments = TrainingArguments(str(folder / "hf"), max_steps=steps, **options)
        before = model.positions
        Trainer(model, arguments, collate, examples, optimizers=(optimizer, None)).train()
        return model.positions - before

    optimizer = optimizer_of(model)
    return train


def draws(corpus: Corpus, number: int) -> Iterator[Sequence]:
    """Yield examples as a training of ours draws them."""
    layout = {"rows": 8, "row_length": 1024, "pad_id": VOCAB.pad_id, "num_columns": VOCAB.num_columns}
    plans = make_training_iterator(corpus, MIXTURE, layout, 1, (0, 1), 0).plans()
    return islice((corpus.sequence(draw) for plan, _ in plans for row in plan for draw in row), number)


def timed(train: Callable[[int], int], steps: int) -> dict[str, float]:
    """Train some steps; return positions, and seconds by the clock and of the cores."""
    wall, cpu = time.perf_counter(), time.process_time()
    positions = train(steps)
    return {"positions": positions, "sec": time.perf_counter() - wall, "cpu_sec": time.process_time() - cpu}


def main() -> None:
    """Measure, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=12)
    parser.add_argument("--row_length", type=int, default=128)
    parser.add_argument("--examples", type=int, default=4000)
    parser.add_argument("--steps", type=int, default=20, help="of a round")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        corpus = open_corpus(write_set(folder / "train", 4000, SIZES), SIZES)
        examples, positions = list(draws(corpus, args.examples)), args.rows * args.row_length
        trainers = {
            "espnet": espnets(examples, positions, folder),
            "hugging_face": hugging_faces(examples, positions, folder),
        }
        trainers["ours"] = ours(corpus, args.rows, args.row_length, folder)
        found = {trainer: [] for trainer in trainers}
        for train in trainers.values():
            train(2)  # not counted
        for _ in range(args.rounds):
            for trainer, train in trainers.items():
                found[trainer].append(timed(train, args.steps))
    total = {
        trainer: {key: sum(each[key] for each in rounds) for key in rounds[0]} for trainer, rounds in found.items()
    }
    speed = {trainer: round(each["positions"] / each["sec"]) for trainer, each in total.items()}
    of_cpu = {trainer: round(each["positions"] / each["cpu_sec"]) for trainer, each in total.items()}
    ratios = {
        name: {other: round(rates["ours"] / rates[other], 2) for other in rates}
        for name, rates in (("clock", speed), ("cpu", of_cpu))
    }
    about = {
        "threads": torch.get_num_threads(),
        "rows": args.rows,
        "row_length": args.row_length,
        "commit": code_version(),
    }
    print(
        json.dumps(
            {"positions_per_sec": speed, "of_cpu": of_cpu, "ours_by": ratios, **about, "machine": describe_machine()}
        )
    )


if __name__ == "__main__":
    main()
