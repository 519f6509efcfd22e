#!/usr/bin/env bash
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
python=                     # Python to use (default: the one that tools/install.sh installs)
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
tasks="asr tts"             # tasks to fine-tune and score: asr tts s2tt s2st
zero_shot_tasks=            # tasks that the CPT model itself is also scored on, as it is
probe_task=                 # task whose fine-tuning is scored while it goes on,
probe_steps=                # after these steps
asr_langs=                  # languages of asr (default: langs)
tts_langs=                  # languages of tts (default: tgt_lang, which the judge understands)
protocol=mini               # how to score: names of speechlm/metrics/protocols, or files; of several, the first that covers a task
judge=                      # recogniser of generated speech instead of the protocol's: KIND:MODEL, judge_en or a folder

printf -v lock_command '%q ' "$0" "$@"
driver=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$driver/../../utils/parse_options.sh"
[ $# -eq 0 ] || { echo "speechlm.sh: '$1' is no option: options are --name value. --help lists them." >&2; exit 2; }
. "$driver/../../utils/stages.sh"
. "$driver/../../utils/lock.sh"
if [ -n "$python" ]; then
    python=$(command -v "$python") || { echo "speechlm.sh: --python: found no such program. Name a Python that has the packages." >&2; exit 2; }
    SPEECHLM_BIN=$(dirname "$python") && export SPEECHLM_BIN
fi
. "$driver/path.sh"
. "$driver/cmd.sh"

datadir=${datadir:-data${preset:+/$preset}}
dumpdir=${dumpdir:-dump${preset:+/$preset}}
expdir=${expdir:-exp${preset:+/$preset}}
dump=$dumpdir/$(basename "${codec//:/_}")
cpt_model=${cpt_exp:-$expdir/cpt${tag:+_$tag}}
sft_name=sft${tag:+_$tag}
asr_langs=${asr_langs:-$langs}
tts_langs=${tts_langs:-$tgt_lang}
if [ -z "$task_nj" ]; then task_nj=$((ngpu > 0 ? 1 : 2)); fi

if [ -z "$python" ]; then
    run "$root/tools/install.sh"
    python=$venv/bin/python
fi
[ -n "$dev_set" ] || { echo "speechlm.sh: --dev_set is empty. Name a set, or the dump/<codec>/<set> of another recipe." >&2; exit 2; }
overlay_folders=()
for name in $overlay; do
    folder=conf/$name
    if [ ! -d "$folder" ]; then folder=$driver/conf/$name; fi
    if [ ! -d "$folder" ]; then folder=$name; fi
    if [ ! -d "$folder" ]; then echo "speechlm.sh: --overlay $name: no folder conf/$name, nor in $driver/conf, nor $name." >&2; exit 2; fi
    overlay_folders+=("$folder")
    if [ -f "$folder/decode.yaml" ]; then decode_config=${decode_config:-$folder/decode.yaml}; fi
    if [ -f "$folder/llm_model.yaml" ]; then llm_model_config=${llm_model_config:-$folder/llm_model.yaml}; fi
done

if ! $dry_run; then
    lock "$expdir" || exit 2
    exec > >(trap '' INT TERM HUP; unlock "$expdir"; exec tee -a "$expdir/run.log") 2>&1    # lasts as long as somebody writes to it
fi

on_cpu() { run $cpu_cmd "$python" -m "speechlm.bin.$1" "${@:2}"; }
on_gpu() { run $gpu_cmd "$python" -m "speechlm.bin.$1" "${@:2}"; }
train() { run $train_cmd "$python" -m speechlm.bin.train "$@"; }

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

absolute() {        # absolute SET...: sets of other recipes by their full path
    local set
    for set in "$@"; do
        case $set in */*) realpath -m -- "$set" ;; *) echo "$set" ;; esac
    done
}

# shellcheck disable=SC2086  # lists of sets
train_sets=$(absolute $train_sets | paste -sd' ') dev_set=$(absolute $dev_set | paste -sd' ')

langs_of() {        # langs_of TASK: the languages to test it in (a translation is named by its source)
    case $1 in
        asr) echo "$asr_langs" ;;
        tts) echo "$tts_langs" ;;
        *) echo "$src_lang" ;;
    esac
}

lm_options=(--dump "$dump" --dev_set $dev_set --codec "$codec" --src_lang "$src_lang" --tgt_lang "$tgt_lang"
    --langs $langs --ngpu "$ngpu" --seed "$seed" --resume true)
if [ "$nodes" -gt 1 ]; then lm_options+=(--nodes "$nodes"); fi
scoring=(--protocol $protocol ${judge:+--judge "$judge"} --codec "$codec" --ngpu "$ngpu")

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
    if [ "$1" = "$probe_task" ]; then keep=(--keep_steps $probe_steps); fi
    train --config "$config" "${over[@]}" --output_dir "$expdir/${sft_name}_$1" "${sft_start[@]}" --train_sets $train_sets \
        "${lm_options[@]}" "${keep[@]}"
}

decode_task() {     # decode_task EXP NAME TASK: all sets and languages in one process
    local set lang manifests=() languages=() outs=()
    for set in $test_sets; do
        for lang in $(langs_of "$3"); do
            manifests+=("$dump/$set/manifest.jsonl") languages+=("$lang") outs+=("$1/decode_$3_${set}_$lang")
        done
    done
    on_gpu decode --exp "$1" --task "$3" --manifest "${manifests[@]}" --lang "${languages[@]}" --tgt_lang "$tgt_lang" \
        --codec "$codec" --config "$decode_config" --out "${outs[@]}" --ngpu "$ngpu" --seed "$seed"
}

ceiling() {         # ceiling SET
    on_gpu ceiling --data "$datadir/$1" --lang "$tgt_lang" --tasks $tasks $zero_shot_tasks "${scoring[@]}" \
        --out "$expdir/ceiling/$1" --cache "$dump/$1"
}

score_task() {      # score_task EXP NAME TASK: asr in all its languages at once (es+en), other tasks one by one
    local set group groups lang hyps target name
    groups=$(langs_of "$3")
    if [ "$3" = asr ]; then groups=${groups// /+}; fi
    for set in $test_sets; do
        for group in $groups; do
            hyps=() target=$group name=$set
            for lang in ${group//+/ }; do hyps+=("$1/decode_$3_${set}_$lang"); done
            case $3 in s2tt | s2st) target=$tgt_lang ;; esac
            if [ "$3" = tts ] && [ "$group" != "$tgt_lang" ]; then name=$set.$group; fi
            on_gpu score --task "$3" --hyp "${hyps[@]}" --ref "$datadir/$set" --src_lang "$group" --tgt_lang "$target" \
                --model "$2" --test_set "$name" "${scoring[@]}" --out "$1/score_$3_${set}_$group/score.json"
        done
    done
}

plan() {            # plan NAME CONFIG: what a training would take
    echo "$1:"
    on_cpu train --dry_run true --config "$2" "${over[@]}" --output_dir "$expdir/$1" --llm "${llm:-$small_llm}" \
        --train_sets $train_sets "${lm_options[@]}" ${gpu:+--gpu "$gpu"}
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
    for task in $tasks; do
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
    if [ -z "$local_data_opts" ] && [ -n "$preset" ] && [ -f "conf/$preset/data_opts" ]; then
        local_data_opts=$(cat "conf/$preset/data_opts")
    fi
    # shellcheck disable=SC2086  # several words
    export src_lang tgt_lang        # what local/data.sh takes if it has such options
    run local/data.sh --datadir "$datadir" --nj "$nj" $local_data_opts
fi

code_sets() {       # code_sets [--shard I/N]
    # shellcheck disable=SC2086  # lists of sets
    on_cpu extract_codes --data "$datadir" --train_sets $(own $train_sets $text_train_set) \
        --test_sets $(own $dev_set $test_sets $text_test_set) \
        --dump "$dump" --codec "$codec" --lang "$src_lang" --nj "$nj" --skip_bad "$skip_bad" "$@"
}

if want 2 "codes"; then
    if [ "$codes_jobs" -gt 1 ]; then run run_jobs "$codes_jobs" "$dump/log/codes" code_sets --shard; fi
    code_sets
fi

if want 3 "text"; then
    manifests=()
    for set in $(own $train_sets $text_train_set $dev_set $test_sets $text_test_set); do
        on_cpu manifest --data "$datadir/$set" --codes "$dump/$set" --lang "$src_lang"
    done
    for set in $train_sets $text_train_set; do
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
            --train_sets $train_sets $text_train_set "${lm_options[@]}"
    fi
fi

if want 5 "preflight"; then
    cpt_config=${cpt_config:-$(conf cpt)}
    overlays cpt
    on_gpu preflight --config "$cpt_config" "${over[@]}" --output_dir "$expdir/preflight${tag:+_$tag}" "${llm_start[@]}" \
        --train_sets $train_sets $text_train_set "${lm_options[@]}"
fi

if want 6 "cpt"; then
    if $skip_cpt || [ -n "$cpt_exp" ]; then
        echo "No CPT here: fine-tuning starts from ${sft_start[*]}"
    else
        cpt_config=${cpt_config:-$(conf cpt)}
        overlays cpt
        train --config "$cpt_config" "${over[@]}" --output_dir "$cpt_model" "${llm_start[@]}" \
            --train_sets $train_sets $text_train_set "${lm_options[@]}"
    fi
fi

if want 7 "sft"; then
    for_tasks train_task $tasks
fi

sft_models=() zero_shot_models=()       # EXP NAME TASK
for task in $tasks; do sft_models+=("$expdir/${sft_name}_$task $sft_name $task"); done
for task in $zero_shot_tasks; do zero_shot_models+=("$cpt_model $(basename "$cpt_model") $task"); done
for step in $probe_steps; do sft_models+=("$expdir/${sft_name}_$probe_task/steps/$step $sft_name@$step $probe_task"); done

if want 8 "decode"; then
    for_tasks decode_task "${sft_models[@]}" "${zero_shot_models[@]}"
fi

text_ability() {    # text_ability llm|cpt: perplexity and text tasks, before and after CPT
    local model=$expdir/llm folder=${llm:-$expdir/llm/llm}
    case $1 in
        llm) if $random_init; then return; fi ;;
        cpt) if $skip_cpt; then return; fi; model=$cpt_model folder=$cpt_model/llm ;;
        *) echo "speechlm.sh: --text_models $1: expected llm or cpt" >&2; exit 2 ;;
    esac
    local manifest=${text_test_set:+$dump/$text_test_set/manifest.jsonl}
    if [ -n "$manifest" ] && { [ "$1" = cpt ] || [ -z "$llm" ]; }; then       # an LLM from elsewhere is no model of ours
        on_cpu perplexity --exp "$model" --manifest "$manifest" --final_word "$final_word" --out "$expdir/perplexity/$(basename "$model")/score.json"
    fi
    if [ -n "$lm_eval_tasks" ]; then
        on_gpu lm_eval --llm "$folder" --tasks $lm_eval_tasks ${manifest:+--manifest "$manifest"} $lm_eval_opts \
            --out "$expdir/lm_eval/$(basename "$model")/score.json"
    fi
}

if want 9 "score"; then
    case " $tasks $zero_shot_tasks " in *" tts "* | *" s2st "*) for_tasks ceiling $test_sets ;; esac       # nothing else is spoken
    for_tasks score_task "${sft_models[@]}" "${zero_shot_models[@]}"
    for name in $text_models; do text_ability "$name"; done
fi

if want 10 "results"; then
    on_cpu results "$expdir" --out "$expdir"
    on_cpu report "$expdir" --data "$datadir" --src_lang "$src_lang" --train_sets $(own $train_sets)
fi
end_stage
