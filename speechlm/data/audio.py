"""Read and write audio: float32 mono in [-1, 1], any rate, whatever libsndfile or FFmpeg's libraries read.

A file is decoded by its content, whatever its name, and what decodes is what counts: wav, flac and Ogg by libsndfile,
mp3 and everything else as packets (`speechlm.data.packets`). A recording that ends a little earlier than its header
says is used and listed; one that lacks more than `SLACK_SEC` raises an `AudioError`, as does every recording that
cannot be used. Its kind is one of `speechlm.data.items`.
"""

import io
import mmap
import os
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile
import soxr

from speechlm.data.files import storage_errors
from speechlm.data.packets import Packets, open_packets
from speechlm.data.recording import STREAMED_BYTES, AudioError, Span, is_pointer, open_recording

MAX_SEC = 300.0  # an utterance; five minutes are 3,750 rows at 12.5 Hz, more than a row of training holds
RATES_HZ = (1_000, 768_000)  # outside, the header is damaged: speech needs more, no device records above
SILENCE_LEVEL = 1e-4  # -80 dB, three steps of 16 bits: below is dither, in any room a microphone gives more
SLACK_SEC = 0.1  # a recording may end this much before its header or segments say: writers round; less than a syllable
KEEPABLE = frozenset({"truncated", "silence"})  # faults with which a published recording can be kept (--keep_published)
CLIPPED_LEVEL, CLIPPED_SHARE = (
    0.99,
    0.01,
)  # one sample in a hundred at full scale (127/128 for 8 bits) is heard as distortion
BLOCK_SAMPLES = 1 << 20  # of all channels, decoded at once: memory does not depend on the number of channels
SMALL_BLOCK_SAMPLES = 1 << 9  # the same, of a damaged file
LONGEST_FRAMES = 1 << 48  # the same, as libsndfile counts frames
MAGIC = {b"OggS": b"OggS\0\2", b"fLaC": b"fLaC\0\0\0\42"}  # how a file starts -> how each stream in it does
NOTED_SEC = 0.005  # missing of a recording of packets: less is padding, which containers count differently
_LENGTH_LOG = re.compile(r"^ *(?:data|SSND|Data Size|riff|Riff size) *: (\d+) \(should be (\d+)\)", re.MULTILINE)


def load_wav(
    path: str | Path,
    rate_hz: int | None = None,
    start_sec: float = 0.0,
    end_sec: float | None = None,
    keep: Collection[str] = (),
) -> tuple[np.ndarray, int]:
    """Return (wav_T float32 mono, rate_hz) of a recording or of a stretch of it, resampled if `rate_hz` is given.

    Raises AudioError if it is missing, not audio, empty, truncated (unless that is in `keep`), or holds NaN or
    infinity.
    """
    wav_T, found_hz, _ = _load(Span(str(path), start_sec, end_sec), None, keep)
    return (wav_T, found_hz) if rate_hz is None else (resample(wav_T, found_hz, rate_hz), rate_hz)


def load_span(span: Span, rate_hz: int, max_sec: float = MAX_SEC, keep: Collection[str] = ()) -> np.ndarray:
    """Return wav_T (float32 mono at `rate_hz`) of an utterance's stretch of audio.

    Raises AudioError as `load_wav`, and for a stretch that is silent, outside the file, or longer than `max_sec`;
    faults in
    `keep` are passed over.
    """
    return inspect_span(span, rate_hz, max_sec, keep)[0]


def inspect_span(
    span: Span, rate_hz: int, max_sec: float, keep: Collection[str]
) -> tuple[np.ndarray, list[tuple[str, str]]]:
    """Return what `load_span` returns, and (kind, detail) of whatever is suspicious about it."""
    wav_T, found_hz, missing_sec = _load(span, max_sec, keep)
    notes = []
    if missing_sec:
        kind = "ends early" if missing_sec <= SLACK_SEC else "kept: truncated"
        notes.append((kind, _missing(span.path, missing_sec)))
    if np.ptp(wav_T) < 2 * SILENCE_LEVEL:
        silent = f"{span.path}: no sample differs from another by {2 * SILENCE_LEVEL}; expected speech"
        if "silence" not in keep:
            raise AudioError("silence", silent)
        notes.append(("kept: silence", silent))
    if (share := clipped_share(wav_T)) > CLIPPED_SHARE:
        notes.append(("clipping", f"{span.path}: {share:.1%} of the samples at full scale"))
    return resample(wav_T, found_hz, rate_hz), notes


