"""Read and write audio: float32 mono in [-1, 1], any file that libsndfile reads, any rate."""

from pathlib import Path

import numpy as np
import soundfile
import soxr

from speechlm.data.kaldi import Span


def load_wav(path: str | Path, rate_hz: int | None = None, start_sec: float = 0.0, end_sec: float | None = None) -> tuple[np.ndarray, int]:
    """Return (wav_T float32 mono, rate_hz) of a file or of a stretch of it, resampled if `rate_hz` is given.

    Raises ValueError if the file is missing, not audio, empty, or holds NaN or infinity.
    """
    try:
        with soundfile.SoundFile(str(path)) as stream:
            found_hz = stream.samplerate
            stream.seek(min(round(start_sec * found_hz), stream.frames))
            stop = stream.frames if end_sec is None else min(round(end_sec * found_hz), stream.frames)
            wav_TC = stream.read(max(0, stop - stream.tell()), dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise ValueError(f"{path}: {_why(path, error)}. Make it again: run local/data.sh, or decode again.") from None
    wav_T = wav_TC.mean(axis=1)
    if not wav_T.size:
        raise ValueError(f"{path}: no samples from {start_sec} to {end_sec or 'the end'} s; expected audio. Run local/data.sh again.")
    if not np.isfinite(wav_T).all():
        raise ValueError(f"{path}: NaN or infinite samples; expected numbers in [-1, 1]. Write the file again.")
    return (wav_T, found_hz) if rate_hz is None else (resample(wav_T, found_hz, rate_hz), rate_hz)


def load_span(span: Span, rate_hz: int) -> np.ndarray:
    """Return wav_T (float32 mono at `rate_hz`) of an utterance's stretch of audio."""
    return load_wav(span.path, rate_hz, span.start_sec, span.end_sec)[0]


def resample(wav_T: np.ndarray, from_hz: int, to_hz: int) -> np.ndarray:
    """Return wav_T at another rate, with soxr's high-quality filter; the same array if the rates are equal."""
    return wav_T if from_hz == to_hz else soxr.resample(wav_T, from_hz, to_hz).astype(np.float32)


def save_wav(path: str | Path, wav_T: np.ndarray, rate_hz: int) -> None:
    """Write wav_T as a 16-bit wav file, whole or not at all; samples beyond [-1, 1] are clipped."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    soundfile.write(str(temporary), np.clip(wav_T, -1.0, 1.0), rate_hz, subtype="PCM_16", format="WAV")
    temporary.replace(path)


def _why(path: str | Path, error: Exception) -> str:
    if not Path(path).is_file():
        return "no such file"
    return "an empty file" if Path(path).stat().st_size == 0 else f"not an audio file ({error})"
