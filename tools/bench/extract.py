"""How quickly is speech coded? `bin/extract_codes` as a whole (stage 2) with EnCodec at 24 kHz (random weights: they
take as long), and what its parts take.

Run from the repository: `python tools/bench/extract.py` (a GPU, a minute), or with `--toy` (the CPU, a minute). It
makes WAV files of noise, and codes sets of them: recordings of one length, which are coded in batches, and half as many
of any length. Audio seconds a second are those between the first and the last shard that is done (`whole`: from the
start of the command, which loads its libraries). The parts: loading and resampling by the threads alone, and coding
alone by the size of its batches. The last line is JSON.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import soundfile
import torch
from gpu import write_codec

from speechlm.codecs import load_codec
from speechlm.codecs.extract import SHARD_UTTERANCES, Options, ahead, extract_codes, record_path
from speechlm.data.audio import MAX_SEC, Span, inspect_span
from speechlm.data.machine import code_version, describe_machine

FILES, BATCHES = 250, (1, 6, 24)  # different recordings, which are used again and again; of ten seconds in a batch


def write_wav(path: Path, samples: int, rate_hz: int) -> str:
    """Write a recording of noise."""
    soundfile.write(path, np.random.default_rng(samples).normal(0, 0.1, samples).astype(np.float32), rate_hz)
    return str(path)


def write_data(folder: Path, lengths: np.ndarray, utterances: int, rate_hz: int, nj: int) -> list[str]:
    """Write a Kaldi directory of so many utterances, of recordings of these lengths in samples; return their paths."""
    folder.mkdir(parents=True)
    paths = [folder / f"{i}.wav" for i in range(len(lengths))]
    with ThreadPoolExecutor(nj) as pool:
        files = list(pool.map(partial(write_wav, rate_hz=rate_hz), paths, lengths.tolist()))
    keys = [f"s-{i:06d}" for i in range(utterances)]
    tables = {"wav.scp": lambda i: files[i % len(files)], "text": lambda i: "noise", "utt2spk": lambda i: "s"}
    for name, value in tables.items():
        (folder / name).write_text("".join(f"{key} {value(i)}\n" for i, key in enumerate(keys)))
    return files


def code_set(folder: Path, sec: float, dump: Path, codec: str, options: Options) -> dict[str, float]:
    """Code a set of so many seconds of audio; return audio seconds a second."""
    began = time.time()
    extract_codes([folder], [], dump, codec, options)
    whole, records = time.time() - began, (dump / folder.name).glob(record_path(Path(), "*").name)
    times = sorted(path.stat().st_mtime for path in records)
    steady = sec * (len(times) - 1) / len(times) / (times[-1] - times[0]) if len(times) > 1 else None
    return {"audio_sec": round(sec), "per_sec": steady and round(steady), "whole": round(sec / whole)}


def rate(work: Callable[[], object], audio_sec: float, least_sec: float) -> int:
    """Return audio seconds a second of some work, done again for a while."""
    work(), work()
    wait = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
    wait()
    began, times = time.perf_counter(), 0
    while time.perf_counter() - began < least_sec:
        work()
        times += 1
    wait()
    return round(times * audio_sec / (time.perf_counter() - began))


def parts(files: list[str], codec: str, device: str, nj: int, least_sec: float) -> dict:
    """Return audio seconds a second of loading alone, and of coding alone by batch, with settings as in extraction."""
    torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic = False, True
    model = load_codec(codec).to(device)
    load = lambda path: inspect_span(Span(path), model.sample_rate_hz, MAX_SEC, ())  # noqa: E731
    began = time.perf_counter()
    sec = sum(len(wav_N) for wav_N, _ in ahead(files, load, nj)) / model.sample_rate_hz
    loading = round(sec / (time.perf_counter() - began))
    noise = np.random.default_rng(0).normal(0, 0.1, (max(BATCHES), 10 * model.sample_rate_hz)).astype(np.float32)
    coding = {
        size: rate(lambda size=size: model.encode_batch(list(noise[:size])), 10 * size, least_sec)
        for size in (BATCHES if device == "cuda" else BATCHES[:1])
    }
    return {"loading": loading, "coding_by_batch_of_10s": coding}


def main() -> None:
    """Measure, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--toy", action="store_true", help="few recordings, on the CPU too")
    parser.add_argument("--nj", type=int, default=len(os.sched_getaffinity(0)), help="threads that load")
    parser.add_argument("--shards", type=int, default=6, help="of a set, of 500 recordings each")
    parser.add_argument("--rate_hz", type=int, default=16000, help="of the recordings")
    args = parser.parse_args()
    on_gpu = torch.cuda.is_available()
    utterances, files = (20, 10) if args.toy else (args.shards * SHARD_UTTERANCES, FILES)
    options, rng, found = Options(nj=args.nj, ngpu=int(on_gpu), lang="en"), np.random.default_rng(0), {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        codec = f"{write_codec(folder / 'codec.th')}:6"
        longest = 1 if args.toy else 10
        device = "cuda" if on_gpu else "cpu"
        sets = {
            "one_length": np.full(files, longest * args.rate_hz),
            "any_length": rng.integers(longest * args.rate_hz // 2, longest * args.rate_hz * 3 // 2, files),
        }
        for kind, lengths in sets.items():
            number = utterances if kind == "one_length" else max(utterances // 2, SHARD_UTTERANCES * 2 * on_gpu, 10)
            paths = write_data(folder / kind, lengths, number, args.rate_hz, args.nj)
            if kind == "one_length":
                found["parts"] = parts(paths, codec, device, args.nj, 0.1 if args.toy else 1.0)
                print(json.dumps({"parts": found["parts"]}), flush=True)
            sec = float(lengths.mean()) * number / args.rate_hz
            found[kind] = code_set(folder / kind, sec, folder / "dump", codec, options)
            print(json.dumps({kind: found[kind]}), flush=True)
    about = {"nj": args.nj, "rate_hz": args.rate_hz, "toy": args.toy, "codec": "encodec_24khz:6"}
    name = torch.cuda.get_device_name() if on_gpu else describe_machine()
    print(json.dumps({"extraction": found, **about, "device": name, "commit": code_version()}))


if __name__ == "__main__":
    main()
