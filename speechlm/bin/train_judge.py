"""Train the judge, a small ESPnet CTC recogniser: on original recordings, never on a codec's or a model's output.

`python -m speechlm.bin.train_judge --data data/train ../fsdd/data/train --dev data/dev --lang en --out exp/judge`

Writes `<out>/dump` (varied copies at 8 kHz), `<out>/espnet` (ESPnet's own training folder: log, checkpoints; an
interrupted training goes on from there) and, at the end, the judge: `<out>/{config.json,model.safetensors}`. A
directory named twice in --data counts twice. `--init judge_en --epochs 4 --max_lr 0.0007` adapts a judge to new data.
"""

import argparse
import hashlib
import multiprocessing
import os
import shutil
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from tqdm import tqdm

from speechlm.bin.command import run_main
from speechlm.data.audio import load_span, save_wav
from speechlm.data.files import atomic_write, stage
from speechlm.data.kaldi import Span, read_audio, read_text, require_valid, side_path, write_table
from speechlm.data.machine import device_for
from speechlm.data.settings import Above0, Count, Option, Positive, fill, read_mapping, read_yaml
from speechlm.espnet_start import quick_imports
from speechlm.metrics.judge.hearing import RATE_HZ, prepare, vary
from speechlm.metrics.judge.network import JudgeConfig, token_list
from speechlm.metrics.judge.recogniser import ASSETS, Judge, save_judge
from speechlm.metrics.normalise import normalise

CORPUS_RATE_HZ = 16000
DEFAULT_CONFIG = ASSETS / "judge_en" / "train.yaml"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", required=True, help="Kaldi directories to learn from")
    parser.add_argument("--dev", nargs="+", required=True, help="Kaldi directories to choose the best epoch by")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--lang", default="en")
    parser.add_argument("--copies", type=Option(Count), default=3, help="varied copies of each training utterance")
    parser.add_argument(
        "--config",
        type=Path,
        nargs="+",
        default=[DEFAULT_CONFIG],
        help="ESPnet training configuration; the settings of later files override those of earlier ones",
    )
    parser.add_argument("--init", help="judge to start from (default: random weights)")
    parser.add_argument(
        "--epochs",
        type=Option(Positive),
        help="in place of the configuration's max_epoch; the learning-rate schedule is adapted to it",
    )
    parser.add_argument("--max_lr", type=Option(Above0), help="in place of the configuration's highest learning rate")
    parser.add_argument("--ngpu", type=Option(Count), default=0)
    parser.add_argument("--nj", type=Option(Positive), default=2, help="processes that prepare the audio")
    args = parser.parse_args()
    device_for(args.ngpu)
    settings = {"lang": args.lang, "data": args.data, "dev": args.dev, "copies": args.copies}
    inputs = [side_path(folder, stem, args.lang) for folder in args.data + args.dev for stem in ("wav.scp", "text")]
    with stage(
        args.out / "dump", "judge_dump", settings, inputs, ["*/text", "*/wav.scp", "*/speech_shape", "*/wav/*.wav"]
    ) as todo:
        if todo:
            dump(args.data, args.out / "dump" / "train", args.lang, args.copies, args.nj)
            dump(args.dev, args.out / "dump" / "dev", args.lang, 0, args.nj)
    dumped = [args.out / "dump" / name / file for name in ("train", "dev") for file in ("wav.scp", "text")]
    start = {"init": args.init, "epochs": args.epochs, "max_lr": args.max_lr}
    with stage(args.out, "new_training", start, [*args.config, *dumped]) as todo:
        if todo:  # ESPnet would go on from a checkpoint of other data or settings
            shutil.rmtree(args.out / "espnet", ignore_errors=True)
    config = one_config(args.config, args.out)
    train(args.out, args.lang, [*overrides(args, config), "--config", str(config), "--ngpu", str(args.ngpu)])
    export(args.out, args.lang)


def dump(data_dirs: list[str], out: Path, lang: str, copies: int, nj: int) -> None:
    """Write wav.scp, text and speech_shape of the judge's 8 kHz audio: varied copies, or as heard if `copies` is 0."""
    texts, todo = {}, {}
    for number, data_dir in enumerate(data_dirs):
        require_valid(data_dir, lang)
        said = read_text(data_dir, lang)
        for key, span in read_audio(data_dir, lang).items():
            for copy in range(max(1, copies)):
                name = f"{number}-{key}-{copy}"
                texts[name] = normalise(said[key], lang)
                todo[name] = (span, name if copies else "", str(out / "wav" / f"{name}.wav"))
        print(f"{data_dir}: {len(said)} utterances x {max(1, copies)}", flush=True)
    with ProcessPoolExecutor(nj, mp_context=multiprocessing.get_context("spawn")) as pool:
        lengths = list(tqdm(pool.map(_hear, todo.values(), chunksize=50), total=len(todo), desc=f"{out.name} heard"))
    write_table(out / "wav.scp", {name: path for name, (_, _, path) in todo.items()})
    write_table(out / "text", texts)
    write_table(out / "speech_shape", {name: str(length) for name, length in zip(todo, lengths)})


