#!/usr/bin/env -S bash -p
# mls: Multilingual LibriSpeech, audio books in en de nl fr es it pt pl: a large open corpus for speech continuation,
# and recognition. Languages may stand first (--langs "de nl"; pl by default), any option of egs/TEMPLATE/speechlm.sh
# may follow. Several languages train one CPT model; recognition is fine-tuned and tested in one at a time:
#     ./run.sh --langs "de nl pl" && ./run.sh --langs de --cpt_exp exp/de_nl_pl/cpt
{   # read whole before anything runs: this file may change meanwhile
set -euo pipefail
cd "$(realpath -m "$0/..")"

export langs=pl
case ${1-} in
    --langs=*) langs=${1#*=}; shift ;;
    --langs) langs=${2-}; shift $(($# > 1 ? 2 : 1)) ;;
esac
for word in "$@"; do
    case $word in --langs | --langs=*)
        echo "mls/run.sh: --langs must stand first: ./run.sh --langs \"de nl\" ..." >&2
        exit 2 ;;
    esac
done
each() { local lang; for lang in $langs; do echo "$1_$lang"; done | paste -sd' '; }
name=${langs// /_} tasks=asr stop=10
if [[ $langs == *" "* ]]; then tasks="" stop=6; fi
exec ../TEMPLATE/speechlm.sh \
    --langs "$langs" --src_lang "${langs%% *}" --tgt_lang "${langs%% *}" \
    --datadir "data/$name" --dumpdir "dump/$name" --expdir "exp/$name" \
    --train_sets "$(each train)" --dev_set "$(each dev)" --test_sets "$(each test)" \
    --codec encodec_24khz:6 --llm Qwen/Qwen1.5-0.5B --overlay "paper gpu8" --ngpu 8 \
    --tasks "$tasks" --stop_stage "$stop" \
    "$@"
}
