# shellcheck shell=bash
# shellcheck disable=SC2154       # the options are declared by the driver that sources this
# What the stages of egs/TEMPLATE/speechlm.sh call: folders, settings, sets, models, and one function for each kind of
# work.

fail() { echo "speechlm.sh: $*" >&2; exit 2; }
if ! $dry_run && [ "$stage" -le 9 ] && [ "$stop_stage" -ge 2 ]; then need_gpus "$ngpu"; fi

all_langs=$langs            # langs itself may be exported, for local/data.sh
lists all_langs train_sets text_train_set dev_set test_sets text_test_set tasks sft_from zero_shot_tasks probe_steps \
    lm_eval_tasks lm_eval_opts local_data_opts keep_published text_models overlay protocol
[ ${#dev_set[@]} -gt 0 ] || $dry_run ||
    fail "--dev_set is empty. Name a set, or the dump/<codec>/<set> of another recipe (--dry_run true needs none)."
task_nj=${task_nj:-$((ngpu > 0 ? 1 : 2))}
[[ $task_nj =~ ^[0-9]+$ ]] || fail "--task_nj takes a whole number, found '$task_nj'."

## Folders
datadir=$(as_folder "${datadir:-data${preset:+/$preset}}")
dumpdir=$(as_folder "${dumpdir:-dump${preset:+/$preset}}")
expdir=$(as_folder "${expdir:-exp${preset:+/$preset}}")
dump=$dumpdir/$(basename -- "${codec//:/_}")
cpt_model=${cpt_exp:-$expdir/cpt${tag:+_$tag}}
sft_name=sft${tag:+_$tag}
llm_of_cpt=false            # true: the textual LLM is the one within --cpt_exp, and none is trained
if [ -n "$cpt_exp" ] && [ -z "$llm" ] && ! $skip_cpt; then llm=$cpt_exp/llm llm_of_cpt=true; fi

## Settings
overlay_folders=()
for name in ${preset:+"$preset"} "${overlay[@]}"; do
    folder=conf/$name
    if [ ! -d "$folder" ]; then folder=$driver/conf/$name; fi
    if [ ! -d "$folder" ]; then folder=$name; fi
    [ -d "$folder" ] || fail "--overlay $name: found no folder conf/$name, $driver/conf/$name or $name."
    overlay_folders+=("$folder")
done
install_python
if ! $dry_run; then
    lock "$expdir" || exit 2
    # lasts as long as somebody writes to it
    exec > >(trap '' INT TERM HUP; unlock "$expdir"; exec tee -a "$expdir/run.log") 2>&1
fi

layers() {          # layers NAME: sets `settings` to the options for the YAML files of a training
    local given=${1%%_*}_config files
    files=$("$python" -m speechlm.bin.layers "$1" --folders "$driver/conf" conf --overlays "${overlay_folders[@]}" \
        --given="${!given}") || return 1
    mapfile -t files <<< "$files"
    settings=(--config "${files[0]}" --overlay "${files[@]:1}")
}

config_files() {    # config_files NAME GIVEN: sets `files` to GIVEN, or to NAME.yaml of each layer
    local folder
    files=(${2:+"$2"})
    if [ -n "$2" ]; then return; fi
    for folder in "$driver/conf" conf "${overlay_folders[@]}"; do
        if [ -f "$folder/$1.yaml" ]; then files+=("$folder/$1.yaml"); fi
    done
}
config_files decode "$decode_config"
decode_configs=("${files[@]}")
config_files llm_model "$llm_model_config"
llm_model_configs=("${files[@]}")

## Sets: one with a slash is of another recipe
absolute() {        # absolute NAME: in this array, sets of other recipes by their full path
    local -n sets=$1
    local i
    for i in "${!sets[@]}"; do
        case ${sets[i]} in */*) sets[i]=$(realpath -m -- "${sets[i]}") ;; esac
    done
}
own() {             # own SET...: the sets that this recipe prepares
    local set
    for set in "$@"; do
        case $set in */*) ;; *) echo "$set" ;; esac
    done
}
absolute train_sets
absolute dev_set
mapfile -t own_train_sets < <(own "${train_sets[@]}")
mapfile -t own_text_train_sets < <(own "${text_train_set[@]}")
mapfile -t own_test_sets < <(own "${dev_set[@]}" "${test_sets[@]}" "${text_test_set[@]}")
all_train_sets=("${train_sets[@]}" "${text_train_set[@]}")
manifests_of() {     # manifests_of SET...
    local set
    for set in "$@"; do
        case $set in */*) echo "$set/manifest.jsonl" ;; *) echo "$dump/$set/manifest.jsonl" ;; esac
    done
}
mapfile -t train_manifests < <(manifests_of "${all_train_sets[@]}")
mapfile -t dev_manifests < <(manifests_of "${dev_set[@]}")

## Models, and what is decoded with them
llm_start=(--llm "$expdir/llm/llm")                         # what CPT starts from: the textual LLM
if [ -n "$llm" ]; then llm_start=(--llm "$llm"); fi
if $random_init; then llm_start=(--llm "${llm:-$expdir/text_tokenizer}" --llm_random true); fi
sft_start=(--init_from "$cpt_model")                        # what fine-tuning starts from
if $skip_cpt; then sft_start=("${llm_start[@]}"); fi
declare -A from_task=()                                     # --sft_from; none: all start from CPT
for pair in "${sft_from[@]}"; do
    if [ "$pair" != none ]; then from_task[${pair%%=*}]=${pair#*=}; fi
done
tasks_of_cpt=() tasks_of_tasks=()
for task in "${tasks[@]}"; do
    if [ -n "${from_task[$task]-}" ]; then tasks_of_tasks+=("$task"); else tasks_of_cpt+=("$task"); fi
done
models=()                                                   # of model_of
for task in "${tasks[@]}"; do models+=("sft $task"); done
for step in "${probe_steps[@]}"; do models+=("$step $probe_task"); done
for task in "${zero_shot_tasks[@]}"; do models+=("zero_shot $task"); done
# How the tasks are tested, as speechlm/tasks says: lines TASK speech|text SRC TGT SUFFIX LANG...
tests=$("$python" -m speechlm.bin.tasks --tasks "${tasks[@]}" "${zero_shot_tasks[@]}" ${probe_task:+"$probe_task"} \
    --langs "${all_langs[@]}" --src_lang "$src_lang" --tgt_lang "$tgt_lang" \
    --only "asr=${asr_langs// /+}" "tts=${tts_langs// /+}") || exit 2
mapfile -t tests <<< "$tests"

lm_options=(--dump "$dump" --codec "$codec" --src_lang "$src_lang" --tgt_lang "$tgt_lang" --langs "${all_langs[@]}"
    --ngpu "$ngpu" --seed "$seed" --resume true)
if [ ${#dev_set[@]} -gt 0 ]; then lm_options+=(--dev_set "${dev_set[@]}"); fi
if [ "$nodes" -gt 1 ]; then lm_options+=(--nodes "$nodes"); fi
judging=(--protocol "${protocol[@]}" ${judge:+--judge "$judge"})
scoring=("${judging[@]}" --codec "$codec" --ngpu "$ngpu")


on_cpu() { run "${cpu_cmd[@]}" "$python" -m "speechlm.bin.$1" "${@:2}"; }
on_gpu() { run "${gpu_cmd[@]}" "$python" -m "speechlm.bin.$1" "${@:2}"; }

code_sets() {       # code_sets [--shard I/N]
    local where=on_cpu
    if [ "$ngpu" -gt 0 ]; then where=on_gpu; fi
    "$where" extract_codes --ngpu "$ngpu" --data "$datadir" \
        --train_sets "${own_train_sets[@]}" "${own_text_train_sets[@]}" \
        --test_sets "${own_test_sets[@]}" --keep_published "${keep_published[@]}" \
        --dump "$dump" --codec "$codec" --lang "$src_lang" --nj "$nj" --skip_bad "$skip_bad" "$@"
}

train() {           # train NAME OPTION...: with the settings of NAME
    local settings
    layers "$1" || return 1
    run "${train_cmd[@]}" "$python" -m speechlm.bin.train "${settings[@]}" "${@:2}" "${lm_options[@]}"
}

fine_tune() {       # fine_tune TASK
    local keep=() start=("${sft_start[@]}")
    if [ "$1" = "$probe_task" ]; then keep=(--keep_steps "${probe_steps[@]}"); fi
    if [ -n "${from_task[$1]-}" ]; then start=(--init_from "$expdir/${sft_name}_${from_task[$1]}"); fi
    train "sft_$1" --output_dir "$expdir/${sft_name}_$1" "${start[@]}" --train_sets "${train_sets[@]}" "${keep[@]}"
}

# preflight: can the outputs be scored, can the model learn one batch by heart, and are the rows of all trainings that
# follow long enough?
preflight() {
    local settings task trainings=()
    if [ "$stop_stage" -ge 9 ] && [ ${#tasks[@]} -gt 0 ]; then
        on_cpu check_scoring --tasks "${tasks[@]}" "${judging[@]}"
    fi
    for task in "${tasks[@]}"; do
        layers "sft_$task" || return 1
        trainings+=(--training "${settings[1]}" "${settings[@]:3}")
    done
    layers cpt || return 1
    if ! $skip_cpt && [ -z "$cpt_exp" ]; then trainings+=(--training "${settings[1]}" "${settings[@]:3}"); fi
    on_gpu preflight "${settings[@]}" --output_dir "$expdir/preflight${tag:+_$tag}" "${llm_start[@]}" \
        --train_sets "${all_train_sets[@]}" "${lm_options[@]}" "${trainings[@]}"
}

# for_tasks FUNCTION "WORDS TASK"...: several at a time, sharing the cores (nproc: no more than OMP_NUM_THREADS)
for_tasks() {
    local cores jobs=$(($# - 1 < task_nj ? $# - 1 : task_nj)) before=${OMP_NUM_THREADS-}
    if [ "$jobs" -eq 0 ]; then return; fi
    cores=$(nproc)
    if [ "$ngpu" -eq 0 ]; then export OMP_NUM_THREADS=$((cores > jobs ? cores / jobs : 1)); fi
    run in_parallel "$task_nj" "$@"
    if [ -n "$before" ]; then OMP_NUM_THREADS=$before; else unset OMP_NUM_THREADS; fi
}

# model_of sft|zero_shot|STEP TASK: sets `model` (fine-tuned, that of CPT, or a step of the fine-tuning), its `name`,
# and `out`
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
        --tgt_lang "$tgt_lang" --codec "$codec" --config "${decode_configs[@]}" --ngpu "$ngpu" --seed "$seed"
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
            on_gpu score --task "$2" --hyp "${hyps[@]}" --ref "$datadir/$set" \
                --src_lang "${words[2]}" --tgt_lang "${words[3]}" \
                --model "$name" --test_set "$set${words[4]#-}" "${scoring[@]}" \
                --out "$out/score_$2_${set}_${words[2]}/score.json"
        done
    done
}

text_ability() {    # text_ability llm|cpt: perplexity and text tasks, before and after CPT
    local model=$expdir/llm folder=${llm:-$expdir/llm/llm}
    case $1 in
        llm) if $random_init || $llm_of_cpt; then return; fi ;;
        cpt) if $skip_cpt; then return; fi; model=$cpt_model folder=$cpt_model/llm ;;
        *) fail "--text_models $1: expected llm or cpt" ;;
    esac
    local manifest=${text_test_set[*]:+$dump/${text_test_set[*]}/manifest.jsonl}
    if [ -n "$manifest" ] && { [ "$1" = cpt ] || [ -z "$llm" ]; }; then     # an LLM from elsewhere is no model of ours
        on_cpu perplexity --exp "$model" --manifest "$manifest" --final_word "$final_word" \
            --out "$expdir/perplexity/$(basename -- "$model")/score.json"
    fi
    if [ ${#lm_eval_tasks[@]} -gt 0 ]; then
        on_gpu lm_eval --llm "$folder" --tasks "${lm_eval_tasks[@]}" ${manifest:+--manifest "$manifest"} \
            "${lm_eval_opts[@]}" --out "$expdir/lm_eval/$(basename -- "$model")/score.json"
    fi
}

plan() {            # plan NAME [FOLDER]: what a training would take
    local settings folder=${2:-$1} of_llm=(--llm_model_config "${llm_model_configs[@]}")
    layers "$1" || return 1
    echo "$folder:"
    if [ -n "$llm" ]; then of_llm=(--llm "$llm"); fi
    on_cpu train --dry_run true "${settings[@]}" --output_dir "$expdir/$folder" "${of_llm[@]}" \
        --train_sets "${train_sets[@]}" "${lm_options[@]}" ${gpu:+--gpu "$gpu"}
}

plan_trainings() {
    local task
    if [ -z "$llm" ] && ! $random_init; then plan llm; fi
    if ! $skip_cpt && [ -z "$cpt_exp" ]; then plan cpt "cpt${tag:+_$tag}"; fi
    for task in "${tasks[@]}"; do plan "sft_$task" "${sft_name}_$task"; done
}
