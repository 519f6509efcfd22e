"""Train a speech LLM: LLM pre-training, CPT or SFT, as the config says. `--help` lists ESPnet's and our options.

A finished training is skipped, an interrupted one goes on at its last checkpoint. If a setting or the content of an input changed, the
command says which, and starts again; what was trained before is kept in `.old` until the new model stands. A raised --max_steps
continues. SIGTERM, SIGINT and SIGUSR1 finish the step, save it, and exit with 128 + the signal's number. `--ngpu N`, or `--nproc N` on
CPU, trains in N processes of this machine. On several machines that share the folders, give the same command on each, by
`srun --ntasks-per-node=1`, or by hand with `--nodes`, `--node_rank`, `--master_addr` and `--master_port`.
With `--dry_run true` it only says what the training would take.
"""

import os
import sys
from pathlib import Path

from speechlm.bin.command import run_main
from speechlm.data.files import is_complete, stage
from speechlm.data.machine import device_for
from speechlm.espnet.options import parse_options
from speechlm.espnet.task import SpeechLMTask
from speechlm.model.folder import export_llm, load_model
from speechlm.train import dry_run
from speechlm.train.launch import launch
from speechlm.train.nodes import Nodes, Place, find_place
from speechlm.train.record import input_files, known_settings, prepare_folder, remove_old, result_settings
from speechlm.train.signals import exit_at_once


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


def require_wandb() -> None:
    """Raise ValueError if Weights & Biases cannot be used: ESPnet would go on without it, and log nothing there."""
    try:
        import wandb

        wandb.login()
    except Exception as error:  # not installed, or not logged in: its own kinds
        raise ValueError(
            f"--use_wandb true: Weights & Biases cannot be used ({error or type(error).__name__}). Run pip install wandb and wandb login, or set "
            "WANDB_MODE=offline; or leave the option out: TensorBoard has the same curves"
        ) from None


def main() -> None:
    exit_at_once()
    args = parse_options(SpeechLMTask.get_parser(), sys.argv[1:])
    if args.dry_run:
        dry_run.show(args)
        return
    device_for(args.ngpu)
    SpeechLMTask.check_required_command_args(args)
    if args.use_wandb:
        require_wandb()
    processes, place = number_of_processes(args), find_place(args)
    settings, inputs, folder = result_settings(args, place.nodes * processes), input_files(args), Path(args.output_dir)
    skipped, known = {"skip_steps": args.skip_steps} if args.skip_steps else {}, known_settings(SpeechLMTask.get_parser(), args)
    done = (folder, "train", settings | skipped, inputs, ["model.safetensors", "vocab.json", "llm/*"], known)
    if place.node:  # the first one keeps the record
        if not is_complete(*done):
            train(args, place, processes, settings)
        return
    with stage(*done) as todo:
        if todo:
            prepare_folder(folder, args, settings, inputs, known)
            train(args, place, processes, settings)
            export_llm(load_model(folder))
            remove_old(folder)


if __name__ == "__main__":
    if len(sys.argv) == 1:
        sys.argv.append("--help")
    run_main(main)
