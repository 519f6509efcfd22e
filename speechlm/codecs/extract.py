"""Codes of a whole Kaldi directory, in shards that are the same files whatever the number of processes.

    codes.en.0.ark  codes.en.1.ark ...  codes.en.scp       int32 codes_TK of each utterance, in sorted order

A shard that is finished stays when the command is given again, if the codec, the utterances and the files they
name (path, size, time of change) are the same.
"""

import json
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import torch

from speechlm.codecs import load_codec
from speechlm.codecs.base import Codec
from speechlm.data.audio import load_span
from speechlm.data.codes import write_archive
from speechlm.data.files import atomic_write, settings_digest
from speechlm.data.kaldi import Span, has_audio, list_sides, read_audio

SHARD_UTTERANCES = 500


@dataclass(frozen=True)
class CodecSpec:
    """Arguments of `load_codec`, to load it again in every process."""

    spec: str
    path: str | None = None

    def load(self) -> Codec:
        return load_codec(self.spec, self.path)


@dataclass(frozen=True)
class Shard:
    """The utterances of one archive, and the digest of all that its content depends on."""

    side: str
    number: int
    spans: dict[str, Span]
    digest: str

    @property
    def stem(self) -> str:
        return f"codes.{self.side}.{self.number}"


def extract_codes(data_dir: str, out_dir: Path, codec: CodecSpec, nj: int, lang: str | None = None) -> None:
    """Write the codes of all sides of `data_dir`; raise ValueError listing every recording that cannot be coded."""
    sides = [side for side in list_sides(data_dir, lang) if has_audio(data_dir, side)]
    if not sides:
        raise ValueError(f"{data_dir}: no wav.scp; a text-only set has no codes to extract")
    out_dir.mkdir(parents=True, exist_ok=True)
    fingerprint = codec.load().fingerprint
    shards = [shard for side in sides for shard in cut_shards(read_audio(data_dir, side), side, fingerprint)]
    todo = [shard for shard in shards if not is_done(shard, out_dir)]
    print(f"{out_dir}: {len(shards)} shards of {', '.join(sides)}, {len(shards) - len(todo)} of them already complete", flush=True)
    run_shards(todo, out_dir, codec, nj)
    for side in sides:
        write_scp(out_dir, side, [shard for shard in shards if shard.side == side])


def cut_shards(spans: dict[str, Span], side: str, fingerprint: str) -> list[Shard]:
    """Cut the utterances, sorted by id, into shards of a fixed size."""
    keys = sorted(spans)
    parts = [keys[i : i + SHARD_UTTERANCES] for i in range(0, len(keys), SHARD_UTTERANCES)]
    return [make_shard(side, n, {key: spans[key] for key in part}, fingerprint) for n, part in enumerate(parts)]


def make_shard(side: str, number: int, spans: dict[str, Span], fingerprint: str) -> Shard:
    """Return a shard; its digest covers the codec and the size and time of change of every file."""
    contents = [[key, asdict(span), _stat(span.path)] for key, span in spans.items()]
    return Shard(side, number, spans, settings_digest({"codec": fingerprint, "utterances": contents}))


def _stat(path: str) -> list[int]:
    try:
        stat = Path(path).stat()
    except OSError:
        return []
    return [stat.st_size, stat.st_mtime_ns]


def is_done(shard: Shard, out_dir: Path) -> bool:
    """Tell whether a shard is there, and made from the same things."""
    record = out_dir / f".{shard.stem}.json"
    return record.is_file() and (out_dir / f"{shard.stem}.ark").is_file() and json.loads(record.read_text())["digest"] == shard.digest


def run_shards(shards: list[Shard], out_dir: Path, codec: CodecSpec, nj: int) -> None:
    """Code shards in `nj` processes with progress; go on after a bad recording, and list them all at the end."""
    start, done, bad = time.monotonic(), 0, []
    with ProcessPoolExecutor(nj, get_context("spawn"), initializer=_start_worker, initargs=(codec,)) as pool:
        futures = [pool.submit(code_shard, shard, out_dir) for shard in shards]
        for future in as_completed(futures):
            bad += future.result()
            done += 1
            elapsed_sec = time.monotonic() - start
            print(f"shard {done}/{len(shards)}, {elapsed_sec * (len(shards) - done) / done:.0f} s left", flush=True)
    if bad:
        listing = "\n".join(f"  {message}" for message in sorted(bad))
        raise ValueError(f"{len(bad)} recording(s) cannot be coded:\n{listing}\nMend or remove them, and give the same command again.")


_codec: Codec | None = None  # of a worker process


def _start_worker(codec: CodecSpec) -> None:
    global _codec
    torch.set_num_threads(1)
    _codec = codec.load()


def code_shard(shard: Shard, out_dir: Path) -> list[str]:
    """Write one archive if all its recordings can be coded; return what is wrong with those that cannot."""
    codes, bad = {}, []
    for key, span in shard.spans.items():
        try:
            codes[key] = _codec.encode(load_span(span, _codec.sample_rate_hz))
        except ValueError as error:
            bad.append(f"{key}: {span.path}: {error}")
    if not bad:
        save_shard(shard, codes, out_dir)
    return bad


def save_shard(shard: Shard, codes: dict, out_dir: Path) -> None:
    """Write the archive, then its record (digest and byte offsets), each whole or not at all."""
    offsets = write_archive(out_dir / f"{shard.stem}.ark", codes)
    with atomic_write(out_dir / f".{shard.stem}.json") as stream:
        json.dump({"digest": shard.digest, "offsets": offsets}, stream)


def write_scp(out_dir: Path, side: str, shards: list[Shard]) -> None:
    """Write `codes.<side>.scp` from the shards' records, and remove archives of an older, longer set."""
    with atomic_write(out_dir / f"codes.{side}.scp") as stream:
        for shard in shards:
            offsets = json.loads((out_dir / f".{shard.stem}.json").read_text())["offsets"]
            stream.writelines(f"{key} {out_dir / shard.stem}.ark:{offset}\n" for key, offset in offsets.items())
    current = {f"{shard.stem}.ark" for shard in shards}
    for path in set(out_dir.glob(f"codes.{side}.*.ark")):
        if path.name not in current:
            path.unlink()
            path.with_name(f".{path.stem}.json").unlink(missing_ok=True)
