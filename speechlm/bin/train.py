"""Train a speech LLM: LLM pre-training, CPT or SFT, as the config says. `--help` lists the options.

A finished training is skipped; an interrupted one resumes from its last checkpoint. If a setting or the content of an
input has changed, the command says which, and starts again; the previous training is kept in `.old` until the new model
is complete. If only --max_steps was raised, the training continues. On SIGTERM, SIGINT or SIGUSR1 it finishes the step,
saves it, and exits with 128 + the signal's number. `--ngpu N`, or `--nproc N` on the CPU, trains in N processes on this
machine, run by torch elastic: if one dies, all are started again from the last checkpoint. On several machines that
share the folders, run the same command on each, with `srun --ntasks-per-node=1` or with torchrun: `torchrun --nnodes 2
--nproc_per_node 8 --rdzv_backend c10d --rdzv_endpoint HOST:29500 -m speechlm.bin.train --ngpu 8 ...` (with its option
--max-restarts, set TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1). With `--dry_run true` it only reports what the training would
take.
"""

import sys

from speechlm.bin.command import run_main
from speechlm.espnet.help import answer_help, help_parser
from speechlm.train.signals import exit_at_once


def main() -> None:
    exit_at_once()
    answer_help(help_parser(__doc__), sys.argv[1:])
    from speechlm.espnet.training import run_training  # ESPnet, which takes seconds

    run_training(sys.argv[1:])


if __name__ == "__main__":
    if len(sys.argv) == 1:
        sys.argv.append("--help")
    run_main(main)