def check_header(span: Span, max_sec: float = MAX_SEC) -> None:
    """Raise the AudioError that `load_span` would raise, as far as the file's header tells."""
    with _open(span.path, whole=span.end_sec is not None) as stream:
        if isinstance(stream, Packets):
            _find_packets(stream, span, max_sec)
        else:
            _require_whole(span.path, _find(stream, span, max_sec)[2], ())


def duration_sec(span: Span) -> float:
    """Return the length of a stretch in seconds, as its header tells it; raise AudioError if it has no samples.

    The header of an mp3 without an index tells nothing: its packets are counted.
    """
    with _open(span.path, whole=span.end_sec is not None) as stream:
        if isinstance(stream, Packets):
            return _find_packets(stream, span, None)
        start, stop, _ = _find(stream, span, None)
        return (stop - start) / stream.samplerate


def clipped_share(wav_T: np.ndarray) -> float:
    """Return the share of samples at full scale."""
    return float(np.mean(np.abs(wav_T) >= CLIPPED_LEVEL))


def resample(wav_T: np.ndarray, from_hz: int, to_hz: int) -> np.ndarray:
    """Return wav_T at another rate, with soxr's high-quality filter; the same array if the rates are equal."""
    return wav_T if from_hz == to_hz else soxr.resample(wav_T, from_hz, to_hz).astype(np.float32)


