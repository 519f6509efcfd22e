#!/usr/bin/env -S bash -p
# Starts the recipe of a new corpus: egs/NAME/run.sh (its settings) and egs/NAME/local/data.sh (its data).
#
#   tools/new_recipe.sh librispeech --src_lang en
#   tools/new_recipe.sh cvss_fr --src_lang fr --tgt_lang en      # parallel: speech translation too
{   # read whole before anything runs: this file may change meanwhile
set -euo pipefail
unset GREP_OPTIONS POSIXLY_CORRECT
root=$(realpath -m "$0/../..")

name=${1-}
if [[ $name == -h || $name == --help ]]; then set -- --help; elif [ $# -gt 0 ]; then shift; fi
src_lang=en           # language of the corpus; in a parallel corpus, the one translated from
tgt_lang=             # in a parallel corpus, the language translated into
. "$root/utils/parse_options.sh"

fail() { echo "new_recipe.sh: $*" >&2; exit 2; }
egs=$root/egs
[[ $name =~ ^[a-z0-9][a-z0-9_]*$ ]] ||
    fail "found the name '$name', expected lower-case letters, digits and _: tools/new_recipe.sh my_corpus"
tag="[a-z]{2,3}(-[A-Za-z0-9]{2,8})*"      # en, zh-CN
[[ $src_lang =~ ^$tag$ && $tgt_lang =~ ^($tag)?$ ]] ||
    fail "languages are codes of two or three letters, found '$src_lang' '$tgt_lang'."
[ ! -e "$egs/$name" ] || fail "$egs/$name exists already. Choose another name, or remove it."

if [ -n "$tgt_lang" ]; then
    langs="$src_lang $tgt_lang" tasks="asr tts s2tt s2st"
    header="id speaker wav.$src_lang text.$src_lang wav.$tgt_lang text.$tgt_lang"
else
    langs=$src_lang tasks="asr tts" header="id speaker wav text"
fi

rm -rf "$egs/.$name."??????                    # of a run that was killed
draft=$(mktemp -d "$egs/.$name.XXXXXX")       # renamed when complete
trap 'rm -rf "$draft"' EXIT
mkdir -p "$draft/local" "$draft/conf"
for file in run.sh local/data.sh; do
    sed -e "s/@NAME@/$name/g" -e "s/@LANGS@/$langs/" -e "s/@SRC_LANG@/$src_lang/" \
        -e "s/@TGT_LANG@/${tgt_lang:-$src_lang}/" -e "s/@TASKS@/$tasks/" -e "s/@HEADER@/$header/" \
        "$root/egs/TEMPLATE/recipe/$file" > "$draft/$file"
    chmod +x "$draft/$file"
done
chmod +rwx "$draft"               # as the umask says
mv "$draft" "$egs/$name"
cat <<END
Made $egs/$name:
  run.sh          the recipe's settings
  local/data.sh   writes data/<set>/ from tables ($header); change it to fit the corpus
  conf/           empty: what you write here goes over the settings of egs/TEMPLATE/conf (train.yaml there says how)
Next: cd $egs/$name && ./run.sh --stop_stage 2 --local_data_opts "--corpus /path/to/$name"
END
exit
}
