#!/usr/bin/env -S bash -p
# Makes the training data of the shipped codec: 48 synthetic voices in es, en and zh, and real digits.
{   # read whole before anything runs: this file may change meanwhile
set -euo pipefail
datadir=data                # where many/{train,dev} and digits go
recordings=downloads/fsdd/recordings    # the digits: made by egs/fsdd/local/data.sh, or a path of yours
pairs=2400                  # sentences, each spoken in the three languages
nj=2                        # number of parallel jobs
root=$(realpath -m "$0/../../../..")
. "$root/utils/parse_options.sh"
. "$root/egs/TEMPLATE/path.sh"

python "$root/egs/mini_cvss/local/make_corpus.py" --out "$datadir/many" --languages es,en,zh --pairs "$pairs" --text_pairs 0 \
    --voices "$root/egs/mini_cvss/local/voices_many.yaml" --nj "$nj"
if [ ! -d "$recordings" ]; then
    "$root/egs/fsdd/local/data.sh" --datadir downloads/fsdd_data
    [ -d "$recordings" ] || recordings=downloads/free-spoken-digit-dataset/recordings
fi
python "$root/egs/mini_codec/local/make_digits.py" --recordings "$recordings" --out "$datadir/digits"
exit
}
