#!/usr/bin/env -S bash -p
# fsdd: the Free Spoken Digit Dataset, real recordings of English digits by six speakers.
# Every option of egs/TEMPLATE/speechlm.sh may follow: ./run.sh --help, ./run.sh --stage 6 --stop_stage 7
{   # read whole before anything runs: this file may change meanwhile
set -euo pipefail
cd "$(realpath -m "$0/..")"

exec ../TEMPLATE/speechlm.sh \
    --langs en --src_lang en --tgt_lang en \
    --train_sets train_sp --dev_set dev --test_sets test \
    --tasks "asr tts" \
    "$@"
}