def _hear(task: tuple[Span, str, str]) -> int:
    """Write what the judge hears of a recording, varied by a seed ("": as it is); return its number of samples."""
    span, seed, path = task
    wav_T = load_span(span, CORPUS_RATE_HZ)
    if seed:
        number = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8], "big")
        wav_T = vary(wav_T, CORPUS_RATE_HZ, np.random.default_rng(number))
    else:
        wav_T = prepare(wav_T, CORPUS_RATE_HZ)
    save_wav(path, wav_T, RATE_HZ)
    return len(wav_T)


@dataclass(frozen=True)
class Course:
    """What we read of ESPnet's training configuration; ESPnet checks the rest."""

    max_epoch: Positive
    num_iters_per_epoch: Positive
    scheduler_conf: dict[str, Any]


def read_course(path: Path) -> Course:
    """Return the length of the training and its learning-rate schedule."""
    config = read_mapping(path)
    return fill(Course, {field.name: config[field.name] for field in fields(Course) if field.name in config}, str(path))


def one_config(paths: list[Path], out: Path) -> Path:
    """Return the file of the configuration; several are merged into one that is written to `out`."""
    if len(paths) == 1:
        return paths[0]
    settings: dict[str, Any] = {}
    for path in paths:
        settings |= read_mapping(path)
    with atomic_write(out / "training.yaml") as stream:
        yaml.safe_dump(settings, stream, sort_keys=False)
    return out / "training.yaml"


def overrides(args: argparse.Namespace, path: Path) -> list[str]:
    """Return ESPnet's options for what differs from the configuration: start, length, learning rate."""
    config = read_course(path)
    epochs = args.epochs or config.max_epoch
    course = config.scheduler_conf | {"total_steps": epochs * config.num_iters_per_epoch}
    if args.max_lr:
        course["max_lr"] = args.max_lr
    options = ["--max_epoch", str(epochs)]
    for key, value in course.items():
        options += ["--scheduler_conf", f"{key}={value}"]
    if args.init:
        torch.save(Judge.load(args.init).network.state_dict(), args.out / "init.pth")
        options += ["--init_param", str(args.out / "init.pth")]
    return options


def train(out: Path, lang: str, options: list[str]) -> None:
    """Run ESPnet's ASR training; it goes on from `<out>/espnet/checkpoint.pth` if that is there."""
    with quick_imports():
        from espnet2.tasks.asr import ASRTask

    out.joinpath("tokens.txt").write_text("\n".join(token_list(lang)) + "\n", encoding="utf-8")
    command = [*options, "--output_dir", str(out / "espnet"), "--resume", "true", "--num_att_plot", "0"]
    command += ["--token_type", "char", "--token_list", str(out / "tokens.txt"), "--use_tensorboard", "false"]
    for flag, name in (("train", "train"), ("valid", "dev")):
        for file, kind, form in (("wav.scp", "speech", "sound"), ("text", "text", "text")):
            command += [f"--{flag}_data_path_and_name_and_type", f"{out / 'dump' / name / file},{kind},{form}"]
        command += [f"--{flag}_shape_file", str(out / "dump" / name / "speech_shape")]
    ASRTask.main(cmd=command)


def export(out: Path, lang: str) -> None:
    """Write config.json and model.safetensors from ESPnet's best epoch."""
    espnet = read_yaml(out / "espnet" / "config.yaml")
    config = JudgeConfig(
        lang, RATE_HZ, token_list(lang), espnet["frontend_conf"], espnet["encoder"], espnet["encoder_conf"]
    )
    checkpoint = (
        out / "espnet" / f"{espnet['best_model_criterion'][0][0]}.{espnet['best_model_criterion'][0][1]}.best.pth"
    )
    if not os.path.exists(checkpoint):
        raise ValueError(f"{checkpoint}: no best epoch yet. Run the same command again to go on with the training.")
    save_judge(out, config, torch.load(checkpoint, map_location="cpu", weights_only=True))
    print(f"{out}/model.safetensors: the judge, from {checkpoint.resolve().name}")


if __name__ == "__main__":
    run_main(main)
