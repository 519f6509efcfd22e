#!/usr/bin/env -S bash -p
# libritts: LibriTTS, synthesis of read English in the voice of another utterance (cross-sentence), and continuation of
# an utterance. The training parts may stand first, named by LibriSpeech's hours (100, 460, 960 by default); any option
# of egs/TEMPLATE/speechlm.sh may follow:
#     ./run.sh 460 --local_data_opts "--libritts /corpora/LibriTTS"
{   # read whole before anything runs: this file may change meanwhile
set -euo pipefail
cd "$(realpath -m "$0/..")"

export subset=960
if [[ ${1-} =~ ^[0-9]+$ ]]; then subset=$1; shift; fi
exec ../TEMPLATE/speechlm.sh \
    --langs en --src_lang en --tgt_lang en \
    --train_sets "train_$subset" --dev_set dev_clean --test_sets "test_clean test_clean_continuation" \
    --codec encodec_24khz:6 --llm Qwen/Qwen1.5-0.5B --overlay "paper gpu8" --ngpu 8 \
    --tasks tts \
    "$@"
}
