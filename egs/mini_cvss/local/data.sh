#!/usr/bin/env -S bash -p
# Makes the mini_cvss corpus: sentence pairs of a small grammar, both sides spoken by the same synthetic voice.
# Sets: train (pairs), train_mono (target language alone), dev, test, test_unheard (voices never heard in training), and
# text only: text_train, text_test.
{   # read whole before anything runs: this file may change meanwhile
set -euo pipefail
datadir=data        # where the sets go
nj=2                # number of parallel jobs
languages=es,en     # source,target
pairs=8000          # spoken training pairs
mono=12000          # further training utterances of the target language alone
text_pairs=20000    # training pairs of text only
eval_pairs=200      # pairs in dev and in each test set
voices=             # YAML of who speaks: voices_pico.yaml of this folder, or yours (default: voices.yaml)
grammar=            # YAML of what is said: grammar_wide.yaml of this folder, or yours (default: grammar.yaml)
root=$(realpath -m "$0/../../../..")
. "$root/utils/parse_options.sh"
. "$root/egs/TEMPLATE/path.sh"

here=$root/egs/mini_cvss/local
in_folder() { if [ -e "$here/$1" ]; then echo "$here/$1"; else echo "$1"; fi; }

python "$root/egs/mini_cvss/local/make_corpus.py" --out "$datadir" --languages "$languages" --nj "$nj" \
    --pairs "$pairs" --mono "$mono" --text_pairs "$text_pairs" --eval_pairs "$eval_pairs" \
    ${voices:+--voices "$(in_folder "$voices")"} ${grammar:+--grammar "$(in_folder "$grammar")"}
exit
}
