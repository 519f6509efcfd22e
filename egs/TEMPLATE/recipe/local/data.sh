#!/usr/bin/env -S bash -p
# @NAME@ -> Kaldi directories train, dev and test. The only part of the recipe that knows the corpus.
#
# It reads one table per set, $corpus/<set>.tsv, tab-separated with a header line:
#     @HEADER@
# Paths are relative to the table. If your corpus has no such tables, write them here first (with a short
# local/*.py), or write wav.scp, text and utt2spk yourself: python -m speechlm.bin.validate_data says what is missing.
{   # read whole before anything runs: this file may change meanwhile
set -euo pipefail

corpus=               # folder of the corpus, with train.tsv, dev.tsv and test.tsv
datadir=data          # where the Kaldi directories go
nj=2                  # number of parallel jobs
root=$(realpath -m "$0/../../../..")
. "$root/utils/parse_options.sh"
. "$root/egs/TEMPLATE/path.sh"

if [ -z "$corpus" ]; then
    echo "local/data.sh: the corpus is not known. Say where it is:" \
        "./run.sh --local_data_opts \"--corpus /path/to/@NAME@\"" >&2
    exit 1
fi
for set in train dev test; do
    python -m speechlm.bin.table_to_data --table "$corpus/$set.tsv" --out "$datadir/$set"
done
exit
}
