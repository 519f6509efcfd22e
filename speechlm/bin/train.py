"""Train a speech LLM: LLM pre-training, CPT or SFT, as the config says. `--help` lists ESPnet's and our options.

A finished training is skipped, an interrupted one goes on at its last checkpoint; if a setting or an input changed,
the command says which, and starts again. SIGTERM, SIGINT and SIGUSR1 finish the step, save it, and exit with 128 + the
signal's number. `--ngpu N`, or `--nproc N` on CPU, trains in N processes of this machine. On several machines that share the folders,
give the same command on each, by `srun --ntasks-per-node=1`, or by hand with `--nodes`, `--node_rank`, `--master_addr` and `--master_port`.
With `--dry_run true` it only says what the training would take.
"""

import json
import os
import shutil
import sys
from pathlib import Path

from speechlm.bin.command import run_main
from speechlm.data.files import atomic_write, file_digest, is_complete, stage
from speechlm.data.machine import device_for
from speechlm.data.settings import read_json
from speechlm.espnet import dry_run
from speechlm.espnet.launch import launch
from speechlm.espnet.nodes import Nodes, Place, find_place
from speechlm.espnet.options import parse_options
from speechlm.espnet.signals import exit_at_once
from speechlm.espnet.task import SpeechLMTask
from speechlm.model.folder import export_llm, load_model

# Settings that don't change the result, or that are paths whose content is checked instead.
NEUTRAL = {
    "config",
    "output_dir",
    "ngpu",
    "num_workers",
    "dry_run",
    "log_level",
    "dump",
    "init_from",
    "llm",
    "version",
    "resume",
    "required",
}
NEUTRAL |= {"local_rank", "use_tensorboard", "use_matplotlib", "log_interval", "multiprocessing_distributed", "dist_backend"}
NEUTRAL |= {"gradient_checkpointing", "nproc", "save_interval", "hang_sec", "start_sec", "max_loss_ratio", "skip_steps", "keep_steps"}
NEUTRAL |= {"nodes", "node_rank", "master_addr", "master_port", "overlay", "gpu", "mfu", "codec_shape", "max_left_out"}


def result_settings(args, world: int) -> dict:
    """Return the settings that decide the result, as JSON values. A step's batches count, not in which process each is."""
    settings = {k: v for k, v in vars(args).items() if k not in NEUTRAL} | {"accum_grad": args.accum_grad * world}
    return json.loads(json.dumps(settings, default=str))


def input_files(args) -> list[Path]:
    """Return the files that decide the result: manifests, and the weights to start from."""
    files = [Path(args.dump) / name / "manifest.jsonl" for name in [*args.train_sets, *args.dev_set]]
    for folder in filter(None, [args.init_from, args.llm if not args.init_from else None]):
        patterns = ("config.json", "*.safetensors", "vocab.json", "tokenizer.model", "tokenizer.json")
        files += [path for pattern in patterns for path in sorted(Path(folder).glob(pattern))]
    return files


def drop_other_run(folder: Path, settings: dict, inputs: list[Path]) -> None:
    """Remove the checkpoints of an unfinished run that had other settings or inputs, saying which."""
    path = folder / "settings.json"
    now = settings | {f"input {file}": file_digest(file) for file in inputs}
    if path.exists():
        old = read_json(path)
        changed = [_change(k, old.get(k), now.get(k)) for k in sorted(old.keys() | now.keys()) if old.get(k) != now.get(k)]
        if changed:
            print(f"{folder}: starts again, because of {'; '.join(changed)}", flush=True)
    if not path.exists() or changed:
        for name in ("checkpoint.pth", "checkpoint.prev.pth", "train.jsonl", "model.safetensors", "bad_batch.json", "cost.json"):
            (folder / name).unlink(missing_ok=True)
        shutil.rmtree(folder / "steps", ignore_errors=True)
    with atomic_write(path) as stream:
        json.dump(now, stream, indent=1, sort_keys=True)


def _change(key: str, old, new) -> str:
    return f"{key} (content)" if key.startswith("input ") and old and new else f"{key} ({old} -> {new})"


def number_of_processes(args) -> int:
    """Return how many processes to start on this machine; ValueError if this is already one of several."""
    if int(os.environ.get("WORLD_SIZE", 1)) > 1 or (args.dist_world_size or 1) > 1 or args.dist_launcher:
        raise ValueError(
            "this command was started as one of several processes (torchrun, --dist_*). Expected one for each machine: it starts and watches the "
            "processes itself. Give --ngpu N, or --nproc N on CPU; for several machines, srun or --nodes."
        )
    return args.ngpu if args.ngpu > 1 else args.nproc


def train(args, place: Place, processes: int, settings: dict) -> None:
    """Train in this process, or as this node of several processes."""
    if place.nodes * processes > 1:
        launch(SpeechLMTask.main, args, Nodes(place, processes, settings, args.start_sec))
    else:
        SpeechLMTask.main(args=args)


def main() -> None:
    exit_at_once()
    args = parse_options(SpeechLMTask.get_parser(), sys.argv[1:])
    if args.dry_run:
        dry_run.show(args)
        return
    device_for(args.ngpu)
    SpeechLMTask.check_required_command_args(args)
    processes, place = number_of_processes(args), find_place(args)
    settings, inputs, folder = result_settings(args, place.nodes * processes), input_files(args), Path(args.output_dir)
    skipped = {"skip_steps": args.skip_steps} if args.skip_steps else {}
    outputs = ["model.safetensors", "vocab.json", "llm/*"]
    if place.node:  # the first one keeps the record
        if not is_complete(folder, "train", settings | skipped, inputs, outputs):
            train(args, place, processes, settings)
        return
    with stage(folder, "train", settings | skipped, inputs, outputs) as todo:
        if todo:
            drop_other_run(folder, settings, inputs)
            train(args, place, processes, settings)
            export_llm(load_model(folder))


if __name__ == "__main__":
    if len(sys.argv) == 1:
        sys.argv.append("--help")
    run_main(main)
