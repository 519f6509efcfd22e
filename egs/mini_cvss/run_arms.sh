#!/usr/bin/env -S bash -p
# The paper's four arms, and one without text replay, on the small world of mini_cvss (conf/espeak): ends with
# exp/espeak/arms/RESULTS.md.
# Every option of egs/TEMPLATE/arms.sh may follow: ./run_arms.sh --arms "joint no_cpt" --seeds 1
{   # read whole before anything runs: this file may change meanwhile
set -euo pipefail
cd "$(realpath -m "$0/..")"

exec ../TEMPLATE/arms.sh --preset espeak --codec codec_16k --overlay budget "$@"
}
