"""Damaged files for every reader: each input is read, or refused by a ValueError that names the file; nothing else, and
no hang.

    PYTHONPATH=. python tests/long/fuzz_readers.py                  # about 130,000 inputs by hypothesis, 10 minutes
    PYTHONPATH=. python tests/long/fuzz_readers.py --atheris 20000  # coverage-guided, per parser (pip install atheris)
    PYTHONPATH=. python tests/long/fuzz_readers.py --readers wav flac --scale 0.1

An input is a valid file that was cut, spliced and overwritten, or noise. Each has two seconds of processor time, and
the process 2 GB more than it has at the start. A finding is printed with its input; the exit status is then 1.
tests/data/test_fuzz.py runs a few hundred inputs per reader.
"""

import argparse
import faulthandler
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Iterator

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as hypothesis_seed
from hypothesis import strategies as st

SECONDS_PER_INPUT = 2.0  # of processor time: a busy machine is no hang
SECONDS_IN_C = 60.0  # of any time; a signal does not interrupt a loop in C, then the process ends with a traceback
EXTRA_BYTES = 2 << 30
WORDS = {
    "table": (b"\n", b" ", b"\t", b"\r\n", b"\0", b"../x", b"/x", b"\xff", b"\xef\xbb\xbf", "\u2028".encode(), b"a",
    b"b", b"nan", b"inf",
              b"-1", b"1e999"),
    "json": (b"[", b"]", b"{", b"}", b'"', b",", b":", b"null", b"NaN", b"-1", b"1e999", b"9" * 5000, b'"\\ud800"',
    b"[" * 3000, b"\xff", b'""'),
    "yaml": (b"\n", b"- ", b": ", b"&a ", b"*a", b"!!python/object ", b"<<: ", b"[", b"]", b"{", b"}", b"2001-99-99",
    b"0x", b"=", b"? ",
             b"{a}", b"[" * 3000),
    "bytes": (b"\0", b"\xff\xff\xff\xff", b"\x00\x00\x00\x80", b"\xff\xff\xff\x7f", b"data", b"RIFF", b"NPY", b"PKL",
    b"\0BFM ", b"\0BCM ", b"\x04"),
}  # fmt: skip


@dataclass(frozen=True)
class Reader:
    """One reader: valid files to start from, words to splice in, how to read, and how many inputs the long run gives
    it.
    """

    name: str
    path: Path
    seeds: list[bytes]
    words: tuple[bytes, ...]
    read: Callable[[Path], Any]
    inputs: int
    names: tuple[str, ...] = ()  # other files of the same directory, which an error may name instead


@dataclass
class Count:
    """What became of a reader's inputs."""

    accepted: int = 0
    refused: int = 0
    slowest_sec: float = 0.0
    kinds: set[str] = field(default_factory=set)


class Finding(Exception):
    """A reader did what it must not."""


class Hang(BaseException):
    """Not an Exception, so that no reader takes it for a damaged file."""


# ---------------------------------------------------------------- the readers (imported late: atheris instruments
# imports)


def make_readers(folder: Path) -> list[Reader]:
    """Return all readers, with their files in `folder`."""
    return [
        *make_table_readers(folder),
        *make_code_readers(folder),
        *make_settings_readers(folder),
        *make_audio_readers(folder),
    ]


def make_table_readers(folder: Path) -> list[Reader]:
    """Files of a data directory, and reports."""
    from speechlm.data import items, kaldi

    data = folder / "data"
    data.mkdir()
    files = {
        "text.en": b"a one word\nb two words\nc three\n",
        "utt2spk": b"a v1\nb v1\nc v2\n",
        "wav.scp.en": b"a x/a.wav\nb x/b.wav\nr x/r.wav\n",
        "segments.en": b"a a 0 1\nb b 0.25 0.5\nc r 1.5 2e1\n",
        "spk2utt": b"v1 a b\nv2 c\n",
    }
    for name, content in files.items():
        (data / name).write_bytes(content)

    def read_directory(path: Path) -> None:
        kaldi.scan_data_dir(data)
        kaldi.require_valid(data, open_audio=False)
        kaldi.read_text(data, "en"), kaldi.read_audio(data, "en"), kaldi.read_speakers(data)

    table = Reader("table", folder / "table", [*files.values()], WORDS["table"], kaldi.read_table, 20_000)
    inputs = {"text.en": 10_000, "utt2spk": 8_000, "wav.scp.en": 8_000, "segments.en": 10_000, "spk2utt": 4_000}
    directory = [
        Reader(name, data / name, [files[name]], WORDS["table"], read_directory, inputs[name], tuple(files))
        for name in files
    ]
    report = b"a\tsilence\tdata/train/wav.scp\ta.wav: silent\n"
    return [
        table,
        *directory,
        Reader("report", folder / "left_out.tsv", [report], WORDS["table"], items.read_items, 4_000),
    ]


