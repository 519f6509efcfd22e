#!/usr/bin/env -S bash -p
# CVSS of one source language -> Kaldi directories train, dev, test, both sides spoken.
# CVSS is fetched; the clips of Common Voice 4 must be obtained by hand: README.md says how.
{   # read whole before anything runs: this file may change meanwhile
set -euo pipefail
src_lang=${src_lang:-es}  # source language (the recipe's)
version=c           # c: one voice; t: the voice of the source speaker
common_voice=       # Common Voice 4: its folder, the archive of the language, or a signed link to it
cvss=               # folder or archive of this language in CVSS, if you have it (default: fetched)
downloads=downloads # where archives go
datadir=data        # where train, dev and test go
nj=2                # number of parallel jobs (one suffices)
partial=false       # true: this is only a part of the corpus; what a test set lacks is left out of it
root=$(realpath -m "$0/../../../..")
. "$root/utils/parse_options.sh"
. "$root/egs/TEMPLATE/path.sh"

python -m speechlm.bin.prepare_corpus cvss --src_lang "$src_lang" --version "$version" --common_voice "$common_voice" \
    --cvss "$cvss" --downloads "$downloads" --datadir "$datadir" --partial "$partial"
exit
}
