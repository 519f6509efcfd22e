#!/usr/bin/env -S bash -p
# LibriSpeech -> Kaldi directories train_<subset>, dev_clean, dev_other, test_clean, test_other; the test sets with
# `prompts`.
{   # read whole before anything runs: this file may change meanwhile
set -euo pipefail
subset=${subset:-960}  # hours of training data: 100, 460 or 960 (the recipe's)
librispeech=        # folder of LibriSpeech, unpacked or its archives, if you have it (default: fetched)
prompts=            # what to synthesise from test_clean: lines `utterance prompt` (default: utterances of 4 to 10 s,
                    # each with its speaker's next utterance as the prompt)
downloads=downloads # where archives go
datadir=data        # where the sets go
nj=2                # number of parallel jobs (one suffices)
partial=false       # true: this is only a part of the corpus; sizes are printed, not checked
root=$(realpath -m "$0/../../../..")
. "$root/utils/parse_options.sh"
. "$root/egs/TEMPLATE/path.sh"

python -m speechlm.bin.prepare_corpus librispeech --subset "$subset" --librispeech "$librispeech" --prompts "$prompts" \
    --downloads "$downloads" --datadir "$datadir" --partial "$partial"
exit
}
