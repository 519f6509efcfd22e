#!/usr/bin/env -S bash -p
# cpt_enzh: the paper's CPT of English and Mandarin over the codes of other recipes, with general and translated text;
# LAMBADA perplexity.
# Name the sets with a slash; all must have been coded by one codec (stages 1 to 3 of their recipes):
#     ./run.sh --train_sets "../librispeech/dump/encodec_24khz_6/train_960
#                            ../covost2/dump/en_zh/encodec_24khz_6/train ..." \
#         --dev_set "../covost2/dump/en_zh/encodec_24khz_6/dev ../covost2/dump/zh_en/encodec_24khz_6/dev" \
#         --local_data_opts "--general_text en:/text/en.jsonl,zh:/text/zh.jsonl
#                            --mt_text en:/text/mt.en,zh:/text/mt.zh --lambada /text/lambada_test.jsonl"
# The model, exp/cpt, is fine-tuned by any recipe: --cpt_exp ../cpt_enzh/exp/cpt
{   # read whole before anything runs: this file may change meanwhile
set -euo pipefail
cd "$(realpath -m "$0/..")"

exec ../TEMPLATE/speechlm.sh \
    --langs "en zh" --src_lang en --tgt_lang zh \
    --train_sets "" --text_train_set "general_en general_zh mt_text" --dev_set "" --test_sets "" \
    --text_test_set lambada --final_word true \
    --codec encodec_24khz:6 --llm Qwen/Qwen1.5-0.5B --overlay "paper gpu8" --ngpu 8 \
    --tasks "" \
    "$@"
}
