#!/usr/bin/env -S bash -p
# speechocean762: real read English of 250 learners (5 hours): recognition, and synthesis in the voice of another
# utterance. Small enough for one machine without a GPU; judged by Whisper, as no shipped judge understands learners.
# Every option of egs/TEMPLATE/speechlm.sh may follow:
#     ./run.sh --local_data_opts "--speechocean /corpora"
{   # read whole before anything runs: this file may change meanwhile
set -euo pipefail
cd "$(realpath -m "$0/..")"

exec ../TEMPLATE/speechlm.sh --judge whisper:openai/whisper-base.en \
    --langs en --src_lang en --tgt_lang en \
    --train_sets train --dev_set dev --test_sets test \
    --tasks "asr tts" \
    "$@"
}
