#!/usr/bin/env -S bash -p
# AISHELL-1 -> Kaldi directories train, dev, test; AISHELL-2 -> train, dev, test_ios, test_android, test_mic.
# AISHELL-1 is fetched; AISHELL-2 must be obtained by hand: README.md says how.
{   # read whole before anything runs: this file may change meanwhile
set -euo pipefail
version=${version:-1}  # 1 or 2 (the recipe's)
aishell=            # folder that holds data_aishell/ or data_aishell.tgz, if you have it (default: fetched)
aishell2=           # folder of AISHELL-2: iOS/ and AISHELL-DEV-TEST-SET/
downloads=downloads # where archives go
datadir=data        # where the sets go
nj=2                # number of parallel jobs (one suffices)
partial=false       # true: this is only a part of the corpus; sizes are printed, not checked
root=$(realpath -m "$0/../../../..")
. "$root/utils/parse_options.sh"
. "$root/egs/TEMPLATE/path.sh"

python -m speechlm.bin.prepare_corpus aishell --version "$version" --aishell "$aishell" --aishell2 "$aishell2" \
    --downloads "$downloads" --datadir "$datadir" --partial "$partial"
exit
}
