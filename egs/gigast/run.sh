#!/usr/bin/env -S bash -p
# gigast: GigaSpeech with the translations of GigaST and the Chinese speech of GigaS2S: English to Mandarin, to
# text and to speech.
# Any option of egs/TEMPLATE/speechlm.sh may follow:
#     ./run.sh --judge JUDGE_OF_MANDARIN --local_data_opts "--gigaspeech /corpora/GigaSpeech --gigas2s fetch"
{   # read whole before anything runs: this file may change meanwhile
set -euo pipefail
cd "$(realpath -m "$0/..")"

exec ../TEMPLATE/speechlm.sh \
    --langs "en zh" --src_lang en --tgt_lang zh --asr_langs en \
    --train_sets train --dev_set dev --test_sets test \
    --codec encodec_24khz:6 --llm Qwen/Qwen1.5-0.5B --overlay "paper gpu8" --ngpu 8 \
    --tasks "asr s2tt s2st" --zero_shot_tasks s2st \
    "$@"
}
