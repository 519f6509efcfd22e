#!/usr/bin/env -S bash -p
# librispeech: LibriSpeech, read English: recognition, and synthesis in the voice of another utterance.
# The hours of training data may stand first (100, 460, 960 by default), any option of egs/TEMPLATE/speechlm.sh may
# follow:
#     ./run.sh 100 --local_data_opts "--librispeech /corpora/LibriSpeech"
{   # read whole before anything runs: this file may change meanwhile
set -euo pipefail
cd "$(realpath -m "$0/..")"

export subset=960
if [[ ${1-} =~ ^[0-9]+$ ]]; then subset=$1; shift; fi
exec ../TEMPLATE/speechlm.sh \
    --langs en --src_lang en --tgt_lang en \
    --train_sets "train_$subset" --dev_set "dev_clean dev_other" --test_sets "test_clean test_other" \
    --codec encodec_24khz:6 --llm Qwen/Qwen1.5-0.5B --overlay "paper gpu8" --ngpu 8 \
    --tasks "asr tts" --protocol "librispeech_wer_raw mini" \
    "$@"
}
