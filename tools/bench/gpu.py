"""`bin/train` as a whole on one GPU, with its loader: Qwen1.5-0.5B with random weights, 8 codebooks of 1,024, rows of
4,096 positions.

Run from the repository: `python tools/bench/gpu.py` (one H100, under five minutes), or with `--toy` (the CPU, two
minutes, a small model). It writes a corpus of random codes of 300 to 1,200 frames, the LLM's config and a tokenizer,
and trains by the paper's settings. Positions a second are those of each report (the last one counts: the first waits
for compilers), the peak is that of the process, the MFU is by the formula of `--dry_run`. The last line is JSON.
"""

import argparse
import json
import logging
import re
import sys
import tempfile
import time
from pathlib import Path

import torch
from encodec import EncodecModel
from made_up import LANGS, MINI, PAPER, WORDS, Sizes, write_set
from models import LARGE, TOY, random_model
from tokenizers import ByteLevelBPETokenizer
from train import flops_per_position
from transformers import Qwen2Config, Qwen2TokenizerFast

from speechlm.bin import train as command
from speechlm.data.machine import code_version, describe_machine
from speechlm.train.dry_run import GPUS

CONF = Path(__file__).parents[2] / "egs"


def write_llm(folder: Path, sizes: dict[str, int]) -> Path:
    """Write an architecture and a small tokenizer."""
    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator([" ".join(WORDS)] * 10, vocab_size=300, show_progress=False)
    folder.mkdir()
    Qwen2TokenizerFast(*tokenizer.save_model(str(folder))).save_pretrained(folder)
    heads = {
        "num_key_value_heads": sizes["num_attention_heads"],
        "tie_word_embeddings": True,
        "max_position_embeddings": 32768,
    }
    Qwen2Config(**sizes, **heads, architectures=["Qwen2ForCausalLM"]).save_pretrained(folder)
    return folder


def write_codec(path: Path) -> Path:
    """Write weights of EnCodec at 24 kHz, random ones: training needs only what it looks like."""
    torch.manual_seed(0)
    model = EncodecModel.encodec_model_24khz(pretrained=False)
    for layer in model.quantizer.vq.layers:
        layer._codebook.embed.normal_()
        layer._codebook.inited.fill_(1)
    torch.save(model.state_dict(), path)
    return path


def options(folder: Path, args: argparse.Namespace, sizes: Sizes) -> list[str]:
    """Return the command line of the training: the paper's settings, in batches that a GPU holds."""
    files = [CONF / "cpt_enzh/conf/cpt.yaml", CONF / "TEMPLATE/conf/paper/cpt.yaml"]
    given = {
        "output_dir": folder / "cpt", "dump": folder / "dump", "dev_set": "dev", "train_sets": "train",
        "llm": folder / "llm", "llm_random": "true",
        "codec": f"{folder}/codec.th:6", "src_lang": LANGS[0], "tgt_lang": LANGS[1],
        "ngpu": int(torch.cuda.is_available()), "rows": args.rows,
        "accum_grad": args.accum_grad, "row_length": args.row_length, "prompt_frames": sizes.prompt_frames,
        "num_workers": args.workers,
        "max_steps": args.steps, "log_interval": args.steps // 3, "save_interval": 10**6, "eval_interval": 10**6,
        "eval_examples": 1,
        "compile": args.compile, "seed": 1,
    }  # fmt: skip
    words = [word for name, value in given.items() for word in (f"--{name}", str(value))]
    sets = [
        "--task_sets",
        "lm=[train]",
        "--task_sets",
        "mt_text=[train]",
        "--directions",
        "en-zh",
        "zh-en",
        "--langs",
        *LANGS,
    ]
    return ["--config", str(files[0]), "--overlay", str(files[1]), *words, *sets]


def pace_of(lines: list[str]) -> list[int]:
    """Return the positions a second of each report."""
    return [int(found.group(1)) for line in lines if (found := re.search(r", (\d+) positions/s", line))]


def mfu(positions_per_sec: float, llm: dict[str, int], row_length: int) -> float | None:
    """Return the share of the GPU's FLOP/s that is reached; None of one whose FLOP/s are not known."""
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    peak = next((flops for gpu, flops in GPUS.items() if gpu in name), None)
    return peak and round(positions_per_sec * flops_per_position(random_model(llm, "meta"), row_length) / peak, 3)


class Kept(logging.Handler):
    """Keeps what is logged."""

    def __init__(self):
        super().__init__(logging.INFO)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a message."""
        self.lines.append(record.getMessage())


def main() -> None:
    """Train, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--toy", action="store_true", help="a small model and short rows, on the CPU too")
    parser.add_argument("--rows", type=int, default=2)
    parser.add_argument("--row_length", type=int, default=0, help="(default: 4096; toy 256)")
    parser.add_argument("--accum_grad", type=int, default=4)
    parser.add_argument("--steps", type=int, default=0, help="(default: 60; toy 6)")
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--compile", default="auto", choices=["auto", "true", "false"])
    args = parser.parse_args()
    sizes, llm = (MINI, TOY) if args.toy else (PAPER, LARGE)
    args.row_length, args.steps = args.row_length or (256 if args.toy else 4096), args.steps or (6 if args.toy else 60)
    began, kept = time.monotonic(), Kept()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_llm(folder / "llm", llm)
        write_codec(folder / "codec.th")
        for part, utterances in (("train", 3000), ("dev", 20)):
            write_set(folder / "dump" / part, utterances, sizes)
        sys.argv = ["train", *options(folder, args, sizes)]
        logging.basicConfig(level="INFO")
        logging.getLogger().addHandler(kept)
        command.main()
        log = [json.loads(line) for line in (folder / "cpt/train.jsonl").read_text().splitlines()]
    on_gpu = torch.cuda.is_available()
    found = {
        "positions_per_sec": pace_of(kept.lines),
        "loss": [line["loss"] for line in log if line["kind"] == "train"],
    }
    found |= {
        "mfu": mfu(found["positions_per_sec"][-1], llm, args.row_length),
        "peak_gb": round(torch.cuda.max_memory_allocated() / 1e9, 2) if on_gpu else None,
        "sec": round(time.monotonic() - began),
    }
    about = {
        "rows": args.rows,
        "row_length": args.row_length,
        "accum_grad": args.accum_grad,
        "workers": args.workers,
        "toy": args.toy,
    }
    device = torch.cuda.get_device_name() if on_gpu else describe_machine()
    print(json.dumps({**found, **about, "compile": args.compile, "device": device, "commit": code_version()}))


if __name__ == "__main__":
    main()
