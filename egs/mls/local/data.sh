#!/usr/bin/env -S bash -p
# Multilingual LibriSpeech -> Kaldi directories train_<lang>, train_1h_<lang>, train_10h_<lang>, dev_<lang>, test_<lang>
# of each language.
{   # read whole before anything runs: this file may change meanwhile
set -euo pipefail
langs=${langs:-pl}  # languages: some of en de nl fr es it pt pl (the recipe's)
format=opus         # opus, or flac (about four times the size)
mls=                # folder that holds mls_<language>_opus/ (flac: mls_<language>/) or their archives, if you have them
                    # (default: fetched)
downloads=downloads # where archives go
datadir=data        # where the sets go
nj=2                # number of parallel jobs (one suffices)
partial=false       # true: this is only a part of the corpus; sizes are printed, not checked
root=$(realpath -m "$0/../../../..")
. "$root/utils/parse_options.sh"
. "$root/egs/TEMPLATE/path.sh"

python -m speechlm.bin.prepare_corpus mls --langs "$langs" --format "$format" --mls "$mls" \
    --downloads "$downloads" --datadir "$datadir" --partial "$partial"
exit
}
