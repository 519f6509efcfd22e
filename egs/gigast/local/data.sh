#!/usr/bin/env -S bash -p
# GigaSpeech, GigaST and GigaS2S -> Kaldi directories train, dev, test: English speech and text, Mandarin text and
# (train) speech.
# GigaST and GigaS2S are fetched; GigaSpeech must be obtained by hand: README.md says how.
{   # read whole before anything runs: this file may change meanwhile
set -euo pipefail
gigaspeech=         # folder of GigaSpeech: GigaSpeech.json and audio/
gigast=             # GigaST.zh.json, if you have it (default: fetched)
gigas2s=            # folder or archive of the GigaS2S training set, or fetch to download it; without it there is no
                    # Mandarin speech, only s2tt
subset=XL           # training set: XS (10 h), S (250 h), M (1,000 h), L (2,500 h), XL (10,000 h)
dev_recordings=0    # make the development set from this many of the last training recordings (0: use GigaSpeech's own)
downloads=downloads # where archives go
datadir=data        # where train, dev and test go
nj=2                # number of parallel jobs (one suffices)
partial=false       # true: this is only a part of the corpus; sizes are printed, not checked
root=$(realpath -m "$0/../../../..")
. "$root/utils/parse_options.sh"
. "$root/egs/TEMPLATE/path.sh"

python -m speechlm.bin.prepare_corpus gigast --gigaspeech "$gigaspeech" --gigast "$gigast" --gigas2s "$gigas2s" \
    --subset "$subset" --dev_recordings "$dev_recordings" --downloads "$downloads" --datadir "$datadir" \
    --partial "$partial"
exit
}