def make_code_readers(folder: Path) -> list[Reader]:
    """Manifests and archives of codes."""
    import kaldiio
    import numpy as np

    from speechlm.data import files, kaldi, manifest

    data, dump = folder / "one", folder / "dump"
    kaldi.write_data_dir(
        data, {"text.en": {"a": "one", "b": "two"}, "wav.scp.en": {"a": "a", "b": "b"}, "utt2spk": {"a": "v", "b": "v"}}
    )
    dump.mkdir()
    codes = {"a": np.arange(6, dtype=np.int32).reshape(3, 2), "b": np.ones((5, 2), np.int32)}
    kaldiio.save_ark(str(dump / "codes.en.0.ark"), codes, scp=str(dump / "codes.en.scp"), write_function="numpy")
    manifest.write_manifest(dump / "manifest.jsonl", manifest.build_manifest(data, dump))
    floats = {key: codes_TK.astype(np.float32) for key, codes_TK in codes.items()}
    for method in (None, 1, 2, 3, 5):
        options = {} if method is None else {"compression_method": method}
        kaldiio.save_ark(str(folder / f"float{method}.ark"), floats, **options)
    archives = [path.read_bytes() for path in sorted([*folder.glob("float*.ark"), dump / "codes.en.0.ark"])]
    inner = {name: folder / name for name in ("ark", "lines", "indexed")}
    for path in inner.values():
        path.mkdir()

    def read_manifest(path: Path) -> list:
        files.index_path(path).unlink(missing_ok=True)  # of the input before, which may have the same size and time
        return list(manifest.load_manifest(path))

    indexed = inner["indexed"] / "manifest.jsonl"
    indexed.write_bytes((dump / "manifest.jsonl").read_bytes())
    list(manifest.load_manifest(indexed))  # writes the index
    index = files.index_path(indexed)
    lines, scp = (dump / "manifest.jsonl").read_bytes(), (dump / "codes.en.scp").read_bytes()
    return [
        Reader("manifest", inner["lines"] / "manifest.jsonl", [lines], WORDS["json"], read_manifest, 12_000),
        Reader(
            "index",
            index,
            [index.read_bytes()],
            WORDS["json"],
            lambda _: list(manifest.load_manifest(indexed)),
            6_000,
            (indexed.name,),
        ),
        Reader(
            "ark", inner["ark"] / "x.ark", archives, WORDS["bytes"], lambda path: manifest.read_matrix(path, 2), 10_000
        ),
        Reader(
            "scp",
            dump / "codes.en.scp",
            [scp],
            WORDS["table"],
            lambda _: list(manifest.build_manifest(data, dump)),
            5_000,
        ),
    ]


def make_settings_readers(folder: Path) -> list[Reader]:
    """Vocabulary, configurations, results, grammar, and what a user writes after --codec."""
    import random

    from speechlm.codecs import ASSETS, load_codec
    from speechlm.codecs.encodec import config_from_dict
    from speechlm.codecs.trainers import read_config
    from speechlm.data.grammar import Grammar
    from speechlm.data.settings import read_json
    from speechlm.metrics.rows import read_rows
    from speechlm.tokens.vocabulary import BOUNDARIES, Vocabulary

    def read_grammar(path: Path) -> None:
        grammar = Grammar(path)
        for seed in range(3):
            grammar.sample(random.Random(seed))

    Vocabulary(10, (*BOUNDARIES, "<asr>"), (4, 4), "parallel", "t", "c").save(folder / "vocab.json")
    row = {"model": "m", "task": "asr", "test_set": "test", "metric": "WER", "value": 1.5, "n": 3, "signature": "s"}
    grammar = (
        b"languages: [en, es]\nrules:\n  sentence:\n    - {en: 'the {a}', es: 'la {a.f}'}\n  a:\n    - {en: cat, es:"
        b" gato, es.f: gata}\n"
    )
    train = b"model: {kind: spectral, mel_bands: 80, floor: 0.0001}\nfit_clips: 2400\nclip_sec: 1.28\n"
    return [
        Reader("vocabulary", folder / "vocab.json", [(folder / "vocab.json").read_bytes()], WORDS["json"],
        Vocabulary.load, 6_000),
        Reader("codec config", folder / "config.json", [(ASSETS / "codec_16k/config.json").read_bytes()], WORDS["json"],
               lambda path: config_from_dict(read_json(path), str(path)), 6_000),
        Reader("codec training", folder / "codec.yaml", [train], WORDS["yaml"], read_config, 4_000),
        Reader("results", folder / "score.json", [json.dumps([row]).encode()], WORDS["json"], read_rows, 4_000),
        Reader("grammar", folder / "grammar.yaml", [grammar], WORDS["yaml"], read_grammar, 8_000),
        Reader("codec spec", folder / "codec", [b"encodec_24khz:6", b"codec_16k:", b"exp/codec"], (b":", b"/", b"\0",
        b"nan", b"..", b"1e999"),
               lambda path: load_codec(path.read_bytes().decode("utf-8", "surrogateescape")), 6_000),
    ]  # fmt: skip


