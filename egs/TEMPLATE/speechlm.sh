#!/usr/bin/env -S bash -p
# The whole recipe, from corpus to results. Called by egs/<corpus>/run.sh, in its folder.
#
#   1 data        local/data.sh writes Kaldi directories            data/<set>/
#   2 codes       check them; codec tokens of every recording       dump/<codec>/<set>/codes.*
#   3 text        manifests; text tokenizer                         dump/<codec>/<set>/manifest.jsonl, exp/text_tokenizer/
#   4 llm         a small textual LLM (none with --llm)             exp/llm/
#   5 preflight   initial loss, overfit one batch, decode it        exp/preflight/
#   6 cpt         continual pre-training on speech and text         exp/cpt/
#   7 sft         fine-tuning for each task                         exp/sft_<task>/
#   8 decode      hypotheses for each task, test set, language      exp/sft_<task>/decode_<task>_<set>_<lang>/
#   9 score       metrics, codec ceiling, text perplexity           exp/**/score.json
#  10 results     one table; a page to look at and listen to        exp/results.json, exp/RESULTS.md, exp/report/index.html
#
# Every stage can be run again: what is finished is skipped, what was interrupted is resumed.
{                           # read whole before anything runs: this file may change meanwhile
set -euo pipefail

## Stages and machine
stage=1                     # first stage
stop_stage=10               # last stage
ngpu=0                      # number of GPUs (0: CPU), of each machine
nodes=1                     # machines that train together (with SPEECHLM_CMD=slurm, see cmd.sh)
nj=2                        # number of parallel jobs of data and codes
codes_jobs=1                # jobs that code recordings, each with nj processes (cmd.sh says where)
task_nj=                    # tasks fine-tuned, decoded and scored at the same time (default: 2 on the CPU, 1 on GPUs)
seed=1                      # seed of every training and of decoding
python=                     # Python to use, with its own packages alone (default: the one that tools/install.sh installs)
dry_run=false               # true: only say what the trainings would take: parameters, memory, tokens, hours, disk
gpu=                        # GPU that --dry_run estimates the hours for: A100, H100, ... or its bf16 FLOP/s
## Folders (relative to the recipe)
preset=                     # smaller settings: conf/<preset>/ is looked into first, and data/, dump/, exp/ get this subfolder
datadir=                    # Kaldi directories (default: data)
dumpdir=                    # codec tokens (default: dump)
expdir=                     # models and results (default: exp)
## Corpus
local_data_opts=            # options passed to local/data.sh
langs="en"                  # languages of the corpus
src_lang=en                 # language translated from
tgt_lang=en                 # language translated into
train_sets="train"          # training sets with speech (one with a slash is the dump/<codec>/<set> of another recipe, used as it is)
text_train_set=             # training set (or sets) of text only, for the LLM and CPT
dev_set=dev                 # development set (or several)
test_sets="test"            # test sets with speech
text_test_set=              # test set of text only, for perplexity
final_word=false            # true: score the last word of each of its texts too (LAMBADA)
lm_eval_tasks=              # text tasks of lm-evaluation-harness for the LLM: held_out_final_word (over text_test_set), lambada_openai, ...
lm_eval_opts=               # further options of speechlm.bin.lm_eval: --task_files FOLDER, --num_fewshot 5
text_models="llm cpt"       # whose text ability is scored: llm (before CPT), cpt
skip_bad=0                  # how many bad recordings or texts may be left out of the training sets (test sets: none)
keep_published=             # faults that recordings of test sets may have, as they were published: truncated silence (listed in warnings.tsv)
## Models
codec=codec_16k             # codec_16k (shipped), encodec_24khz:6 (kbps), mimi:8 (streams), dac_44khz, FOLDER:8, OWNER/NAME:8 (README, Codecs)
llm=                        # textual LLM: a folder or hub name (default: pre-train a small one)
random_init=false           # true: take only the architecture of the LLM (the arm without pre-training)
cpt_exp=                    # fine-tune this CPT model instead of training one
skip_cpt=false              # true: fine-tune the LLM itself (the arm without CPT)
tag=                        # suffix of the CPT and SFT folders, so that several arms stand side by side
## Settings: yaml files (searched in conf/<preset>, conf, egs/TEMPLATE/conf)
overlay=                    # settings over those: folders, or names of some in conf or egs/TEMPLATE/conf, the last one first: "paper gpu8"
llm_model_config=           # small LLM: architecture and vocabulary size (default: llm_model.yaml)
llm_config=                 # its training (default: llm.yaml)
cpt_config=                 # continual pre-training (default: cpt.yaml)
sft_config=                 # fine-tuning, for all tasks (default: sft_<task>.yaml)
decode_config=              # default: decode.yaml
## Tasks and scores
tasks="asr tts"             # tasks to fine-tune and score: asr tts s2tt t2st s2st
zero_shot_tasks=            # tasks that the CPT model itself is also scored on, as it is
probe_task=                 # task whose fine-tuning is scored while it goes on,
probe_steps=                # after these steps
asr_langs=                  # languages of asr (default: langs)
tts_langs=                  # languages of tts (default: tgt_lang, which the judge understands)
protocol=mini               # how to score: names of speechlm/metrics/protocols, or files; of several, the first that covers a task
judge=                      # recogniser of generated speech instead of the protocol's: KIND:MODEL, judge_en or a folder

printf -v lock_command '%q ' "$0" "$@"
driver=$(realpath -m "$0/..")
. "$driver/../../utils/parse_options.sh"
. "$driver/../../utils/stages.sh"
. "$driver/../../utils/lock.sh"
. "$driver/../../utils/place.sh"
. "$driver/cmd.sh"
fail() { echo "speechlm.sh: $*" >&2; exit 2; }
if ! $dry_run && [ "$stage" -le 9 ] && [ "$stop_stage" -ge 2 ]; then need_gpus "$ngpu"; fi

all_langs=$langs            # langs itself may be exported, for local/data.sh
lists all_langs train_sets text_train_set dev_set test_sets text_test_set tasks zero_shot_tasks probe_steps \
    lm_eval_tasks lm_eval_opts local_data_opts keep_published text_models overlay protocol
[ ${#dev_set[@]} -gt 0 ] || $dry_run ||
    fail "--dev_set is empty. Name a set, or the dump/<codec>/<set> of another recipe (--dry_run true needs none)."
datadir=$(as_folder "${datadir:-data${preset:+/$preset}}")
dumpdir=$(as_folder "${dumpdir:-dump${preset:+/$preset}}")
expdir=$(as_folder "${expdir:-exp${preset:+/$preset}}")
dump=$dumpdir/$(basename -- "${codec//:/_}")
cpt_model=${cpt_exp:-$expdir/cpt${tag:+_$tag}}
sft_name=sft${tag:+_$tag}
task_nj=${task_nj:-$((ngpu > 0 ? 1 : 2))}
[[ $task_nj =~ ^[0-9]+$ ]] || fail "--task_nj takes a whole number, found '$task_nj'."

overlay_folders=()
for name in "${overlay[@]}"; do
    folder=conf/$name
    if [ ! -d "$folder" ]; then folder=$driver/conf/$name; fi
    if [ ! -d "$folder" ]; then folder=$name; fi
    [ -d "$folder" ] || fail "--overlay $name: no folder conf/$name, nor in $driver/conf, nor $name."
    overlay_folders+=("$folder")
    if [ -f "$folder/decode.yaml" ]; then decode_config=${decode_config:-$folder/decode.yaml}; fi
    if [ -f "$folder/llm_model.yaml" ]; then llm_model_config=${llm_model_config:-$folder/llm_model.yaml}; fi
done
install_python

if ! $dry_run; then
    lock "$expdir" || exit 2
    exec > >(trap '' INT TERM HUP; unlock "$expdir"; exec tee -a "$expdir/run.log") 2>&1    # lasts as long as somebody writes to it
fi

on_cpu() { run "${cpu_cmd[@]}" "$python" -m "speechlm.bin.$1" "${@:2}"; }
on_gpu() { run "${gpu_cmd[@]}" "$python" -m "speechlm.bin.$1" "${@:2}"; }
train() { run "${train_cmd[@]}" "$python" -m speechlm.bin.train "$@"; }

conf() {            # conf NAME: the first NAME.yaml of the preset, the recipe and the template
    local folder
    for folder in ${preset:+"conf/$preset"} conf "$driver/conf"; do
        if [ -f "$folder/$1.yaml" ]; then echo "$folder/$1.yaml"; return; fi
    done
    echo "speechlm.sh: no $1.yaml in ${preset:+conf/$preset, }conf or $driver/conf. Write one, or name it with --${1%%_*}_config." >&2
    return 1
}

overlays() {        # overlays NAME...: sets `over` to the options for the train.yaml and NAME.yaml of each overlay, where it has them
    local folder name
    over=()
    for folder in "${overlay_folders[@]}"; do
        for name in train "$@"; do
            if [ -f "$folder/$name.yaml" ]; then over+=("$folder/$name.yaml"); fi
        done
    done
    if [ ${#over[@]} -gt 0 ]; then over=(--overlay "${over[@]}"); fi
}

own() {             # own SET...: the sets that this recipe prepares: all but those of other recipes
    local set
    for set in "$@"; do
        case $set in */*) ;; *) echo "$set" ;; esac
    done
}

mapfile -t own_train_sets < <(own "${train_sets[@]}")
mapfile -t own_text_train_sets < <(own "${text_train_set[@]}")
mapfile -t own_test_sets < <(own "${dev_set[@]}" "${test_sets[@]}" "${text_test_set[@]}")
absolute() {        # absolute NAME: in this array, sets of other recipes by their full path
    local -n sets=$1
    local i
    for i in "${!sets[@]}"; do
        case ${sets[i]} in */*) sets[i]=$(realpath -m -- "${sets[i]}") ;; esac
    done
}
absolute train_sets
absolute dev_set
all_train_sets=("${train_sets[@]}" "${text_train_set[@]}")

# How the tasks are tested, as speechlm/tasks says: lines TASK speech|text SRC TGT SUFFIX LANG...
tests=$("$python" -m speechlm.bin.tasks --tasks "${tasks[@]}" "${zero_shot_tasks[@]}" ${probe_task:+"$probe_task"} \
    --langs "${all_langs[@]}" --src_lang "$src_lang" --tgt_lang "$tgt_lang" --only "asr=${asr_langs// /+}" "tts=${tts_langs// /+}") || exit 2
mapfile -t tests <<< "$tests"

lm_options=(--dump "$dump" --codec "$codec" --src_lang "$src_lang" --tgt_lang "$tgt_lang" --langs "${all_langs[@]}"
    --ngpu "$ngpu" --seed "$seed" --resume true)
if [ ${#dev_set[@]} -gt 0 ]; then lm_options+=(--dev_set "${dev_set[@]}"); fi
if [ "$nodes" -gt 1 ]; then lm_options+=(--nodes "$nodes"); fi
scoring=(--protocol "${protocol[@]}" ${judge:+--judge "$judge"} --codec "$codec" --ngpu "$ngpu")

llm_start=(--llm "$expdir/llm/llm")                         # what CPT starts from: the textual LLM
if [ -n "$llm" ]; then llm_start=(--llm "$llm"); fi
if $random_init; then llm_start=(--llm "${llm:-$expdir/text_tokenizer}" --llm_random true); fi
sft_start=(--init_from "$cpt_model")                        # what fine-tuning starts from
if $skip_cpt; then sft_start=("${llm_start[@]}"); fi

for_tasks() {       # for_tasks FUNCTION "WORDS TASK"...: several at a time, sharing the cores (nproc: no more than OMP_NUM_THREADS)
    local cores before=${OMP_NUM_THREADS-}
    cores=$(nproc)
    decode_config=${decode_config:-$(conf decode)}
    if [ "$ngpu" -eq 0 ]; then export OMP_NUM_THREADS=$((cores > task_nj ? cores / task_nj : 1)); fi
    run in_parallel "$task_nj" "$@"
    if [ -n "$before" ]; then OMP_NUM_THREADS=$before; else unset OMP_NUM_THREADS; fi
}

train_task() {      # train_task TASK
    local config keep=()
    config=${sft_config:-$(conf "sft_$1")}
    overlays sft "sft_$1"
    if [ "$1" = "$probe_task" ]; then keep=(--keep_steps "${probe_steps[@]}"); fi
    train --config "$config" "${over[@]}" --output_dir "$expdir/${sft_name}_$1" "${sft_start[@]}" \
        --train_sets "${train_sets[@]}" "${lm_options[@]}" "${keep[@]}"
}

# model_of sft|zero_shot|STEP TASK: sets `model` (fine-tuned, that of CPT, or a step of the fine-tuning), its `name`, and `out`
model_of() {
    case $1 in
        sft) model=$expdir/${sft_name}_$2 name=$sft_name ;;
        zero_shot) model=$cpt_model name=$(basename -- "$cpt_model") ;;
        *) model=$expdir/${sft_name}_$2/steps/$1 name=$sft_name@$1 ;;
    esac
    out=$model
    if [ "$1" = zero_shot ] && [ -n "$cpt_exp" ]; then out=$expdir/zero_shot; fi    # it may be a colleague's
}

decode_task() {     # decode_task WHICH TASK: all sets and languages in one process
    local model name out set lang line words manifests=() languages=() outs=()
    model_of "$1" "$2"
    for set in "${test_sets[@]}"; do
        for line in "${tests[@]}"; do
            read -ra words <<< "$line"
            [ "${words[0]-}" = "$2" ] || continue
            for lang in "${words[@]:5}"; do
                manifests+=("$dump/$set/manifest.jsonl") languages+=("$lang") outs+=("$out/decode_$2_${set}_$lang")
            done
        done
    done
    if [ ${#outs[@]} -eq 0 ]; then return; fi
    on_gpu decode --exp "$model" --task "$2" --manifest "${manifests[@]}" --out "${outs[@]}" --lang "${languages[@]}" \
        --tgt_lang "$tgt_lang" --codec "$codec" --config "$decode_config" --ngpu "$ngpu" --seed "$seed"
}

ceiling() {         # ceiling SET
    on_gpu ceiling --data "$datadir/$1" --lang "$tgt_lang" --out "$expdir/ceiling/$1" --cache "$dump/$1" \
        --tasks "${tasks[@]}" "${zero_shot_tasks[@]}" "${scoring[@]}"
}

score_task() {      # score_task WHICH TASK: asr in all its languages at once (es+en), other tasks one by one
    local model name out set lang line words hyps
    model_of "$1" "$2"
    for set in "${test_sets[@]}"; do
        for line in "${tests[@]}"; do
            read -ra words <<< "$line"
            [ "${words[0]-}" = "$2" ] || continue
            hyps=()
            for lang in "${words[@]:5}"; do hyps+=("$out/decode_$2_${set}_$lang"); done
            on_gpu score --task "$2" --hyp "${hyps[@]}" --ref "$datadir/$set" --src_lang "${words[2]}" --tgt_lang "${words[3]}" \
                --model "$name" --test_set "$set${words[4]#-}" "${scoring[@]}" --out "$out/score_$2_${set}_${words[2]}/score.json"
        done
    done
}

plan() {            # plan NAME CONFIG: what a training would take
    echo "$1:"
    on_cpu train --dry_run true --config "$2" "${over[@]}" --output_dir "$expdir/$1" --llm "${llm:-$small_llm}" \
        --train_sets "${train_sets[@]}" "${lm_options[@]}" ${gpu:+--gpu "$gpu"}
}

if $dry_run; then
    if [ -z "$llm" ]; then
        small_llm=${llm_model_config:-$(conf llm_model)} llm_config=${llm_config:-$(conf llm)}
        if ! $random_init; then overlays llm; plan llm "$llm_config"; fi
    fi
    if ! $skip_cpt && [ -z "$cpt_exp" ]; then
        cpt_config=${cpt_config:-$(conf cpt)}
        overlays cpt
        plan "cpt${tag:+_$tag}" "$cpt_config"
    fi
    for task in "${tasks[@]}"; do
        overlays sft "sft_$task"
        task_config=${sft_config:-$(conf "sft_$task")}
        plan "${sft_name}_$task" "$task_config"
    done
    exit 0
fi

shared=()                       # stages 1 to 3 write data and dump, which several runs may share: one run at a time
if [ "$stage" -le 1 ]; then shared+=("$datadir"); fi
if [ "$stage" -le 3 ]; then shared+=("$dumpdir"); fi
for folder in "${shared[@]}"; do wait_for_lock "$folder"; done

if want 1 "data"; then
    if [ ${#local_data_opts[@]} -eq 0 ] && [ -n "$preset" ] && [ -f "conf/$preset/data_opts" ]; then
        words_of local_data_opts "$(cat "conf/$preset/data_opts")"
        local_data_opts=("${words[@]}")
    fi
    export src_lang tgt_lang        # what local/data.sh takes if it has such options
    run local/data.sh --datadir "$datadir" --nj "$nj" "${local_data_opts[@]}"
fi

code_sets() {       # code_sets [--shard I/N]
    local where=on_cpu
    if [ "$ngpu" -gt 0 ]; then where=on_gpu; fi
    "$where" extract_codes --ngpu "$ngpu" --data "$datadir" --train_sets "${own_train_sets[@]}" "${own_text_train_sets[@]}" \
        --test_sets "${own_test_sets[@]}" --keep_published "${keep_published[@]}" \
        --dump "$dump" --codec "$codec" --lang "$src_lang" --nj "$nj" --skip_bad "$skip_bad" "$@"
}

if want 2 "codes"; then
    if [ "$codes_jobs" -gt 1 ]; then run run_jobs "$codes_jobs" "$dump/log/codes" code_sets --shard; fi
    code_sets
fi

if want 3 "text"; then
    manifests=()
    for set in "${own_train_sets[@]}" "${own_text_train_sets[@]}" "${own_test_sets[@]}"; do
        on_cpu manifest --data "$datadir/$set" --codes "$dump/$set" --lang "$src_lang"
    done
    for set in "${all_train_sets[@]}"; do
        case $set in */*) manifests+=("$set/manifest.jsonl") ;; *) manifests+=("$dump/$set/manifest.jsonl") ;; esac
    done
    if [ -z "$llm" ]; then
        llm_model_config=${llm_model_config:-$(conf llm_model)}
        on_cpu text_tokenizer --manifests "${manifests[@]}" --config "$llm_model_config" --out "$expdir/text_tokenizer"
    fi
fi

for folder in "${shared[@]}"; do unlock "$folder"; done

if want 4 "llm"; then
    if [ -n "$llm" ] || $random_init; then
        echo "No LLM is trained: the models start from ${llm_start[*]}"
    else
        llm_config=${llm_config:-$(conf llm)}
        overlays llm
        train --config "$llm_config" "${over[@]}" --output_dir "$expdir/llm" --llm "$expdir/text_tokenizer" --llm_random true \
            --train_sets "${all_train_sets[@]}" "${lm_options[@]}"
    fi
fi

if want 5 "preflight"; then
    trainings=()                # those that follow: their rows must be long enough
    for task in "${tasks[@]}"; do
        task_config=${sft_config:-$(conf "sft_$task")}
        overlays sft "sft_$task"
        trainings+=(--training "$task_config" "${over[@]:1}")
    done
    cpt_config=${cpt_config:-$(conf cpt)}
    overlays cpt
    if ! $skip_cpt && [ -z "$cpt_exp" ]; then trainings+=(--training "$cpt_config" "${over[@]:1}"); fi
    on_gpu preflight --config "$cpt_config" "${over[@]}" --output_dir "$expdir/preflight${tag:+_$tag}" "${llm_start[@]}" \
        --train_sets "${all_train_sets[@]}" "${lm_options[@]}" "${trainings[@]}"
fi

if want 6 "cpt"; then
    if $skip_cpt || [ -n "$cpt_exp" ]; then
        echo "No CPT here: fine-tuning starts from ${sft_start[*]}"
    else
        cpt_config=${cpt_config:-$(conf cpt)}
        overlays cpt
        train --config "$cpt_config" "${over[@]}" --output_dir "$cpt_model" "${llm_start[@]}" \
            --train_sets "${all_train_sets[@]}" "${lm_options[@]}"
    fi
fi

if want 7 "sft"; then
    for_tasks train_task "${tasks[@]}"
fi

models=()           # of model_of
for task in "${tasks[@]}"; do models+=("sft $task"); done
for step in "${probe_steps[@]}"; do models+=("$step $probe_task"); done
for task in "${zero_shot_tasks[@]}"; do models+=("zero_shot $task"); done

if want 8 "decode"; then
    for_tasks decode_task "${models[@]}"
fi

text_ability() {    # text_ability llm|cpt: perplexity and text tasks, before and after CPT
    local model=$expdir/llm folder=${llm:-$expdir/llm/llm}
    case $1 in
        llm) if $random_init; then return; fi ;;
        cpt) if $skip_cpt; then return; fi; model=$cpt_model folder=$cpt_model/llm ;;
        *) fail "--text_models $1: expected llm or cpt" ;;
    esac
    local manifest=${text_test_set[*]:+$dump/${text_test_set[*]}/manifest.jsonl}
    if [ -n "$manifest" ] && { [ "$1" = cpt ] || [ -z "$llm" ]; }; then       # an LLM from elsewhere is no model of ours
        on_cpu perplexity --exp "$model" --manifest "$manifest" --final_word "$final_word" \
            --out "$expdir/perplexity/$(basename -- "$model")/score.json"
    fi
    if [ ${#lm_eval_tasks[@]} -gt 0 ]; then
        on_gpu lm_eval --llm "$folder" --tasks "${lm_eval_tasks[@]}" ${manifest:+--manifest "$manifest"} \
            "${lm_eval_opts[@]}" --out "$expdir/lm_eval/$(basename -- "$model")/score.json"
    fi
}

if want 9 "score"; then
    if [[ " ${tests[*]} " = *" speech "* ]]; then for_tasks ceiling "${test_sets[@]}"; fi
    for_tasks score_task "${models[@]}"
    for name in "${text_models[@]}"; do text_ability "$name"; done
fi

if want 10 "results"; then
    on_cpu results "$expdir" --out "$expdir"
    on_cpu report "$expdir" --data "$datadir" --src_lang "$src_lang" --train_sets "${own_train_sets[@]}"
fi
end_stage
exit
}
