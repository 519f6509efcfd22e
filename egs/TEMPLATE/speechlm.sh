#!/usr/bin/env -S bash -p
# The whole recipe, from corpus to results. Called by egs/<corpus>/run.sh, in its folder.
#
#   1 data        local/data.sh writes Kaldi directories            data/<set>/
#   2 codes       check them; codec tokens of every recording       dump/<codec>/<set>/codes.*
#   3 text        manifests; text tokenizer                         dump/<codec>/<set>/manifest.jsonl,
#                                                                   exp/text_tokenizer/
#   4 llm         a small textual LLM (not with --llm, --cpt_exp)   exp/llm/
#   5 preflight   initial loss, overfit one batch, decode it        exp/preflight/
#   6 cpt         continual pre-training on speech and text         exp/cpt/
#   7 sft         fine-tuning for each task                         exp/sft_<task>/
#   8 decode      hypotheses for each task, test set, language      exp/sft_<task>/decode_<task>_<set>_<lang>/
#   9 score       metrics, codec ceiling, text perplexity           exp/**/score.json
#  10 results     one table; a page to look at and listen to        exp/results.json, exp/RESULTS.md,
#                                                                   exp/report/index.html
#
# Every stage can be run again: finished work is skipped, and interrupted work is resumed.
{                           # read whole before anything runs: this file may change meanwhile
set -euo pipefail

## Stages and machine
stage=1                     # first stage
stop_stage=10               # last stage
ngpu=0                      # number of GPUs on each machine (0: CPU)
nodes=1                     # machines that train together (with SPEECHLM_CMD=slurm, see cmd.sh)
nj=2                        # number of parallel jobs for data and codes (for codes on GPUs: of loader threads)
codes_jobs=1                # jobs that encode recordings, each with nj processes (cmd.sh says where they run)
task_nj=                    # tasks fine-tuned, decoded and scored at the same time (default: 2 on the CPU, 1 on GPUs)
seed=1                      # seed of every training and of decoding
python=                     # Python to use, with only its own packages (default: the one of tools/install.sh)
dry_run=false               # true: only report what the trainings would take: parameters, memory, tokens, hours, disk
gpu=                        # GPU that --dry_run estimates the hours for: A100, H100, ... or its bf16 FLOP/s
## Folders (relative to the recipe)
preset=                     # an --overlay with its own data: settings in conf/<preset>/, a subfolder <preset> of data/,
                            # dump/ and exp/, and options in conf/<preset>/options (options after --preset override
                            # them)
datadir=                    # Kaldi directories (default: data)
dumpdir=                    # codec tokens (default: dump)
expdir=                     # models and results (default: exp)
## Corpus
local_data_opts=            # options passed to local/data.sh
langs="en"                  # languages of the corpus
src_lang=en                 # language to translate from
tgt_lang=en                 # language to translate into
train_sets="train"          # training sets with speech (one with a slash is the dump/<codec>/<set> of another
                            # recipe, used as it is)
text_train_set=             # training set (or sets) of text only, for the LLM and CPT
dev_set=dev                 # development set (or several)
test_sets="test"            # test sets with speech
text_test_set=              # test set of text only, for perplexity
final_word=false            # true: also score the last word of each text in text_test_set (LAMBADA)
lm_eval_tasks=              # text tasks of lm-evaluation-harness for the LLM: held_out_final_word (over
                            # text_test_set), lambada_openai, ...
lm_eval_opts=               # further options of speechlm.bin.lm_eval: --task_files FOLDER, --num_fewshot 5
text_models="llm cpt"       # models whose text ability is scored: llm (before CPT), cpt
skip_bad=0                  # how many bad recordings or texts may be left out of the training sets (test sets: none)
keep_published=             # faults tolerated in test-set recordings that were published with them: truncated silence
                            # (such recordings are listed in warnings.tsv)
## Models
codec=codec_natural:4       # codec_natural:4, codec_16k (shipped), encodec_24khz:6 (kbps), mimi:8 (streams), FOLDER:8,
                            # OWNER/NAME:8 (README, Codecs)
llm=                        # textual LLM: a folder or hub name (default: pre-train a small one)
random_init=false           # true: take only the architecture of the LLM (the arm without pre-training)
cpt_exp=                    # fine-tune this CPT model instead of training one; no LLM is trained either
skip_cpt=false              # true: fine-tune the LLM itself (the arm without CPT)
tag=                        # suffix of the CPT and SFT folders, to keep several arms side by side
## Settings: layers of YAML files: egs/TEMPLATE/conf (explained in its train.yaml), conf, then each overlay
overlay=                    # folders, or names of folders in conf or egs/TEMPLATE/conf; later ones override
                            # earlier ones: "paper gpu8"
llm_model_config=           # small LLM: architecture and vocabulary size, in place of the layers of llm_model.yaml
llm_config=                 # training of the small LLM, in place of the layers below the overlays
cpt_config=                 # continual pre-training, likewise
sft_config=                 # fine-tuning of all tasks, likewise
decode_config=              # decoding, in place of the layers of decode.yaml
## Tasks and scores
tasks="asr tts"             # tasks to fine-tune and score: asr tts s2tt t2st s2st
sft_from=                   # tasks that are fine-tuned from the model of another task, not from CPT: "s2st=tts"
zero_shot_tasks=            # tasks on which the CPT model itself is also scored, without fine-tuning
probe_task=                 # task that is also scored in the course of its fine-tuning
probe_steps=                # steps of that fine-tuning at which it is scored
asr_langs=                  # languages of asr (default: langs)
tts_langs=                  # languages of tts (default: tgt_lang, which the judge understands)
protocol=mini               # how to score: names from speechlm/metrics/protocols, or files; of several, the first
                            # that covers a task scores it
judge=                      # recogniser of generated speech, if not the protocol's: KIND:MODEL, judge_en or a folder

printf -v lock_command '%q ' "$0" "$@"
po_files_of_preset=conf/%s/options
driver=$(realpath -m "$0/..")
for part in parse_options stages lock place; do . "$driver/../../utils/$part.sh"; done
. "$driver/cmd.sh"
. "$driver/../../utils/recipe.sh"       # what the stages below call

if $dry_run; then plan_trainings; exit 0; fi
shared=()                   # stages 1 to 3 write data and dump, which several runs may share: one run at a time
if [ "$stage" -le 1 ]; then shared+=("$datadir"); fi
if [ "$stage" -le 3 ]; then shared+=("$dumpdir"); fi
for folder in "${shared[@]}"; do wait_for_lock "$folder"; done

if want 1 "data"; then
    export src_lang tgt_lang            # what local/data.sh takes if it has such options
    run local/data.sh --datadir "$datadir" --nj "$nj" "${local_data_opts[@]}"
fi

if want 2 "codes"; then
    if [ "$codes_jobs" -gt 1 ]; then run run_jobs "$codes_jobs" "$dump/log/codes" code_sets --shard; fi
    code_sets
fi

if want 3 "text"; then
    for set in "${own_train_sets[@]}" "${own_text_train_sets[@]}" "${own_test_sets[@]}"; do
        on_cpu manifest --data "$datadir/$set" --codes "$dump/$set" --lang "$src_lang"
    done
    if [ -z "$llm" ]; then
        on_cpu text_tokenizer --manifests "${train_manifests[@]}" --config "${llm_model_configs[@]}" \
            --out "$expdir/text_tokenizer"
    fi
    on_cpu tokens --llm "${llm:-$expdir/text_tokenizer}" "${train_manifests[@]}" "${dev_manifests[@]}"
fi
for folder in "${shared[@]}"; do unlock "$folder"; done

if want 4 "llm"; then
    if $llm_of_cpt; then
        echo "No LLM is trained: fine-tuning starts from ${sft_start[*]}"
    elif [ -n "$llm" ] || $random_init; then
        echo "No LLM is trained: the models start from ${llm_start[*]}"
    else
        train llm --output_dir "$expdir/llm" --llm "$expdir/text_tokenizer" --llm_random true \
            --train_sets "${all_train_sets[@]}"
    fi
fi

if want 5 "preflight"; then
    preflight
fi

if want 6 "cpt"; then
    if $skip_cpt || [ -n "$cpt_exp" ]; then
        echo "No CPT here: fine-tuning starts from ${sft_start[*]}"
    else
        train cpt --output_dir "$cpt_model" "${llm_start[@]}" --train_sets "${all_train_sets[@]}"
    fi
fi

if want 7 "sft"; then
    for_tasks fine_tune "${tasks_of_cpt[@]}"
    for_tasks fine_tune "${tasks_of_tasks[@]}"
fi

if want 8 "decode"; then
    for_tasks decode_task "${models[@]}"
fi

if want 9 "score"; then
    if [[ " ${tests[*]} " = *" speech "* ]]; then for_tasks ceiling "${test_sets[@]}"; fi
    for_tasks score_task "${models[@]}"
    for_tasks text_ability "${text_models[@]}"
fi

if want 10 "results"; then
    on_cpu results "$expdir" --out "$expdir"
    on_cpu report "$expdir" --data "$datadir" --src_lang "$src_lang" --train_sets "${own_train_sets[@]}"
fi
end_stage
exit
}
