#!/usr/bin/env -S bash -p
# Makes the training data of a codec. espeak: 48 synthetic voices in es, en and zh, and real digits (those of the
# shipped codec_16k). pico: 32 voices of SVOX Pico in es, en, fr, de and it, open text in English, real read English
# (and three copies at other speeds), and real digits (those of codec_natural).
{   # read whole before anything runs: this file may change meanwhile
set -euo pipefail
datadir=data                # where the sets go
speech=espeak               # or pico
recordings=downloads/fsdd/recordings    # folder of the digits: made by egs/fsdd/local/data.sh, or your own
pairs=                      # sentences, each spoken in all languages (default: 2400 with espeak, 800 with pico)
eval_pairs=200              # sentences in each test set; keep the number that mini_cvss has, so that its own
                            # test sentences are in no training set
lines=11800                 # with pico: open sentences
speechocean=                # with pico: folder that holds speechocean762/, if you have it (default: fetched)
partial=false               # true: that folder holds only a part of the corpus
nj=2                        # number of parallel jobs
root=$(realpath -m "$0/../../../..")
. "$root/utils/parse_options.sh"
. "$root/egs/TEMPLATE/path.sh"

cvss=$root/egs/mini_cvss/local
make_pairs() {
    python "$cvss/make_corpus.py" --out "$datadir/$1" --languages "$2" --text_pairs 0 \
        --eval_pairs "$eval_pairs" --nj "$nj" "${@:3}"
}

if [ "$speech" = espeak ]; then
    make_pairs many es,en,zh --pairs "${pairs:-2400}" --voices "$cvss/voices_many.yaml"
else
    pico=(--voices "$cvss/voices_pico_many.yaml" --grammar "$cvss/grammar_wide.yaml" --mono 0)
    pairs=${pairs:-800}
    make_pairs pico es,en --pairs "$pairs" "${pico[@]}"
    make_pairs fr_de fr,de --pairs $((pairs / 4)) "${pico[@]}"
    make_pairs it_en it,en --pairs $((pairs / 4)) "${pico[@]}"
    python "$cvss/make_sentences.py" --out "$datadir/open" --lines "$lines" --nj "$nj"
    "$root/egs/speechocean762/local/data.sh" --datadir "$datadir/ocean" --speechocean "$speechocean" \
        --partial "$partial"
    python -m speechlm.bin.perturb --data "$datadir/ocean/train" --out "$datadir/ocean_sp" --copies 3 --lang en
fi
if [ ! -d "$recordings" ]; then
    "$root/egs/fsdd/local/data.sh" --datadir downloads/fsdd_data
    [ -d "$recordings" ] || recordings=downloads/free-spoken-digit-dataset/recordings
fi
python "$root/egs/mini_codec/local/make_digits.py" --recordings "$recordings" --out "$datadir/digits"
exit
}