def save_wav(path: str | Path, wav_T: np.ndarray, rate_hz: int) -> None:
    """Write wav_T as a 16-bit wav file, whole or not at all; samples beyond [-1, 1] are clipped."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    content = io.BytesIO()  # of a full disk, libsndfile would only say "system error"
    soundfile.write(content, np.clip(wav_T, -1.0, 1.0), rate_hz, subtype="PCM_16", format="WAV")
    with storage_errors(path):
        temporary.write_bytes(content.getvalue())
        temporary.replace(path)


# ---------------------------------------------------------------- both kinds


def _load(span: Span, max_sec: float | None, keep: Collection[str]) -> tuple[np.ndarray, int, float]:
    """Return wav_T, its rate, and how many seconds are missing at its end."""
    with _open(span.path, whole=True) as stream:
        if isinstance(stream, Packets):
            wav_T, missing_sec = _read_packets(stream, span, max_sec)
            rate_hz = stream.rate_hz
        else:
            wav_T, missing_sec = _read_samples(stream, span, max_sec)
            rate_hz = stream.samplerate
    if missing_sec:
        _require_whole(span.path, missing_sec, keep if wav_T.size else ())
    if not wav_T.size:
        raise AudioError(
            "no samples",
            f"{span.path}: no samples from {span.start_sec} to {span.end_sec or 'the end'} s; expected audio",
        )
    if max_sec is not None:
        _check_length(span.path, wav_T.size / rate_hz, max_sec)
    if not np.isfinite(wav_T).all():
        raise AudioError(
            "NaN or infinite", f"{span.path}: {np.count_nonzero(~np.isfinite(wav_T))} NaN or infinite samples"
        )
    return wav_T, rate_hz, missing_sec


def _missing(path: str, missing_sec: float) -> str:
    length = "the end is missing" if missing_sec == np.inf else f"{missing_sec:.3f} s are missing"
    return f"{path}: {length}, by what its header says and what can be decoded"


def _require_whole(path: str, missing_sec: float, keep: Collection[str]) -> None:
    if missing_sec > SLACK_SEC and "truncated" not in keep:
        raise AudioError("truncated", _missing(path, missing_sec))


def _check_length(path: str, found_sec: float, max_sec: float) -> None:
    if found_sec > max_sec:
        raise AudioError("too long", f"{path}: {found_sec:.0f} s or more; expected at most {max_sec:g} s (--max_sec)")


def _check_rate(path: str, rate_hz: int) -> None:
    if not RATES_HZ[0] <= rate_hz <= RATES_HZ[1]:
        raise AudioError("not audio", f"{path}: a rate of {rate_hz} Hz; expected {RATES_HZ[0]} to {RATES_HZ[1]}")


def _outside(span: Span, length_sec: float) -> AudioError:
    found = f"no samples from {span.start_sec} to {span.end_sec} s, it is {length_sec:.2f} s long"
    return AudioError("outside the recording", f"{span.path}: {found}")


@contextmanager
def _open(path: str, whole: bool = False) -> Iterator[soundfile.SoundFile | Packets]:
    """Open a recording by its content: its name cannot mislead us. With `whole`, what was joined behind it is found
    too.
    """
    with open_recording(path) as raw:
        start = raw.read(4)
        mpeg = start[:3] == b"ID3" or (start[:1] == b"\xff" and start[1:2] >= b"\xe0")
        packets = mpeg or (whole and _is_joined(path, raw, start))
        raw.seek(0)
        stream = None if packets else _open_samples(raw)
        if stream is not None:
            with stream:
                _check_rate(path, stream.samplerate)
                yield stream
            return
        if is_pointer(path):
            raise AudioError("not fetched", f"{path}: a pointer of git-lfs; expected the recording itself")
        raw.seek(0)
        with open_packets(path, raw) as stream:
            _check_rate(path, stream.rate_hz)
            yield stream


def _is_joined(path: str, raw: BinaryIO, start: bytes) -> bool:
    """Tell whether a second stream, which libsndfile would not read, follows in an Ogg or flac file; AudioError for a
    wav.
    """
    if isinstance(raw, io.BytesIO):
        return False
    found = os.fstat(raw.fileno())
    if start == b"RIFF":
        length = int.from_bytes(raw.read(4), "little") + 8
        raw.seek(length)
        if raw.read(4) == b"RIFF":
            raise AudioError("joined", f"{path}: a second wav file begins after {length} bytes; expected one recording")
        return False
    return start in MAGIC and _count_streams(raw.name, found.st_size, found.st_mtime_ns, MAGIC[start]) > 1


@lru_cache(1024)
def _count_streams(path: str, _size: int, _mtime_ns: int, magic: bytes) -> int:
    with open(path, "rb") as raw, mmap.mmap(raw.fileno(), 0, access=mmap.ACCESS_READ) as data:
        first = data.find(magic)
        return (first >= 0) + (data.find(magic, first + 1) >= 0)


# ---------------------------------------------------------------- samples, by libsndfile


def _open_samples(raw: BinaryIO) -> soundfile.SoundFile | None:
    """Return the stream of a file; None if libsndfile doesn't read it, or not how long it is (flac written to a
    pipe).
    """
    try:
        stream = soundfile.SoundFile(raw if isinstance(raw, io.BytesIO) else raw.fileno(), closefd=False)
    except (soundfile.LibsndfileError, RuntimeError):
        return None
    return stream if stream.frames < LONGEST_FRAMES else None


def _read_samples(stream: soundfile.SoundFile, span: Span, max_sec: float | None) -> tuple[np.ndarray, float]:
    """Return a stretch, and how many seconds are missing at its end."""
    start, stop, missing_sec = _find(stream, span, max_sec)
    wav_T = _read_mono(stream, start, stop)
    return wav_T, missing_sec + (stop - start - wav_T.size) / stream.samplerate


def _find(stream: soundfile.SoundFile, span: Span, max_sec: float | None) -> tuple[int, int, float]:
    """Return the first and the last sample (exclusive) of a stretch, and how many seconds its file lacks at the end.

    Raises AudioError if the header doesn't allow the stretch.
    """
    frames, rate_hz = stream.frames, stream.samplerate
    start = round(span.start_sec * rate_hz)
    stop = frames if span.end_sec is None else round(span.end_sec * rate_hz)
    missing_sec = _missing_sec(stream) if span.end_sec is None or stop > frames else 0.0
    if start >= frames:
        _require_whole(span.path, missing_sec, ())
    if not frames:
        raise AudioError("no samples", f"{span.path}: no samples; expected audio")
    too_late = max_sec is not None and stop > frames + SLACK_SEC * rate_hz and missing_sec <= SLACK_SEC
    if start >= frames or too_late:
        raise _outside(span, frames / rate_hz)
    stop = min(stop, frames)
    if max_sec is not None:
        _check_length(span.path, (stop - start) / rate_hz, max_sec)
    return start, stop, missing_sec


def _missing_sec(stream: soundfile.SoundFile) -> float:
    """Return by how much a file is shorter than its header says (wav, aiff, au, w64, rf64): libsndfile only
    notes it.
    """
    lengths = [(int(said), int(there)) for said, there in _LENGTH_LOG.findall(stream.extra_info)]
    missing, there = max(((said - there, there) for said, there in lengths if said < STREAMED_BYTES), default=(0, 0))
    if missing <= 0:
        return 0.0
    return missing / there * stream.frames / stream.samplerate if there > 0 and stream.frames else np.inf


def _read_mono(stream: soundfile.SoundFile, start: int, stop: int) -> np.ndarray:
    """Return the mean of the channels as far as it can be decoded."""
    wav_T = _read_in_blocks(stream, start, stop, BLOCK_SAMPLES)
    if len(wav_T) == stop - start:
        return wav_T
    _rewind(stream.name)  # libsndfile gives nothing of a block that is damaged in part, and can't go on after it
    with soundfile.SoundFile(stream.name, closefd=False) as again:
        return _read_in_blocks(again, start, stop, SMALL_BLOCK_SAMPLES)


def _rewind(file: int | io.BytesIO) -> None:
    os.lseek(file, 0, os.SEEK_SET) if isinstance(file, int) else file.seek(0)


def _read_in_blocks(stream: soundfile.SoundFile, start: int, stop: int, block_samples: int) -> np.ndarray:
    pieces: list[np.ndarray] = []
    with suppress(soundfile.LibsndfileError, RuntimeError):
        if start:
            stream.seek(start)
        for wav_T in _read_blocks(stream, stop - start, block_samples):
            pieces.append(wav_T)
    return np.concatenate(pieces) if pieces else np.zeros(0, np.float32)


def _read_blocks(stream: soundfile.SoundFile, samples: int, block_samples: int) -> Iterator[np.ndarray]:
    while samples > 0:
        block_TC = stream.read(min(samples, max(1, block_samples // stream.channels)), dtype="float32", always_2d=True)
        if not len(block_TC):
            return
        samples -= len(block_TC)
        with np.errstate(invalid="ignore", over="ignore"):  # infinite samples are found later
            yield block_TC.mean(axis=1)


# ---------------------------------------------------------------- packets, by FFmpeg's libraries


def _find_packets(packets: Packets, span: Span, max_sec: float | None) -> float:
    """Return the length of a stretch as far as the file tells it; raise AudioError if it doesn't allow it."""
    length_sec = packets.claimed_sec or 0.0
    if length_sec <= (span.end_sec or span.start_sec):  # nothing is claimed, or of joined files only the first
        length_sec = packets.count()
    if not length_sec:
        raise AudioError("no samples", f"{span.path}: no samples; expected audio")
    end_sec = length_sec if span.end_sec is None else span.end_sec
    if span.start_sec >= length_sec or (max_sec is not None and end_sec > length_sec + SLACK_SEC):
        raise _outside(span, length_sec)
    found_sec = min(end_sec, length_sec) - span.start_sec
    if max_sec is not None:
        _check_length(span.path, found_sec, max_sec)
    return found_sec


def _read_packets(packets: Packets, span: Span, max_sec: float | None) -> tuple[np.ndarray, float]:
    """Return a stretch, and how many seconds are missing at its end."""
    end_sec = np.inf if span.end_sec is None else span.end_sec
    longest_sec = np.inf if max_sec is None else max_sec + 1
    last_sec = min(end_sec, span.start_sec + longest_sec)
    pieces = list(packets.decode(span.start_sec, last_sec))
    wav_T = np.concatenate(pieces) if pieces else np.zeros(0, np.float32)
    wanted = (last_sec - span.start_sec) * packets.rate_hz
    if wanted <= wav_T.size:
        return wav_T[: round(wanted)], packets.bad_sec
    missing_sec = packets.bad_sec + max(0.0, (packets.claimed_sec or 0.0) - packets.end_sec)
    lacking_sec = end_sec - span.start_sec - wav_T.size / packets.rate_hz
    too_late = max_sec is not None and SLACK_SEC < lacking_sec < np.inf
    if missing_sec <= SLACK_SEC and (too_late or (span.start_sec and not wav_T.size)):
        raise _outside(span, packets.end_sec)
    return wav_T, missing_sec if missing_sec > NOTED_SEC else 0.0
