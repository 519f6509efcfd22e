#!/usr/bin/env -S bash -p
# Text of the CPT mixture -> text-only directories general_en, general_zh, mt_text and lambada. Speech comes from other
# recipes. Files are plain text (one text per line), or *.jsonl or *.parquet with `text`. General text is cut into
# pieces of up to 400 words.
{   # read whole before anything runs: this file may change meanwhile
set -euo pipefail
general_text=       # LANG:FILE, comma-separated; a language may have several files: en:a.jsonl,en:b.jsonl,zh:c.txt
mt_text=            # LANG:FILE,LANG:FILE: translations line by line
lambada=            # LAMBADA's test set: *.jsonl with `text`
datadir=data        # where the directories go
nj=2                # number of parallel jobs (one suffices)
root=$(realpath -m "$0/../../../..")
. "$root/utils/parse_options.sh"
. "$root/egs/TEMPLATE/path.sh"

python "$root/egs/cpt_enzh/local/make_data.py" --general_text "$general_text" --mt_text "$mt_text" \
    --lambada "$lambada" --datadir "$datadir"
exit
}
