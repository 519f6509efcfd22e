#!/usr/bin/env -S bash -p
# aishell: AISHELL-1 (open) or AISHELL-2 (by application), recognition of read Mandarin.
# 1 or 2 may stand first (1 by default), any option of egs/TEMPLATE/speechlm.sh may follow:
#     ./run.sh 2 --local_data_opts "--aishell2 /corpora/AISHELL-2"
{   # read whole before anything runs: this file may change meanwhile
set -euo pipefail
cd "$(realpath -m "$0/..")"

export version=1
if [[ ${1-} =~ ^[12]$ ]]; then version=$1; shift; fi
test_sets=test folders=()
if [ "$version" = 2 ]; then
    test_sets="test_ios test_android test_mic" folders=(--datadir data/2 --dumpdir dump/2 --expdir exp/2)
fi
exec ../TEMPLATE/speechlm.sh \
    --langs zh --src_lang zh --tgt_lang zh "${folders[@]}" \
    --train_sets train --dev_set dev --test_sets "$test_sets" \
    --codec encodec_24khz:6 --llm Qwen/Qwen1.5-0.5B --overlay "paper gpu8" --ngpu 8 \
    --tasks asr --protocol aishell_cer \
    "$@"
}
