#!/usr/bin/env -S bash -p
# The paper's comparison: arms that differ in one respect, each run with each seed, all by a recipe's ./run.sh. Call it
# in the recipe's folder.
#
#   base      data, codes, text tokenizer, LLM and its text scores  data/, dump/, exp/arms/base/
#   pieces    one arm with one seed: CPT, fine-tuning, decoding,    exp/arms/seed<S>/<arm>/
#             the probe, scores
#   tables    over all finished pieces                              exp/arms/RESULTS.md, figures.json, *.png,
#                                                                   tensorboard/
#
# Finished work is kept, and interrupted work is resumed: the same command may be run again at any time, in parts if you
# like.
{                           # read whole before anything runs: this file may change meanwhile
set -euo pipefail

## What
stage=1                     # 1: base, 2: pieces, 3: tables
stop_stage=3                # last stage
arms="joint speech_only no_cpt random no_replay"    # names of conf/arms; NAME_30: with the percentage 30
seeds="1 2"                 # each arm is run with each of these
tasks=                      # only these tasks (default: all tasks of the arm)
probe="1 2 5 10 25 50"      # percentages of the fine-tuning of probe_task after which it is scored
probe_task=s2st             # task that is also scored in the course of its fine-tuning
overlay=                    # settings for all arms, which override the recipe's: folders, or names of folders in conf
                            # or egs/TEMPLATE/conf
protocol=mini_voice         # how to score
## Machine
arms_nj=2                   # pieces to run at the same time; they share the cores
ngpu=0                      # number of GPUs for each piece (0: CPU); ten small pieces can share a GPU:
                            # nvidia-cuda-mps-control -d
python=                     # Python to use (default: the one that tools/install.sh installs)
## Recipe
preset=                     # the recipe's smaller settings
expdir=                     # models and results (default: exp/arms)
datadir=                    # Kaldi directories (default: data)
dumpdir=                    # codec tokens (default: dump)
codec=codec_natural:4       # codec
llm=                        # textual LLM that all arms start from (default: pre-train a small one, in base)
test_sets="test"            # test sets
opts=                       # further options of run.sh, for all arms

driver=$(realpath -m "$0/..")
. "$driver/../../utils/parse_options.sh"
. "$driver/../../utils/stages.sh"
. "$driver/../../utils/place.sh"
if [ "$stage" -le 2 ]; then need_gpus "$ngpu"; fi
install_python

lists arms seeds tasks probe overlay opts
datadir=$(as_folder "${datadir:-data${preset:+/$preset}}")
dumpdir=$(as_folder "${dumpdir:-dump${preset:+/$preset}}")
expdir=$(as_folder "${expdir:-exp${preset:+/$preset}/arms}")
dump=$dumpdir/$(basename -- "${codec//:/_}")
base_llm=${llm:-$expdir/base/llm/llm}
recipe=(./run.sh --python "$python" --preset "$preset" --datadir "$datadir" --dumpdir "$dumpdir" --codec "$codec"
    --ngpu "$ngpu" "${opts[@]}")
overlays=()
for name in "${overlay[@]}"; do
    folder=conf/$name
    if [ ! -d "$folder" ]; then folder=$driver/conf/$name; fi
    if [ ! -d "$folder" ]; then folder=$name; fi
    overlays+=("$folder")
done

piece() {           # piece SEED ARM
    local out=$expdir/seed$1/$2 options inputs=("$dump"/*/manifest.jsonl)
    if [ -f "$base_llm/model.safetensors" ]; then inputs+=("$base_llm/model.safetensors"); fi
    options=$("$python" -m speechlm.bin.arms prepare --arm "$2" --seed "$1" --exp "$expdir" \
        --options="--protocol $protocol ${opts[*]}" \
        --conf "$driver/conf" conf ${preset:+"conf/$preset"} --overlay "${overlays[@]}" \
        --inputs "${inputs[@]}" --tasks "${tasks[@]}" --probe_task "$probe_task" --probe "${probe[@]}")
    if [ -z "$options" ]; then echo "finished: $out"; return; fi
    mapfile -t options <<< "$options"
    "${recipe[@]}" "${options[@]}" --stage 6 --stop_stage 9 --seed "$1" --expdir "$out" --llm "$base_llm" \
        --protocol "$protocol" --task_nj 1 --test_sets "$test_sets" --text_models cpt
    mv "$out/piece.todo.json" "$out/piece.json"
}

if want 1 "base"; then
    last=$([ -n "$llm" ] && echo 3 || echo 4)
    run "${recipe[@]}" --stage 1 --stop_stage "$last" --expdir "$expdir/base" ${llm:+--llm "$llm"}
    run "${recipe[@]}" --stage 9 --stop_stage 9 --expdir "$expdir/base" ${llm:+--llm "$llm"} \
        --tasks "" --zero_shot_tasks "" --text_models llm
fi

if want 2 "pieces"; then
    pieces=()
    for seed in "${seeds[@]}"; do
        for arm in "${arms[@]}"; do pieces+=("$seed $arm"); done
    done
    cores=$(nproc)
    export OMP_NUM_THREADS=$((cores > arms_nj ? cores / arms_nj : 1))
    run in_parallel "$arms_nj" piece "${pieces[@]}"
    unset OMP_NUM_THREADS
fi

if want 3 "tables"; then
    run "$python" -m speechlm.bin.arms tables --exp "$expdir" --arms "${arms[@]}" --seeds "${seeds[@]}"
fi
end_stage
exit
}
