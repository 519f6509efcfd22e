"""Starts a training on ten million utterances: seconds to the first batch, memory, examples a second.

    OMP_NUM_THREADS=1 python -m tests.long.scale --folder /tmp/scale        # 10 million utterances, 4 GB, 10 minutes
    OMP_NUM_THREADS=1 python -m tests.long.scale --folder /tmp/scale --utterances 200000

Writes a manifest of made-up utterances of 20,000 speakers (whose codes are a thousand random ones, used again and
again), starts
`bin/train` on it, and measures the parts of a start in a fresh process. tests/train/test_scale.py does it with few
utterances.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import yaml

WORDS = ["red", "car", "dog", "house"]
CODES, SPEAKERS = 1000, 20_000
LAYOUT = {"rows": 8, "row_length": 256}


def write_sets(dump: Path, utterances: int) -> None:
    """Write dump/{train,dev}: manifests of one language, with their index."""
    from speechlm.data.codes import write_archive
    from speechlm.data.manifest import write_manifest

    rng = np.random.default_rng(0)
    for name, count in (("train", utterances), ("dev", 100)):
        codes = {f"c{i}": rng.integers(0, 256, (int(rng.integers(6, 30)), 8)).astype(np.int32) for i in range(CODES)}
        offsets = write_archive(dump / name / "codes.en.0.ark", codes)
        write_manifest(
            dump / name / "manifest.jsonl", _lines(count, [(offsets[key], len(codes[key])) for key in codes])
        )


def _lines(count: int, places: list[tuple[int, int]]) -> Iterator[dict]:
    for i in range(count):
        text = " ".join(WORDS[(i >> shift) % 4] for shift in range(0, 12, 2))
        offset, frames = places[i * 7919 % CODES]
        yield {
            "id": f"corpus-{i:09d}", "speaker": f"speaker{i * 31 % SPEAKERS}", "text": {"en": text},
            "codes": {"en": [f"codes.en.0.ark:{offset}", frames]} if i % 1000 else {},
        }  # fmt: skip


def measure(folder: Path, examples: int) -> dict:
    """Do what a training does until its first batch, in this process; return seconds and megabytes of the parts."""
    import speechlm.espnet.task  # noqa: F401  (torch, ESPnet and all else that is not ours)
    from speechlm.data.files import file_digest
    from speechlm.model.folder import load_model
    from speechlm.train.build import load_corpus
    from speechlm.train.iterator import make_training_iterator

    vocab = load_model(folder / "llm_only").vocab
    config = yaml.safe_load((folder / "cpt.yaml").read_text())
    args = argparse.Namespace(
        dump=str(folder / "dump"), langs=["en"], src_lang="en", tgt_lang="en", task_langs={}, task_sets={},
        directions=[], mixture=config["mixture"],
        prompt_frames=4, condition_weight=1.0, hide_target=0.0,
        output_dir=str(folder / "llm_only"),
    )  # fmt: skip
    memory, began, cpu = _memory_mb("RssAnon"), time.monotonic(), time.process_time()
    file_digest(folder / "dump/train/manifest.jsonl")
    corpus = load_corpus(args, vocab, ["train"])
    layout = LAYOUT | {"pad_id": vocab.pad_id, "num_columns": vocab.num_codebooks}
    batches = iter(make_training_iterator(corpus, args.mixture, layout, 1, (0, 1), 0))
    next(batches)
    found = {
        "first_batch_sec": time.monotonic() - began,
        "first_batch_cpu_sec": time.process_time() - cpu,
        "examples": corpus.sizes(),
    }
    memory_after_start = _memory_mb("RssAnon")
    began, done = time.monotonic(), 0
    while done < examples:
        plan, _ = next(batches)
        done += sum(map(len, plan))
    found |= {
        "examples_per_sec": done / (time.monotonic() - began),
        "more_memory_mb": max(memory_after_start, _memory_mb("RssAnon")) - memory,
    }
    return found | {"before_mb": memory, "peak_with_mapped_files_mb": _memory_mb("VmHWM")}


def _memory_mb(kind: str) -> float:
    """RssAnon: the process's own memory. VmHWM: the peak, with mapped files, whose pages the kernel may take back at
    any time.
    """
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(kind)]
    return int(line.split()[1]) / 1024


def prepare(folder: Path, utterances: int) -> None:
    """Write the sets, and a tiny model with its vocabulary (folder/llm_only)."""
    from tests.long.kill_training import Command, make_recipe, training

    make_recipe(folder)
    done = Command(folder, "train", *training("llm_only", "--max_steps", "1")).wait()
    assert done.status == 0, done.output
    shutil.rmtree(folder / "dump")
    write_sets(folder / "dump", utterances)
    manifests = [f"dump/{name}/manifest.jsonl" for name in ("train", "dev")]
    done = Command(folder, "tokens", "--llm", "llm_only/llm", *manifests).wait()
    assert done.status == 0, done.output


def measured(folder: Path, examples: int) -> dict:
    """Return what `measure` finds in a process of its own."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.long.scale", "--folder", folder, "--measure", examples]
    return json.loads(
        subprocess.run([*map(str, command)], stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()[-1]
    )


def train_sec(folder: Path, out: str) -> float:
    """Return the wall time of `bin/train` with one step, from nothing to the exported model."""
    from tests.long.kill_training import training

    began = time.monotonic()
    options = training(out, "--max_steps", "1", "--eval_interval", "1")
    subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "speechlm.bin.train", *options],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    return time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="written to, and removed at the end")
    parser.add_argument("--utterances", type=int, default=10_000_000)
    parser.add_argument(
        "--measure", type=int, default=0, help="only measure a start in a prepared folder, and so many examples"
    )
    args = parser.parse_args()
    if args.measure:
        print(json.dumps(measure(args.folder, args.measure)))
        return
    args.folder.mkdir(parents=True)
    try:
        began = time.monotonic()
        prepare(args.folder, args.utterances)
        print(f"prepared in {time.monotonic() - began:.0f} s", flush=True)
        for path in sorted((args.folder / "dump/train").iterdir()):
            print(f"{path.name}: {path.stat().st_size / 1e6:.0f} MB", flush=True)
        print(json.dumps(measured(args.folder, 20_000), indent=1), flush=True)
        print(f"bin/train, one step: {train_sec(args.folder, 'one'):.1f} s", flush=True)
        (args.folder / "dump/train/manifest.jsonl.index").unlink()
        print(f"bin/train, one step, and the index made again: {train_sec(args.folder, 'two'):.1f} s", flush=True)
    finally:
        shutil.rmtree(args.folder)


if __name__ == "__main__":
    main()
