"""What the judge hears: telephone-band audio at one level, with a little noise; and how training audio is varied.

Everything is resampled to 8 kHz, so that a 24 kHz codec, a 16 kHz codec and a telephone corpus are heard alike.
A fixed level and a fixed noise floor make digital silence and a codec's hiss look alike too.
"""

import numpy as np
from scipy.ndimage import gaussian_filter

from speechlm.data.audio import resample

RATE_HZ = 8000
LEVEL = 0.1  # rms of the loud part of an utterance
FLOOR_DB = -45.0  # noise floor below LEVEL
MARGIN_SEC = 0.1  # silence added at each end
GRID_SEC = 0.25  # total lengths are rounded up to this, so that utterances of one length can share a batch


def prepare(wav_T: np.ndarray, rate_hz: int) -> np.ndarray:
    """Return wav_T as the judge hears it: float32 at RATE_HZ, level set, silence and noise floor added."""
    wav_T = set_level(resample(wav_T, rate_hz, RATE_HZ))
    margin = round(MARGIN_SEC * RATE_HZ)
    grid = round(GRID_SEC * RATE_HZ)
    return add_floor(
        np.pad(wav_T, (margin, margin + (-len(wav_T) - 2 * margin) % grid)), FLOOR_DB, np.random.default_rng(0)
    )


def set_level(wav_T: np.ndarray) -> np.ndarray:
    """Scale so that the rms of the loud half of the signal's energy is LEVEL; silence stays silence."""
    power_T = np.sort(wav_T.astype(np.float64) ** 2)
    loud = power_T[np.searchsorted(np.cumsum(power_T), power_T.sum() / 100) :]
    rms = np.sqrt(loud.mean()) if loud.size else 0.0
    return (wav_T * (LEVEL / rms) if rms > 1e-5 else wav_T * 0.0).astype(np.float32)


def add_floor(wav_T: np.ndarray, floor_db: float, rng: np.random.Generator) -> np.ndarray:
    """Add white noise at `floor_db` relative to LEVEL."""
    noise_T = rng.standard_normal(len(wav_T)) * LEVEL * 10 ** (floor_db / 20)
    return (wav_T + noise_T).astype(np.float32)


def vary(wav_T: np.ndarray, rate_hz: int, rng: np.random.Generator) -> np.ndarray:
    """Return one training variant of an utterance at RATE_HZ: speed, tone, coding damage, noise, silence around it.

    The coding damage is no particular codec's: blurred spectra with random phases, as in noise vocoding; and noise
    in proportion to the signal, as the modulated noise reference unit (ITU-T P.810) defines it.
    """
    speed = rng.uniform(0.88, 1.15)
    wav_T = resample(wav_T, round(rate_hz * speed), RATE_HZ)
    wav_T = wav_T + rng.uniform(-0.4, 0.4) * np.concatenate([[0.0], wav_T[:-1]])
    if rng.random() < 0.4:
        wav_T = blur(wav_T, rng)
    if rng.random() < 0.5:
        wav_T = wav_T * (1 + 10 ** (-rng.uniform(6, 30) / 20) * rng.standard_normal(len(wav_T)))
    pads = tuple(round(rng.uniform(0.05, limit) * RATE_HZ) for limit in (0.15, 0.4))
    floor_db = rng.uniform(-40, -12) if rng.random() < 0.5 else FLOOR_DB
    return add_floor(np.pad(set_level(wav_T), pads), floor_db, rng)


def blur(wav_T: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return wav_T with its magnitude spectrum smoothed over time and frequency, and its phases partly random."""
    size, hop = 256, 64  # 32 ms, 8 ms
    frames = range(0, len(wav_T) + size, hop)
    window = np.hanning(size + 1)[:-1]
    padded_T = np.pad(wav_T, (size, 2 * size))
    spectrum_FB = np.fft.rfft([padded_T[start : start + size] * window for start in frames])
    magnitude_FB = gaussian_filter(np.abs(spectrum_FB), (rng.uniform(0, 3), rng.uniform(0, 3)))
    phase_FB = np.angle(spectrum_FB) + rng.uniform(0, np.pi) * rng.uniform(-1, 1, spectrum_FB.shape)
    out_T = np.zeros(len(padded_T) + size)
    for start, frame in zip(frames, np.fft.irfft(magnitude_FB * np.exp(1j * phase_FB))):
        out_T[start : start + size] += frame * window
    return out_T[size : size + len(wav_T)]
