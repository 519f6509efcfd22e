"""Train a speech LLM: LLM pre-training, CPT or SFT, as the config says. `--help` lists the options.

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