def make_audio_readers(folder: Path) -> list[Reader]:
    """Recordings: short files of every format, in every sample type."""
    import io

    import numpy as np
    import soundfile

    from speechlm.data.audio import Span, check_header, load_span

    wav_TC = 0.1 * np.random.default_rng(0).standard_normal((400, 2))

    def encode(kind: str, subtype: str | None = None, channels: int = 1) -> bytes:
        stream = io.BytesIO()
        soundfile.write(stream, wav_TC[:, :channels], 16000, format=kind, subtype=subtype)
        return stream.getvalue()

    def read(path: Path) -> None:
        try:
            check_header(Span(str(path)))
        except ValueError:
            pass
        load_span(Span(str(path), 0.001, 0.02), 16000)
        load_span(Span(str(path)), 16000)

    wavs = [encode("WAV", s) for s in ("PCM_16", "PCM_U8", "PCM_24", "FLOAT", "DOUBLE", "ULAW", "IMA_ADPCM")] + [
        encode("WAV", "PCM_16", 2)
    ]
    flacs = [encode("FLAC", "PCM_16"), encode("FLAC", "PCM_24", 2)]
    others = [encode(kind) for kind in ("OGG", "AIFF", "AU", "W64", "RF64", "CAF", "NIST", "MP3")]
    inputs = {"wav": (wavs, 8_000), "flac": (flacs, 5_000), "other audio": (others, 3_000)}
    return [
        Reader(name, folder / f"a.{name[:4]}", seeds, WORDS["bytes"], read, count)
        for name, (seeds, count) in inputs.items()
    ]


# ---------------------------------------------------------------- one input


