#!/usr/bin/env -S bash -p
# covost2: CoVoST 2, speech-to-text translation of Common Voice: 21 languages to English, English to 15.
# The pair may stand first (en_zh by default), any option of egs/TEMPLATE/speechlm.sh may follow:
#     ./run.sh zh_en --local_data_opts "--common_voice /corpora/cv-corpus-4-2019-12-10"
{   # read whole before anything runs: this file may change meanwhile
set -euo pipefail
cd "$(realpath -m "$0/..")"

pair=en_zh
if [[ ${1-} =~ ^[a-z]{2}_[a-z]{2}$ ]]; then pair=$1; shift; fi
exec ../TEMPLATE/speechlm.sh \
    --langs "${pair/_/ }" --src_lang "${pair%_*}" --tgt_lang "${pair#*_}" --asr_langs "${pair%_*}" \
    --datadir "data/$pair" --dumpdir "dump/$pair" --expdir "exp/$pair" \
    --train_sets train --dev_set dev --test_sets test \
    --codec encodec_24khz:6 --llm Qwen/Qwen1.5-0.5B --overlay "paper gpu8" --ngpu 8 \
    --tasks "asr s2tt" \
    "$@"
}
