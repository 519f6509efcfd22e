#!/usr/bin/env -S bash -p
# Makes the mini_cvss corpus: sentence pairs from a grammar; many voices speak the source, and one the translations.
# Sets: train (pairs), dev, test; train_mono (target language only) and test_unheard (voices never heard in training),
# where each voice speaks the target language too; and sets of text only: text_train, text_test.
{   # read whole before anything runs: this file may change meanwhile
set -euo pipefail
datadir=data        # where the sets go
nj=2                # number of parallel jobs
languages=es,en     # source,target
pairs=14000         # spoken training pairs
mono=4000           # further training utterances in the target language only
text_pairs=20000    # training pairs as text only
eval_pairs=200      # pairs in dev and in each test set
voices=voices_pico.yaml     # YAML file of the voices: one in this folder, or your own
target_voice=flora          # voice of the translations (as in CVSS-C); same: the speaker of the source (CVSS-T)
grammar=grammar_wide.yaml   # YAML file of the grammar: one in this folder, or your own
root=$(realpath -m "$0/../../../..")
. "$root/utils/parse_options.sh"
. "$root/egs/TEMPLATE/path.sh"

here=$root/egs/mini_cvss/local
in_folder() { if [ -e "$here/$1" ]; then echo "$here/$1"; else echo "$1"; fi; }

python "$here/make_corpus.py" --out "$datadir" --languages "$languages" --nj "$nj" --pairs "$pairs" --mono "$mono" \
    --text_pairs "$text_pairs" --eval_pairs "$eval_pairs" --target_voice "$target_voice" \
    --voices "$(in_folder "$voices")" --grammar "$(in_folder "$grammar")"
exit
}
