#!/usr/bin/env -S bash -p
# @NAME@: one line about the corpus, its address and its licence.
# Every option of egs/TEMPLATE/speechlm.sh may follow: ./run.sh --help, ./run.sh --stage 6 --stop_stage 7
{   # read whole before anything runs: this file may change meanwhile
set -euo pipefail
cd "$(realpath -m "$0/..")"

exec ../TEMPLATE/speechlm.sh \
    --langs "@LANGS@" --src_lang @SRC_LANG@ --tgt_lang @TGT_LANG@ \
    --train_sets train --dev_set dev --test_sets test \
    --tasks "@TASKS@" \
    "$@"
}
