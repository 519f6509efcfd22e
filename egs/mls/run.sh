#!/usr/bin/env bash
# mls: Multilingual LibriSpeech, audio books in en de nl fr es it pt pl: a large open corpus for speech continuation, and recognition.
# Languages may stand first (--langs "de nl"; pl by default), any option of egs/TEMPLATE/speechlm.sh may follow. Several languages train one CPT
# model; recognition is fine-tuned and tested in one at a time:
#     ./run.sh --langs "de nl pl" && ./run.sh --langs de --cpt_exp exp/de_nl_pl/cpt
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

export langs=pl
if [ "${1-}" = --langs ]; then langs=${2-}; shift $(($# > 1 ? 2 : 1)); fi
case " $* " in *" --langs "*) echo "mls/run.sh: --langs must stand first: ./run.sh --langs \"de nl\" ..." >&2; exit 2 ;; esac
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
