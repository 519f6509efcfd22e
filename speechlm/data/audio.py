"""Read and write audio: float32 mono in [-1, 1], any file that libsndfile reads, any rate.

A file is decoded by its content, whatever its name. What cannot be used is an `AudioError` with a kind of `speechlm.data.items`.
"""

import io
import re
import stat
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator

import numpy as np
import soundfile
import soxr

from speechlm.data.files import storage_errors

MAX_SEC = 300.0  # an utterance; five minutes are 3,750 rows at 12.5 Hz, more than a row of training holds
RATES_HZ = (1_000, 768_000)  # outside, the header is damaged: speech needs more, no device records above
SILENCE_LEVEL = 1e-4  # -80 dB, three steps of 16 bits: below is dither, in any room a microphone gives more
SLACK_SEC = 0.1  # segments may end this much after their recording: times are rounded
CLIPPED_LEVEL, CLIPPED_SHARE = 0.99, 0.01  # one sample in a hundred at full scale (127/128 for 8 bits) is heard as distortion
BLOCK_SAMPLES = 1 << 20  # of all channels, decoded at once: memory does not depend on the number of channels
STREAMED_BYTES = 0x7FFFF000  # from here on, a length in a header means "written to a pipe, not known"
LONGEST_FRAMES = 1 << 48  # the same, as libsndfile counts frames
_LENGTH_LOG = re.compile(r"^ *(?:data|SSND|Data Size|riff|Riff size) *: (\d+) \(should be (\d+)\)", re.MULTILINE)


@dataclass(frozen=True)
class Span:
    """A stretch of an audio file; `end_sec` None means to the end of the file."""

    path: str
    start_sec: float = 0.0
    end_sec: float | None = None


class AudioError(ValueError):
    """A recording that cannot be used, and the kind of fault (a key of `speechlm.data.items.ADVICE`)."""

    def __init__(self, kind: str, message: str):
        super().__init__(message)
        self.kind = kind


def load_wav(path: str | Path, rate_hz: int | None = None, start_sec: float = 0.0, end_sec: float | None = None) -> tuple[np.ndarray, int]:
    """Return (wav_T float32 mono, rate_hz) of a file or of a stretch of it, resampled if `rate_hz` is given.

    Raises AudioError if the file is missing, not audio, empty, truncated, or holds NaN or infinity.
    """
    wav_T, found_hz = _load(Span(str(path), start_sec, end_sec), None)
    return (wav_T, found_hz) if rate_hz is None else (resample(wav_T, found_hz, rate_hz), rate_hz)


def load_span(span: Span, rate_hz: int, max_sec: float = MAX_SEC) -> np.ndarray:
    """Return wav_T (float32 mono at `rate_hz`) of an utterance's stretch of audio.

    Raises AudioError as `load_wav`, and for a stretch that is silent, outside the file, or longer than `max_sec`.
    """
    wav_T, found_hz = _load(span, max_sec)
    if np.ptp(wav_T) < 2 * SILENCE_LEVEL:
        raise AudioError("silence", f"{span.path}: no sample differs from another by {2 * SILENCE_LEVEL}; expected speech")
    return resample(wav_T, found_hz, rate_hz)


def check_header(span: Span, max_sec: float = MAX_SEC) -> None:
    """Raise the AudioError that `load_span` would, as far as the header of the file tells it."""
    with _open(span.path) as stream:
        _find(stream, span, max_sec)


def duration_sec(span: Span) -> float:
    """Return the length of a stretch in seconds, as the header of its file tells it; raise AudioError if it has no samples."""
    with _open(span.path) as stream:
        start, stop = _find(stream, span, None)
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


def _load(span: Span, max_sec: float | None) -> tuple[np.ndarray, int]:
    with _open(span.path) as stream:
        start, stop = _find(stream, span, max_sec)
        wav_T = _read_mono(stream, span.path, start, stop)
        rate_hz = stream.samplerate
    if not wav_T.size:
        raise AudioError("no samples", f"{span.path}: no samples from {span.start_sec} to {span.end_sec or 'the end'} s; expected audio")
    if max_sec is not None:
        _check_length(span.path, wav_T.size / rate_hz, max_sec)
    if not np.isfinite(wav_T).all():
        raise AudioError("NaN or infinite", f"{span.path}: {np.count_nonzero(~np.isfinite(wav_T))} NaN or infinite samples")
    return wav_T, rate_hz


