#!/usr/bin/env -S bash -p
# Makes the training and test data of a judge.
# grammar: 48 synthetic voices, word lists, real digits (the data of judge_en).
# open: open sentences and lists of common words in 32 voices of SVOX Pico, real read English (three copies at other
# speeds), real digits; a corpus's grammar is used for the test sets only.
# natural: the same, and sentences of mini_cvss in many voices (the data of judge_natural).
{   # read whole before anything runs: this file may change meanwhile
set -euo pipefail
datadir=data                # where many, words, mini_cvss and fsdd go
fsdd=                       # folder of the Free Spoken Digit Dataset, if you have it
text=grammar                # or open, or natural
speechocean=                # with open: folder that holds speechocean762/, if you have it (default: fetched)
partial=false               # true: that folder holds only a part of the corpus
nj=2                        # number of parallel jobs
root=$(realpath -m "$0/../../../..")
. "$root/utils/parse_options.sh"
. "$root/egs/TEMPLATE/path.sh"

cvss=$root/egs/mini_cvss/local
if [ "$text" = grammar ]; then
    python "$cvss/make_corpus.py" --out "$datadir/many" --languages es,en,zh --pairs 2400 --text_pairs 0 \
        --voices "$cvss/voices_many.yaml" --nj "$nj"
    python "$cvss/make_words.py" --out "$datadir/words" --nj "$nj"
    # only the test sets: their voices and sentences are not in the training data
    python "$cvss/make_corpus.py" --out "$datadir/mini_cvss" --languages es,en --pairs 8 --text_pairs 0 --nj "$nj"
else
    python "$cvss/make_sentences.py" --out "$datadir/open" --lines 11800 --nj "$nj"
    python "$cvss/make_sentences.py" --out "$datadir/open_dev" --skip 11800 --group unheard --nj "$nj"
    python "$root/egs/mini_judge/local/make_common_words.py" --out "$datadir/words" --nj "$nj"
    python "$cvss/make_corpus.py" --out "$datadir/pico" --languages es,en --pairs 8 --mono 0 --text_pairs 0 --nj "$nj" \
        --voices "$cvss/voices_pico.yaml" --grammar "$cvss/grammar_wide.yaml"
    "$root/egs/speechocean762/local/data.sh" --speechocean "$speechocean" --datadir "$datadir/ocean" \
        --partial "$partial"
    python -m speechlm.bin.perturb --data "$datadir/ocean/train" --out "$datadir/ocean_sp" --copies 3 --lang en
fi
if [ "$text" = natural ]; then
    # sentences come in one order, and with mini_cvss's own --eval_pairs none of its tests is in train or train_mono
    python "$cvss/make_corpus.py" --out "$datadir/natural" --languages en --pairs 2600 --mono 2000 --text_pairs 0 \
        --voices "$cvss/voices_pico_many.yaml" --grammar "$cvss/grammar_wide.yaml" --nj "$nj"
fi
"$root/egs/fsdd/local/data.sh" --datadir "$datadir/fsdd" --fsdd "$fsdd" --copies 0
exit
}
