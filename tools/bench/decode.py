"""How quick is decoding? Milliseconds a frame at some batch sizes, of this engine and of transformers' `generate` with
the same LLM.

Run from the repository: `python tools/bench/decode.py` (a GPU, in five minutes), or with `--toy` a small model (the
CPU, seconds). One line of JSON for each measurement, and last one with all of them, the device and the commit. Weights
are random and nothing ends by itself: each example makes
`--frames` frames (`--their_frames` of transformers, which takes ten times as long). transformers is measured as it is,
and without cuDNN's attention, which plans anew for each length of a growing cache; the engine as it is, and with its
layers compiled.
"""

import argparse
import json
import time
from collections.abc import Callable
from contextlib import nullcontext
from statistics import median

import numpy as np
import torch
from models import LARGE, TOY, random_model
from torch.nn.attention import SDPBackend, sdpa_kernel

from speechlm.data.machine import code_version, describe_machine
from speechlm.model.generate import DecodeOptions, compile_steps, generate_speech
from speechlm.model.speechlm import SpeechLM
from speechlm.tokens.vocabulary import SPEECH_END

WITHOUT_CUDNN = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
ROUNDS = 3


def make_model(sizes: dict[str, int], device: str, dtype: torch.dtype) -> SpeechLM:
    """Return a speech LLM that never ends: the best of a thousand codes is above 0."""
    model = random_model(sizes, device).eval()
    vocab = model.vocab
    model.new_head.weight.data[vocab.special_id(SPEECH_END) - vocab.text_size] = 0
    return model.cast(dtype)


def timed(run: Callable[[], object], device: str) -> float:
    """Return the seconds of a run."""
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    wait()
    start = time.perf_counter()
    run()
    wait()
    return time.perf_counter() - start


def per_frame(run: Callable[[int], object], frames: int, device: str, rounds: int = 1) -> float:
    """Return milliseconds a frame: what twice as many frames take longer, so that prefixes and captures don't count;
    the median of some rounds.
    """
    run(frames)  # libraries set themselves up
    found = []
    for _ in range(rounds):
        short, long = (timed(lambda n=n: run(n), device) for n in (frames, 2 * frames))
        found.append((long - short) / frames * 1000)
    return round(median(found), 3)


def made_up_ids(batch: int) -> np.ndarray:
    """Return ids of a prefix for each example."""
    return np.random.default_rng(0).integers(0, 1000, (batch, 200))


def measure(model: SpeechLM, batch: int, frames: int, device: str) -> dict[str, float]:
    """Return milliseconds a frame of this engine, and the seconds of its first run."""
    prefixes = np.full((batch, 200, 8), model.vocab.pad_id)
    prefixes[..., 0] = made_up_ids(batch)

    def engine(count: int, **more) -> None:
        found = generate_speech(model, list(prefixes), DecodeOptions(max_rows=count, batch_size=batch, **more))
        assert all(len(one.output) == count for one in found), "an example ended by itself"

    return {
        "first_sec": round(timed(lambda: engine(frames), device), 1),
        "greedy": per_frame(engine, frames, device, ROUNDS),
        "sampled": per_frame(lambda count: engine(count, temperature=0.8, top_k=50), frames, device, ROUNDS),
    }


def measure_theirs(model: SpeechLM, batch: int, frames: int, device: str) -> dict[str, float]:
    """Return milliseconds a frame of transformers' `generate`."""
    inputs = torch.from_numpy(made_up_ids(batch)).to(device)

    def theirs(count: int, backends: list | None = None) -> None:
        with sdpa_kernel(backends) if backends else nullcontext(), torch.inference_mode():
            model.llm.generate(
                inputs,
                attention_mask=torch.ones_like(inputs),
                max_new_tokens=count,
                min_new_tokens=count,
                do_sample=False,
                pad_token_id=0,
            )

    return {
        "without_cudnn": per_frame(lambda count: theirs(count, WITHOUT_CUDNN), frames, device),
        "as_it_is": per_frame(theirs, frames, device),
    }


def main() -> None:
    """Measure, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--toy", action="store_true", help="a small model, on the CPU too")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 32, 128])
    parser.add_argument("--frames", type=int, default=0, help="of each example (default: 150; toy 20)")
    parser.add_argument("--their_frames", type=int, default=0, help="of transformers (default: as many)")
    parser.add_argument("--dtypes", nargs="+", default=["bfloat16", "float32"])
    kinds = {"transformers": measure_theirs, "plain": measure, "compiled": measure}
    parser.add_argument("--kinds", nargs="+", choices=[*kinds], default=[*kinds], help="in this order")
    args = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    frames = args.frames or (20 if args.toy else 150)
    found = {}
    for dtype in args.dtypes:
        model = make_model(TOY if args.toy else LARGE, device, getattr(torch, dtype))
        for kind in args.kinds:
            if kind == "compiled":
                compile_steps(model)
            for batch in args.batches:
                count = args.their_frames or frames if kind == "transformers" else frames
                key = f"{dtype}_{kind}_batch{batch}"
                found[key] = kinds[kind](model, batch, count, device)
                print(json.dumps({key: found[key]}), flush=True)
    name = torch.cuda.get_device_name() if device == "cuda" else describe_machine()
    print(
        json.dumps({"ms_per_frame": found, "frames": frames, "toy": args.toy, "device": name, "commit": code_version()})
    )


if __name__ == "__main__":
    main()
