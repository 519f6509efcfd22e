"""Multiply a small training set: copies of every recording at other speeds, levels and offsets.

`data/train` becomes `data/train_sp`: the recordings themselves and `--copies` of each, with ids sp<copy>-<id>. Speed is
changed by resampling, as Kaldi's and ESPnet's perturb_data_dir_speed.sh do; a few milliseconds of leading silence shift
the codec's frames. Copies of a speaker at another speed are another speaker (sp<copy>-<speaker>).
"""

import argparse
import random
from pathlib import Path

import numpy as np

from speechlm.bin.command import run_main
from speechlm.data.audio import load_span, save_wav
from speechlm.data.files import stage
from speechlm.data.kaldi import list_sides, read_audio, read_speakers, read_text, write_data_dir
from speechlm.data.settings import Above0, Count, Option, Positive, Weight

RATE_HZ = 16000


def perturb(wav_T: np.ndarray, speed: float, gain: float, shift_sec: float) -> np.ndarray:
    """Return a copy that is faster by `speed` (pitch rises too), louder by `gain`, and starts `shift_sec` later."""
    from soxr import resample

    faster = resample(wav_T, RATE_HZ * speed, RATE_HZ) * gain
    return np.concatenate([np.zeros(round(shift_sec * RATE_HZ), dtype=np.float32), np.clip(faster, -1, 1)]).astype(
        np.float32
    )


def write_copies(args: argparse.Namespace) -> int:
    """Write the enlarged data directory; return its number of utterances."""
    [side] = list_sides(args.data, args.lang)
    audio, texts, speakers = read_audio(args.data, side), read_text(args.data, side), read_speakers(args.data)
    tables: dict[str, dict[str, str]] = {"wav.scp": {}, "text": {}, "utt2spk": {}}
    (args.out / "wav").mkdir(parents=True, exist_ok=True)
    for copy in range(args.copies + 1):
        for number, (key, span) in enumerate(audio.items()):
            rng = random.Random(f"{args.seed} {copy} {key}")
            # One speed per copy and speaker keeps the copy's voice one voice.
            speed = 1.0 if copy == 0 else random.Random(f"{args.seed} {copy} {speakers[key]}").uniform(*args.speeds)
            wav_T = load_span(span, RATE_HZ)
            if copy:
                wav_T = perturb(wav_T, speed, rng.uniform(0.5, 1.2), rng.uniform(0, args.max_shift_sec))
            name, voice = (f"sp{copy}-{key}", f"sp{copy}-{speakers[key]}") if copy else (key, speakers[key])
            path = args.out / "wav" / f"{name}.wav"
            save_wav(path, wav_T, RATE_HZ)
            tables["wav.scp"][name], tables["text"][name], tables["utt2spk"][name] = str(path), texts[key], voice
            if number % 500 == 0:
                print(f"perturb: copy {copy}/{args.copies}, utterance {number}/{len(audio)}", flush=True)
    write_data_dir(args.out, tables)
    return len(tables["text"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="data directory of one language")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--lang", default="en")
    parser.add_argument("--copies", type=Option(Positive), default=6)
    parser.add_argument("--speeds", type=Option(Above0), nargs=2, default=[0.85, 1.15], help="slowest and fastest")
    parser.add_argument("--max_shift_sec", type=Option(Weight), default=0.08)
    parser.add_argument("--seed", type=Option(Count), default=1)
    args = parser.parse_args()
    settings = {k: v for k, v in vars(args).items() if k not in ("data", "out")}
    inputs = [p for name in ("wav.scp", "text", "utt2spk") if (p := args.data / name).exists()]
    with stage(args.out, "perturb", settings, inputs, ["wav.scp", "text", "utt2spk", "spk2utt", "wav/*.wav"]) as todo:
        if todo:
            print(f"perturb: {write_copies(args)} utterances in {args.out}", flush=True)


if __name__ == "__main__":
    run_main(main)
