#!/usr/bin/env -S bash -p
# mini_codec: trains the shipped codec (codec_16k) and measures it. About five minutes on two cores.
{   # read whole before anything runs: this file may change meanwhile
set -euo pipefail
stage=1                     # first stage: 1 data, 2 train, 3 measure
stop_stage=3                # last stage
config=conf/codec.yaml      # conf/codec_vocos.yaml: the same analysis, with more codebooks and a neural decoder (hours on one core; resumable)
expdir=exp/codec            # codec folder: give it to any recipe as --codec
datadir=data                # where the data go
recordings=downloads/fsdd/recordings    # folder of the digits, if you have them
pairs=2400                  # sentences of the synthetic voices
root=$(realpath -m "$0/../../..")
. "$root/utils/parse_options.sh"
. "$root/egs/TEMPLATE/path.sh"
"$root/tools/install.sh"
cd "$root/egs/mini_codec"

if [ "$stage" -le 1 ] && [ "$stop_stage" -ge 1 ]; then
    local/data.sh --datadir "$datadir" --recordings "$recordings" --pairs "$pairs"
fi
if [ "$stage" -le 2 ] && [ "$stop_stage" -ge 2 ]; then
    # each --data gets the same share of the clips: two thirds synthetic voices
    python -m speechlm.bin.train_codec --config "$config" --out "$expdir" --threads 1 \
        --data "$datadir/many/train" "$datadir/many/train" "$datadir/digits" --dev "$datadir/many/dev"
fi
if [ "$stage" -le 3 ] && [ "$stop_stage" -ge 3 ]; then
    python -m speechlm.bin.codec_report --codec "$expdir" --data "$datadir/many/dev" --json "$expdir/report.json"
fi
exit
}
