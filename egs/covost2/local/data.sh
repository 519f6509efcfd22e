#!/usr/bin/env -S bash -p
# CoVoST 2 of one language pair -> Kaldi directories train, dev, test: wav.scp.<src>, text.<src>, text.<tgt>.
# The translations are fetched; the clips of Common Voice 4 must be obtained by hand: README.md says how.
{   # read whole before anything runs: this file may change meanwhile
set -euo pipefail
src_lang=${src_lang:-en}  # language spoken (the recipe's)
tgt_lang=${tgt_lang:-zh}  # language translated into (the recipe's)
common_voice=       # Common Voice 4: its folder, the archive of the language, or a signed link to it
covost2=            # folder or archive of covost_v2.<src>_<tgt>.tsv, if you have it (default: fetched)
downloads=downloads # where archives go
datadir=data        # where train, dev and test go
nj=2                # number of parallel jobs (one suffices)
partial=false       # true: this is only a part of the corpus; sizes are printed, not checked
root=$(realpath -m "$0/../../../..")
. "$root/utils/parse_options.sh"
. "$root/egs/TEMPLATE/path.sh"

python -m speechlm.bin.prepare_corpus covost2 --src_lang "$src_lang" --tgt_lang "$tgt_lang" \
    --common_voice "$common_voice" --covost2 "$covost2" --downloads "$downloads" --datadir "$datadir" \
    --partial "$partial"
exit
}
