#!/usr/bin/env -S bash -p
# Speed of the codebook patterns, one after the other, one thread, on a machine that does nothing else: 25 steps of
# training after 25 others, and decoding of a test set by the models that run_arms.sh --overlay patterns left.
#
#   cd egs/mini_cvss; PYTHON=../../tools/venv/bin/python ../../tests/long/pattern_speed.sh exp/arms dump/codec_16k
{   # read whole before anything runs: this file may change meanwhile
set -euo pipefail

exp=$1 dump=$2 python=${PYTHON:-python}
export OMP_NUM_THREADS=1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { cat "$1" >&2; exit 1; }

echo "| pattern | steps/s | utterances/s decoded | seconds for all |"
echo "|---|---:|---:|---:|"
for pattern in parallel delay depth flatten; do
    piece=$exp/seed1/$pattern
    layers=(../TEMPLATE/conf/{sft,sft_tts}.yaml conf/{sft,sft_tts}.yaml conf/patterns/sft_tts.yaml)
    if [ -f "$piece/conf/sft.yaml" ]; then layers+=("$piece/conf/sft.yaml"); fi
    "$python" -m speechlm.bin.train --config ../TEMPLATE/conf/train.yaml --overlay "${layers[@]}" \
        --output_dir "$work/$pattern" --llm "$exp/base/llm/llm" --train_sets train train_mono --dump "$dump" \
        --dev_set dev --codec codec_16k --src_lang es --tgt_lang en --langs es en --ngpu 0 --seed 1 --max_steps 50 \
        --log_interval 25 --eval_examples 4 > "$work/train.log" 2>&1 || fail "$work/train.log"
    "$python" -m speechlm.bin.decode --exp "$piece/sft_tts" --task tts --manifest "$dump/test/manifest.jsonl" \
        --lang en --tgt_lang en --codec codec_16k --config conf/decode.yaml --out "$work/$pattern/decoded" \
        --ngpu 0 --seed 1 > "$work/decode.log" 2>&1 || fail "$work/decode.log"
    steps=$(grep -oE '[0-9.]+ steps/s' "$work/train.log" | tail -n 1)
    "$python" - "$pattern" "$steps" "$work/$pattern/decoded/cost.json" <<'PYTHON'
import json
import sys

pattern, steps, path = sys.argv[1:]
cost = json.load(open(path))
speed = cost["utterances"] / cost["seconds"]
print(f"| {pattern} | {steps.split()[0]} | {speed:.1f} | {cost['seconds']} |", flush=True)
PYTHON
done
exit
}
