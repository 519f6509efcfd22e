#!/usr/bin/env -S bash -p
# mini_judge: trains a shipped judge and measures it. judge_en: about an hour on one core.
# judge_natural, for natural voices (ten minutes on a GPU, or a night on one core; run the command again to resume):
#     ./run.sh --text natural --codec codec_natural:4 --ngpu 1 --expdir exp/natural
# A judge that is trained without a grammar: --text open.
{   # read whole before anything runs: this file may change meanwhile
set -euo pipefail
stage=1                     # first stage: 1 data, 2 train, 3 adapt, 4 measure
stop_stage=4                # last stage
expdir=exp                  # the judge is $expdir/judge: give it to any recipe as --judge
datadir=data                # where the data go
fsdd=                       # folder of the Free Spoken Digit Dataset, if you have it
text=grammar                # or open: 12,000 open sentences by SVOX Pico, speechocean762 and digits; or natural:
                            # the same, then sentences of mini_cvss in many voices
speechocean=                # with open: folder that holds speechocean762/, if you have it
partial=false               # true: that folder holds only a part of the corpus
codec=codec_16k             # codec whose reconstructions are measured
ngpu=0                      # 1: train on a GPU
nj=2                        # number of parallel jobs of the data
root=$(realpath -m "$0/../../..")
. "$root/utils/parse_options.sh"
. "$root/egs/TEMPLATE/path.sh"
"$root/tools/install.sh"
cd "$root/egs/mini_judge"

digits=$datadir/fsdd
case $text in
    grammar)
        train=("$datadir/many/train" "$datadir/words") dev=("$datadir/many/dev" "$digits/dev") options=()
        tests=(mini_cvss/test mini_cvss/test_unheard fsdd/test) ;;
    open | natural)
        train=("$datadir/open" "$datadir/ocean_sp") options=(--config conf/open.yaml --copies 1)
        dev=("$datadir/open_dev") tests=(pico/test pico/test_unheard ocean/test fsdd/test) ;;
    *) echo "run.sh: --text $text: expected grammar, open or natural" >&2; exit 1 ;;
esac

if [ "$stage" -le 1 ] && [ "$stop_stage" -ge 1 ]; then
    local/data.sh --datadir "$datadir" --fsdd "$fsdd" --nj "$nj" --text "$text" --speechocean "$speechocean" \
        --partial "$partial"
fi
fit() { python -m speechlm.bin.train_judge "${options[@]}" --dev "${dev[@]}" --lang en --ngpu "$ngpu" --nj "$nj" "$@"; }

if [ "$stage" -le 2 ] && [ "$stop_stage" -ge 2 ]; then
    fit --data "${train[@]}" "$digits/train" --out "$expdir/first"
fi
if [ "$stage" -le 3 ] && [ "$stop_stage" -ge 3 ]; then
    if [ "$text" = grammar ]; then                              # real digits are rare and hard: four times as often
        again=("$digits/train" "$digits/train" "$digits/train" "$digits/train") options+=(--epochs 6 --max_lr 0.0015)
    else                                                        # everyday words are rare in open text
        again=("$datadir/words" "$digits/train") options+=(--config conf/open.yaml conf/adapt.yaml)
    fi
    adapted=$expdir/judge
    if [ "$text" = natural ]; then adapted=$expdir/open; fi
    fit --init "$expdir/first" --data "${train[@]}" "${again[@]}" --out "$adapted"
    if [ "$text" = natural ]; then
        natural=("$datadir/natural/train" "$datadir/natural/train_mono")
        options=(--config conf/open.yaml conf/natural.yaml --copies 1) dev=("$datadir/natural/test_unheard")
        fit --init "$adapted" --out "$expdir/judge" \
            --data "${natural[@]}" "${natural[@]}" "${natural[@]}" "$digits/train" "$datadir/open"
    fi
fi
if [ "$stage" -le 4 ] && [ "$stop_stage" -ge 4 ]; then
    for set in "${tests[@]}"; do
        python -m speechlm.bin.ceiling --data "$datadir/$set" --lang en --codec "$codec" --judge "$expdir/judge" \
            --test_set "$set" --out "$expdir/ceiling/$set"
    done
    python -m speechlm.bin.results "$expdir/ceiling" --out "$expdir"
fi
exit
}
