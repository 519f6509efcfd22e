"""The training of `bin/train`: whatever is missing is trained, in as many processes as the options say."""

import sys
from pathlib import Path

from speechlm.data.files import stage
from speechlm.data.machine import device_for
from speechlm.espnet.options import parse_options
from speechlm.espnet.task import SpeechLMTask
from speechlm.model.folder import export_llm, load_model
from speechlm.train import dry_run
from speechlm.train.elastic import Decision, launch, place, run_rank, slurm_tasks
from speechlm.train.record import input_files, known_settings, prepare_folder, remove_old, result_settings


def run_training(argv: list[str]) -> None:
    """Do what the command line says: plan or train, here or in processes started for it."""
    args = parse_options(SpeechLMTask.get_parser(), argv)
    if args.dry_run:
        dry_run.show(args)
        return
    started = place()[1] > 1
    device_for(min(args.ngpu, 1) if started else args.ngpu)
    SpeechLMTask.check_required_command_args(args)
    if args.use_wandb:
        require_wandb()
    processes = args.ngpu if args.ngpu > 1 else args.nproc
    if started:
        sys.exit(run_rank(train, args))
    if processes > 1 or args.nodes > 1 or slurm_tasks() > 1:
        launch(train, args, processes)
    else:
        train(args)


def train(args) -> None:
    """Train, in this process, whatever is missing: the first of several processes keeps the record and exports the
    model.
    """
    (rank, world), decision = place(), Decision()
    if rank:
        if decision.hear():
            SpeechLMTask.main(args=args)
        return
    settings, inputs, folder = result_settings(args, world), input_files(args), Path(args.output_dir)
    skipped, known = (
        {"skip_steps": args.skip_steps} if args.skip_steps else {},
        known_settings(SpeechLMTask.get_parser(), args),
    )
    with stage(
        folder, "train", settings | skipped, inputs, ["model.safetensors", "vocab.json", "llm/*"], known
    ) as todo:
        if todo:
            prepare_folder(folder, args, settings, inputs, known)
        decision.tell(todo)
        if todo:
            SpeechLMTask.main(args=args)
            export_llm(load_model(folder))
            remove_old(folder)


def require_wandb() -> None:
    """Raise ValueError if Weights & Biases cannot be used: ESPnet would go on without it, and log nothing there."""
    try:
        import wandb

        wandb.login()
    except Exception as error:  # not installed, or not logged in: its own kinds
        raise ValueError(
            f"--use_wandb true: Weights & Biases cannot be used ({error or type(error).__name__}). Run pip install"
            " wandb and wandb login, or set WANDB_MODE=offline; or leave the option out: TensorBoard has the same"
            " curves"
        ) from None
