#!/usr/bin/env bash
# fsdd: the Free Spoken Digit Dataset, real recordings of English digits by six speakers.
# Every option of egs/TEMPLATE/speechlm.sh may follow: ./run.sh --help, ./run.sh --stage 6 --stop_stage 7
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

exec ../TEMPLATE/speechlm.sh \
    --langs en --src_lang en --tgt_lang en \
    --train_sets train_sp --dev_set dev --test_sets test \
    --tasks "asr tts" \
    "$@"
