#!/usr/bin/env -S bash -p
# mini_cvss: Spanish to English, many speakers to one; made on this machine, no download.
# Every option of egs/TEMPLATE/speechlm.sh may follow: ./run.sh --help, ./run.sh --stage 6 --stop_stage 7
{   # read whole before anything runs: this file may change meanwhile
set -euo pipefail
cd "$(realpath -m "$0/..")"

exec ../TEMPLATE/speechlm.sh --judge judge_natural \
    --langs "es en" --src_lang es --tgt_lang en \
    --train_sets "train train_mono" --text_train_set text_train --dev_set dev \
    --test_sets "test test_unheard" --text_test_set text_test \
    --tasks "asr tts s2tt s2st" --sft_from "s2st=tts" --zero_shot_tasks s2st --lm_eval_tasks held_out_final_word \
    "$@"
}
