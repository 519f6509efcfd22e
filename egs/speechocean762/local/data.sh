#!/usr/bin/env -S bash -p
# speechocean762 -> Kaldi directories train, dev, test; test with `prompts`.
{   # read whole before anything runs: this file may change meanwhile
set -euo pipefail
speechocean=        # folder that holds speechocean762/ or its archive, if you have it (default: fetched)
downloads=downloads # where the archive goes
datadir=data        # where the sets go
nj=2                # number of parallel jobs (one suffices)
partial=false       # true: this is only a part of the corpus; sizes are printed, not checked
root=$(realpath -m "$0/../../../..")
. "$root/utils/parse_options.sh"
. "$root/egs/TEMPLATE/path.sh"

python -m speechlm.bin.prepare_corpus speechocean762 --speechocean "$speechocean" --downloads "$downloads" \
    --datadir "$datadir" --partial "$partial"
exit
}
