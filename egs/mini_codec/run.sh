#!/usr/bin/env -S bash -p
# mini_codec: trains the shipped codec (codec_16k) and measures it. About five minutes on two cores.
# The other shipped codec (codec_natural): natural voices and real speech, learned codes, a neural decoder; ten minutes
# with a GPU:
#     ./run.sh --speech pico --config conf/codec_natural.yaml --ngpu 1 --expdir exp/natural
{   # read whole before anything runs: this file may change meanwhile
set -euo pipefail
stage=1                     # first stage: 1 data, 2 train, 3 measure
stop_stage=3                # last stage
config=conf/codec.yaml      # or conf/codec_natural.yaml; codec_natural_cpu.yaml takes hours on one core
ngpu=0                      # 1: train on a GPU
expdir=exp/codec            # codec folder: give it to any recipe as --codec
datadir=data                # where the data go
recordings=downloads/fsdd/recordings    # folder of the digits, if you have them
pairs=                      # sentences of the synthetic voices (default: 2400 with espeak, 800 with pico)
eval_pairs=200              # sentences in each test set; keep the number that mini_cvss has, so that its own
                            # test sentences are in no training set
lines=11800                 # with pico: open sentences
speech=espeak               # or pico: voices of SVOX Pico, open text in English, real read English (speechocean762)
speechocean=                # with pico: folder that holds speechocean762/, if you have it
partial=false               # true: that folder holds only a part of the corpus
nj=2                        # number of parallel jobs of the data
root=$(realpath -m "$0/../../..")
. "$root/utils/parse_options.sh"
. "$root/egs/TEMPLATE/path.sh"
"$root/tools/install.sh"
cd "$root/egs/mini_codec"

case $speech in     # each folder gets the same share of the clips: one that is named twice gets two
    espeak) train=(many/train many/train digits) dev=(many/dev) ;;
    pico)
        train=(open open open pico/train pico/train fr_de/train it_en/train ocean_sp ocean_sp ocean_sp digits)
        dev=(pico/test_unheard ocean/dev) ;;
    *) echo "run.sh: --speech $speech: expected espeak or pico" >&2; exit 1 ;;
esac

if [ "$stage" -le 1 ] && [ "$stop_stage" -ge 1 ]; then
    local/data.sh --datadir "$datadir" --recordings "$recordings" --speech "$speech" --speechocean "$speechocean" \
        --partial "$partial" --pairs "$pairs" --eval_pairs "$eval_pairs" --lines "$lines" --nj "$nj"
fi
if [ "$stage" -le 2 ] && [ "$stop_stage" -ge 2 ]; then
    python -m speechlm.bin.train_codec --config "$config" --out "$expdir" --threads 1 --ngpu "$ngpu" \
        --data "${train[@]/#/$datadir/}" --dev "${dev[@]/#/$datadir/}"
fi
if [ "$stage" -le 3 ] && [ "$stop_stage" -ge 3 ]; then
    python -m speechlm.bin.codec_report --codec "$expdir" --data "${dev[@]/#/$datadir/}" --json "$expdir/report.json"
fi
exit
}
