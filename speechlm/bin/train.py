"""Train a speech LLM: LLM pre-training, CPT or SFT, as the config says. `--help` lists ESPnet's and our options.

A finished training is skipped, an interrupted one goes on at its last checkpoint. If a setting or the content of an
input changed, the command says which, and starts again; what was trained before is kept in `.old` until the new model
stands. A raised --max_steps continues. SIGTERM, SIGINT and SIGUSR1 finish the step, save it, and exit with 128 + the
signal's number. `--ngpu N`, or `--nproc N` on CPU, trains in N processes of this machine, by torch elastic: one that
dies is started again, and all go on from the last checkpoint. On several machines that share the folders, give the same
command on each, by `srun --ntasks-per-node=1`, or with torchrun:
`torchrun --nnodes 2 --nproc_per_node 8 --rdzv_backend c10d --rdzv_endpoint HOST:29500 -m speechlm.bin.train --ngpu 8
...` (with its option
--max-restarts, set TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1).
With `--dry_run true` it only says what the training would take.
"""

import sys
from pathlib import Path

from speechlm.bin.command import run_main
from speechlm.data.files import stage
from speechlm.data.machine import device_for
from speechlm.espnet.options import parse_options
from speechlm.espnet.task import SpeechLMTask
from speechlm.model.folder import export_llm, load_model
from speechlm.train import dry_run
from speechlm.train.elastic import Decision, launch, place, run_rank, slurm_tasks
from speechlm.train.record import input_files, known_settings, prepare_folder, remove_old, result_settings
from speechlm.train.signals import exit_at_once


def train(args) -> None:
    """Train, in this process, what is not there yet: the first of several processes keeps the record, and exports the
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


def main() -> None:
    exit_at_once()
    args = parse_options(SpeechLMTask.get_parser(), sys.argv[1:])
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


if __name__ == "__main__":
    if len(sys.argv) == 1:
        sys.argv.append("--help")
    run_main(main)
