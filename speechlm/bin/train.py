"""Train a speech LLM: LLM pre-training, CPT or SFT, as the config says. `--help` lists ESPnet's and our options."""

from speechlm.bin.command import run_main
from speechlm.espnet.task import SpeechLMTask

if __name__ == "__main__":
    run_main(SpeechLMTask.main)
