#!/usr/bin/env -S bash -p
# Makes the training and test data of the shipped judge: 48 synthetic voices, word lists, real digits.
{   # read whole before anything runs: this file may change meanwhile
set -euo pipefail
datadir=data                # where many, words, mini_cvss and fsdd go
fsdd=                       # folder of the Free Spoken Digit Dataset, if you have it
nj=2                        # number of parallel jobs
root=$(realpath -m "$0/../../../..")
. "$root/utils/parse_options.sh"
. "$root/egs/TEMPLATE/path.sh"

cvss=$root/egs/mini_cvss/local
python "$cvss/make_corpus.py" --out "$datadir/many" --languages es,en,zh --pairs 2400 --text_pairs 0 --voices "$cvss/voices_many.yaml" --nj "$nj"
python "$cvss/make_words.py" --out "$datadir/words" --nj "$nj"
# only the test sets: their voices and sentences are not in the training data
python "$cvss/make_corpus.py" --out "$datadir/mini_cvss" --languages es,en --pairs 8 --text_pairs 0 --nj "$nj"
"$root/egs/fsdd/local/data.sh" --datadir "$datadir/fsdd" --fsdd "$fsdd" --copies 0
exit
}
