"""Digits for training a codec: `wav.scp` and `utt2spk` of the corpus's recordings 5 to 49, without its test set (0 to
4).
"""

import argparse
from pathlib import Path

from speechlm.bin.command import run_main
from speechlm.data.kaldi import write_data_dir


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recordings", required=True, type=Path, help="folder of {digit}_{speaker}_{index}.wav")
    parser.add_argument("--out", required=True, type=Path)
    args = parser.parse_args()
    paths = [path for path in args.recordings.glob("*_*_*.wav") if int(path.stem.split("_")[2]) >= 5]
    if not paths:
        raise ValueError(f"{args.recordings}: no recordings named like 7_george_12.wav")
    wav_scp = {path.stem: str(path) for path in paths}
    write_data_dir(args.out, {"wav.scp": wav_scp, "utt2spk": {key: key.split("_")[1] for key in wav_scp}})


if __name__ == "__main__":
    run_main(main)