@contextmanager
def limited() -> Iterator[None]:
    """Bound the memory of this process, and let a hang become an exception; undone at the end."""

    def stop(*_: Any) -> None:
        raise Hang

    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    handler = signal.signal(signal.SIGPROF, stop)
    resource.setrlimit(resource.RLIMIT_AS, (pages * os.sysconf("SC_PAGE_SIZE") + EXTRA_BYTES, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
        signal.signal(signal.SIGPROF, handler)


def try_one(reader: Reader, data: bytes, count: Count) -> None:
    """Let a reader read an input; raise Finding for all but success and a ValueError that names the file."""
    reader.path.write_bytes(data)
    start = time.perf_counter()
    signal.setitimer(signal.ITIMER_PROF, SECONDS_PER_INPUT)
    faulthandler.dump_traceback_later(SECONDS_IN_C, exit=True)
    try:
        reader.read(reader.path)
        count.accepted += 1
    except ValueError as error:
        if not any(name in str(error) for name in (reader.path.name, *reader.names)):
            raise Finding(f"{reader.name}: the error does not name {reader.path.name}: {error!r}") from error
        count.refused += 1
        count.kinds.add(str(error).replace(str(reader.path.parent), "")[:40])
    except Hang:
        raise Finding(f"{reader.name}: more than {SECONDS_PER_INPUT} s") from None
    except Exception as error:
        raise Finding(f"{reader.name}: {type(error).__name__}: {error}") from error
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        faulthandler.cancel_dump_traceback_later()
        count.slowest_sec = max(count.slowest_sec, time.perf_counter() - start)


# ---------------------------------------------------------------- many inputs


def damaged(reader: Reader) -> st.SearchStrategy[bytes]:
    """Valid files with up to eight wounds, or noise and words."""
    place, size = st.floats(0, 1), st.integers(1, 40)
    wounds = st.one_of(
        st.tuples(st.just("flip"), place, st.integers(0, 7)),
        st.tuples(st.just("cut"), place, size),
        st.tuples(st.just("double"), place, size),
        st.tuples(st.just("end"), place, st.just(0)),
        st.tuples(st.just("insert"), place, st.one_of(st.sampled_from(reader.words), st.binary(max_size=8))),
        st.tuples(
            st.just("replace"), place, st.one_of(st.sampled_from(reader.words), st.binary(min_size=1, max_size=8))
        ),
        st.tuples(st.just("head"), st.floats(0, 1), st.binary(min_size=1, max_size=4)),
    )
    valid = st.sampled_from(reader.seeds)
    noise = st.lists(st.one_of(st.sampled_from(reader.words), st.binary(max_size=6)), max_size=12).map(b"".join)
    few, many = (st.lists(wounds, min_size=1, max_size=most) for most in (2, 8))
    return st.one_of(st.builds(wound_all, valid, few), st.builds(wound_all, valid, many), noise)


def wound_all(data: bytes, wounds: list[tuple]) -> bytes:
    """Apply wounds (what, where as a share of the length, argument) in turn."""
    for what, place, argument in wounds:
        at = int(place * len(data))
        if what == "flip" and at < len(data):
            data = data[:at] + bytes([data[at] ^ 1 << argument]) + data[at + 1 :]
        elif what == "cut":
            data = data[:at] + data[at + argument :]
        elif what == "double":
            data = data[: at + argument] + data[at:]
        elif what == "end":
            data = data[:at]
        elif what == "insert":
            data = data[:at] + argument + data[at:]
        elif what in ("replace", "head"):  # most of what a header says is in the first 64 bytes
            at = int(place * min(len(data), 64)) if what == "head" else at
            data = data[:at] + argument + data[at + len(argument) :]
    return data


def fuzz(reader: Reader, inputs: int, seed: int) -> tuple[Count, str]:
    """Try `inputs` inputs; return their count, and the first finding or ""."""
    count, last = Count(), b""

    @hypothesis_seed(seed)
    @settings(
        max_examples=inputs,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    @given(damaged(reader))
    def try_each(data: bytes) -> None:
        nonlocal last
        last = data
        try_one(reader, data, count)

    for valid in reader.seeds:
        try_one(reader, valid, count)
    refused_valid = count.refused and reader.name != "codec spec"
    try:
        with limited():
            try_each()
    except Finding as finding:
        return count, f"{finding}\n    input: {last!r}"
    finally:
        reader.path.write_bytes(reader.seeds[0])
    return count, f"{reader.name}: refuses a valid file" if refused_valid else ""


def fuzz_with_atheris(name: str, runs: int, seed: int) -> None:
    """Never returns: libFuzzer ends the process, with status 0 if nothing was found."""
    import atheris

    folder = Path(tempfile.mkdtemp())
    with atheris.instrument_imports(include=["speechlm", "kaldiio", "yaml"], enable_loader_override=False):
        reader = next(r for r in make_readers(folder) if r.name == name)
    corpus = folder / "corpus"
    corpus.mkdir()
    for i, valid in enumerate(reader.seeds):
        (corpus / str(i)).write_bytes(valid)
    (folder / "words").write_text(
        "".join('"' + "".join(f"\\x{byte:02x}" for byte in word[:60]) + '"\n' for word in reader.words)
    )
    count = Count()
    options = [
        f"-runs={runs}",
        f"-seed={seed}",
        "-max_len=4096",
        "-len_control=0",
        f"-dict={folder / 'words'}",
        "-timeout=10",
        f"-artifact_prefix={folder}/",
    ]
    with limited():
        atheris.Setup([sys.argv[0], *options, str(corpus)], lambda data: try_one(reader, data, count))
        atheris.Fuzz()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of inputs")
    parser.add_argument("--readers", nargs="*", help="only these")
    parser.add_argument("--atheris", type=int, metavar="RUNS", help="coverage-guided, this many runs per reader")
    args = parser.parse_args()
    if args.atheris and args.readers and len(args.readers) == 1:
        fuzz_with_atheris(args.readers[0], args.atheris, args.seed)
    with tempfile.TemporaryDirectory() as folder:
        readers = [r for r in make_readers(Path(folder)) if not args.readers or r.name in args.readers]
        if args.atheris:
            sys.exit(sum(fuzz_in_process(reader.name, args) for reader in readers) > 0)
        findings, total = [], 0
        for reader in readers:
            start = time.monotonic()
            count, finding = fuzz(reader, round(reader.inputs * args.scale), args.seed)
            total += count.accepted + count.refused
            print(
                f"{reader.name:15} {count.accepted:6} read, {count.refused:6} refused in {len(count.kinds):4} ways,"
                f" slowest {1000 * count.slowest_sec:5.0f} ms, {time.monotonic() - start:4.0f} s in"
                f" all{'  FINDING' if finding else ''}",
                flush=True,
            )
            findings += [finding] if finding else []
    print(
        f"{total} inputs, {len(findings)} findings, {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB"
        " at most"
    )
    print("\n".join(findings))
    sys.exit(bool(findings))


def fuzz_in_process(name: str, args: argparse.Namespace) -> bool:
    """Run atheris on one reader in a process of its own; print its last lines, and return whether it found
    something.
    """
    command = [sys.executable, __file__, "--atheris", str(args.atheris), "--seed", str(args.seed), "--readers", name]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    lines = done.stdout.splitlines()
    print(
        f"{name:15} status {done.returncode}: " + "\n    ".join(lines[-25:] if done.returncode else lines[-1:]),
        flush=True,
    )
    return done.returncode != 0


if __name__ == "__main__":
    main()