class _Stream(soundfile.SoundFile):
    """A file that is read on without seeking if its length is not known (flac written to a pipe): libsndfile can't seek there."""

    def seekable(self) -> bool:
        return self.frames < LONGEST_FRAMES and super().seekable()


@contextmanager
def _open(path: str) -> Iterator[soundfile.SoundFile]:
    """Open a regular file by its content: a name without an extension cannot mislead libsndfile."""
    try:
        found = Path(path).stat()
    except (OSError, ValueError):
        raise AudioError("missing file", f"{path}: no such file") from None
    if not stat.S_ISREG(found.st_mode):
        raise AudioError("missing file", f"{path}: a folder or a device; expected a file")
    if not found.st_size:
        raise AudioError("empty file", f"{path}: an empty file (0 bytes)")
    with open(path, "rb") as raw:
        try:
            stream = _Stream(raw.fileno(), closefd=False)
        except (soundfile.LibsndfileError, RuntimeError) as error:
            raise AudioError("not audio", f"{path}: not an audio file ({error})") from None
        with stream:
            if not RATES_HZ[0] <= stream.samplerate <= RATES_HZ[1]:
                raise AudioError("not audio", f"{path}: a rate of {stream.samplerate} Hz; expected {RATES_HZ[0]} to {RATES_HZ[1]}")
            yield stream


def _find(stream: soundfile.SoundFile, span: Span, max_sec: float | None) -> tuple[int, int]:
    """Return the first and the last sample (exclusive) of a stretch, or raise AudioError if the header doesn't allow it."""
    frames, rate_hz = stream.frames, stream.samplerate
    start = round(span.start_sec * rate_hz)
    stop = frames if span.end_sec is None else round(span.end_sec * rate_hz)
    if (span.end_sec is None or stop > frames) and (claimed := _missing_bytes(stream)):
        raise AudioError("truncated", f"{span.path}: {claimed} bytes of samples are missing")
    if not frames:
        raise AudioError("no samples", f"{span.path}: no samples; expected audio")
    if start >= frames or (max_sec is not None and stop > frames + SLACK_SEC * rate_hz):
        length = f"it is {frames / rate_hz:.2f} s long"
        raise AudioError("outside the recording", f"{span.path}: no samples from {span.start_sec} to {span.end_sec} s, {length}")
    stop = min(stop, frames)
    if max_sec is not None and frames >= LONGEST_FRAMES:
        return start, min(stop, start + int(max_sec * rate_hz) + 1)
    if max_sec is not None:
        _check_length(span.path, (stop - start) / rate_hz, max_sec)
    return start, stop


def _check_length(path: str, found_sec: float, max_sec: float) -> None:
    if found_sec > max_sec:
        raise AudioError("too long", f"{path}: {found_sec:.0f} s or more; expected at most {max_sec:g} s (--max_sec)")


def _missing_bytes(stream: soundfile.SoundFile) -> int:
    """Return by how many bytes a file is shorter than its header says (wav, aiff, au, w64, rf64): libsndfile only notes it."""
    lengths = [(int(said), int(there)) for said, there in _LENGTH_LOG.findall(stream.extra_info)]
    return max((said - there for said, there in lengths if said < STREAMED_BYTES), default=0)


def _read_mono(stream: soundfile.SoundFile, path: str, start: int, stop: int) -> np.ndarray:
    """Return the mean of the channels, block by block; raise AudioError where the samples end too early."""
    pieces, done = [], 0
    try:
        if start:
            stream.seek(start)
        while done < stop - start:
            wanted = min(stop - start - done, max(1, BLOCK_SAMPLES // stream.channels))
            block_TC = stream.read(wanted, dtype="float32", always_2d=True)
            if not len(block_TC):
                break
            with np.errstate(invalid="ignore", over="ignore"):  # infinite samples are found later
                pieces.append(block_TC.mean(axis=1))
            done += len(block_TC)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise AudioError("truncated", f"{path}: cannot be decoded after {done} of {stop - start} samples ({error})") from None
    if done < stop - start and stream.frames < LONGEST_FRAMES:
        raise AudioError("truncated", f"{path}: {done} samples; its header says {stop - start}")
    return np.concatenate(pieces) if pieces else np.zeros(0, np.float32)
