#!/usr/bin/env -S bash -p
# The paper's four arms, and one without text replay: ends with exp/arms/RESULTS.md. With a GPU without `--overlay
# budget`, and ten pieces on it at a time: ../TEMPLATE/arms.sh --ngpu 1 --arms_nj 10
# Every option of egs/TEMPLATE/arms.sh may follow: ./run_arms.sh --arms "joint no_cpt" --seeds 1
# The small world of espeak: --preset espeak --codec codec_16k
{   # read whole before anything runs: this file may change meanwhile
set -euo pipefail
cd "$(realpath -m "$0/..")"

exec ../TEMPLATE/arms.sh --overlay budget "$@"
}
