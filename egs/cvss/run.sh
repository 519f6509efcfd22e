#!/usr/bin/env -S bash -p
# cvss: CVSS-C or CVSS-T, speech-to-speech translation of Common Voice: 21 languages to English.
# The source language may stand first (es by default), any option of egs/TEMPLATE/speechlm.sh may follow:
#     ./run.sh fr --local_data_opts "--version t --common_voice /corpora/cv-corpus-4-2019-12-10"
{   # read whole before anything runs: this file may change meanwhile
set -euo pipefail
cd "$(realpath -m "$0/..")"

lang=es
if [[ ${1-} =~ ^[a-z]{2}$ ]]; then lang=$1; shift; fi
exec ../TEMPLATE/speechlm.sh \
    --langs "$lang en" --src_lang "$lang" --tgt_lang en --asr_langs "$lang" \
    --datadir "data/$lang" --dumpdir "dump/$lang" --expdir "exp/$lang" \
    --train_sets train --dev_set dev --test_sets test \
    --codec encodec_24khz:6 --llm Qwen/Qwen1.5-0.5B --overlay "paper gpu8" --ngpu 8 \
    --tasks "asr s2tt s2st" --zero_shot_tasks s2st \
    "$@"
}
