"""Extract the textual LLM, for --llm, from a checkpoint of ESPnet's own speech LM (espnet2.speechlm).

    python -m speechlm.bin.llm_from_espnet --config exp/train.yaml --checkpoint exp/step_40000 --out exp/llm_espnet
    ./run.sh --llm exp/llm_espnet

Only the text model is taken over: rows of audio tokens, stream embeddings and audio encoders are left out.
"""

import argparse
from pathlib import Path

from speechlm.bin.command import run_main


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True, help="the train.yaml beside its checkpoints")
    parser.add_argument(
        "--checkpoint", type=Path, required=True, help="a folder checkpoints/step_N, or the .pt exported from it"
    )
    parser.add_argument(
        "--base", help="the LLM that the training started from: folder or hub name (default: as train.yaml says)"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    args = parser.parse_args()
    from speechlm.model.espnet_speechlm import write_llm

    write_llm(args.config, args.checkpoint, args.out, args.base)
    print(f"{args.out}: the LLM as a Hugging Face folder; start from it with --llm {args.out}")


if __name__ == "__main__":
    run_main(main)
