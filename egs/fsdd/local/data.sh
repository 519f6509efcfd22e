#!/usr/bin/env -S bash -p
# Prepares the Free Spoken Digit Dataset: data/{train,dev,test}, 8 kHz English digits of six real speakers.
# Run it in egs/fsdd. Without --fsdd, the public repository is cloned into downloads/ (about 30 MB).
{   # read whole before anything runs: this file may change meanwhile
set -euo pipefail
fsdd=               # folder with recordings/ or recordings.tar.gz, if you have the corpus already
address=https://github.com/Jakobovski/free-spoken-digit-dataset   # where it is cloned from
datadir=data        # where train, dev and test go
nj=2                # number of parallel jobs (one suffices)
copies=8            # perturbed copies of each training recording
root=$(realpath -m "$0/../../../..")
. "$root/utils/parse_options.sh"
. "$root/egs/TEMPLATE/path.sh"

if [ -z "$fsdd" ]; then
    fsdd=downloads/free-spoken-digit-dataset
    if [ ! -d "$fsdd/recordings" ]; then
        rm -rf "$fsdd.partial"
        git clone --depth 1 "$address" "$fsdd.partial" || {
            echo "data.sh: could not clone $address. If you have the corpus, give its folder: --fsdd DIR" >&2
            exit 1
        }
        rm -rf "$fsdd" && mv "$fsdd.partial" "$fsdd"
    fi
fi

python "$root/egs/fsdd/local/make_data.py" --fsdd "$fsdd" --unpack downloads/fsdd --out "$datadir"
python -m speechlm.bin.validate_data "$datadir/train" "$datadir/dev" "$datadir/test" --lang en
python -m speechlm.bin.perturb --data "$datadir/train" --out "$datadir/train_sp" --copies "$copies"
exit
}
