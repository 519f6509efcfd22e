"""Where a recording that is too long for a model is cut: at its pauses.

Silero VAD finds them, a small network that comes with its package. Letters in shapes: N samples, F windows of 32 ms.
"""

from collections.abc import Iterator
from functools import cache

import numpy as np

from speechlm.data.audio import resample

RATE_HZ, WINDOW_SAMPLES = 16000, 512  # what the network takes
WINDOW_SEC = WINDOW_SAMPLES / RATE_HZ
SPEECH = 0.5  # probability above which a window is speech
NOBODY = 0.1  # none above this in all of a recording: of noise, hum and tones at most 0.06, of a digit of 0.14 s 0.16
CLEAR_SEC = 0.4  # a pause of this length is a cut in any case: examples in training are mostly single sentences
CLICK_SEC = 0.2  # what is spoken between two such pauses is longer
MARGIN_SEC = 0.1  # that stays around speech: its beginning and end are soft
Stretch = tuple[int, int]  # first window, and the first after it


def find_pieces(wav_N: np.ndarray, rate_hz: int, longest_sec: float) -> list[tuple[float, float]]:
    """Return (start, end) in seconds of the pieces of a recording in which somebody speaks, each at most `longest_sec`.

    Without speech there are none.
    """
    end_sec = len(wav_N) / rate_hz
    longest = int((longest_sec - 2 * MARGIN_SEC) / WINDOW_SEC)
    found = cut(probabilities(resample(wav_N, rate_hz, RATE_HZ)), longest)
    return add_margins([(start * WINDOW_SEC, min(end * WINDOW_SEC, end_sec)) for start, end in found], end_sec)


def speaks(wav_N: np.ndarray, rate_hz: int) -> bool:
    """Say whether anybody speaks in a recording; what follows the first clear speech is not looked at."""
    likely = 0.0
    for probability in _each(resample(wav_N, rate_hz, RATE_HZ)):
        likely = max(likely, probability)
        if likely >= SPEECH:
            break
    return likely >= NOBODY


def probabilities(wav_N: np.ndarray) -> np.ndarray:
    """Return how likely each window is speech, float32 [F]; the last one is filled with silence."""
    return np.fromiter(_each(wav_N), np.float32)


def _each(wav_N: np.ndarray) -> Iterator[float]:
    import torch

    network = _network()
    network.reset_states()
    for window_N in torch.from_numpy(np.pad(wav_N, (0, -len(wav_N) % WINDOW_SAMPLES))).view(-1, WINDOW_SAMPLES):
        with torch.inference_mode():
            yield network(window_N, RATE_HZ).item()


@cache
def _network():
    import torch

    threads = torch.get_num_threads()
    from silero_vad import load_silero_vad  # which leaves the whole process a single thread

    torch.set_num_threads(threads)
    return load_silero_vad()


def cut(speech_F: np.ndarray, longest: int) -> list[Stretch]:
    """Return the pieces, in order: cut at each clear pause, and what is still longer than `longest` at quiet places."""
    longest, pieces = max(longest, 4), []
    talks = _join(_runs(speech_F >= SPEECH), CLEAR_SEC / WINDOW_SEC)
    todo = [(start, end) for start, end in talks[::-1] if end - start > CLICK_SEC / WINDOW_SEC]
    while todo:
        start, end = todo.pop()
        if end - start <= longest:
            pieces.append((start, end))
            continue
        left, right = _quietest(speech_F[start:end])
        todo += [(start + right, end), (start, start + left)]
    return pieces


def _runs(mask_F: np.ndarray) -> list[Stretch]:
    """Return the stretches in which a mask is true."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask_F, [False]]).astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist()))


def _join(runs: list[Stretch], pause: float) -> list[Stretch]:
    """Return the stretches with those that are less than `pause` apart as one."""
    joined: list[Stretch] = []
    for start, end in runs:
        near = bool(joined) and start - joined[-1][1] < pause
        joined.append((joined.pop()[0] if near else start, end))
    return joined


def _quietest(speech_F: np.ndarray) -> Stretch:
    """Return the longest pause in the middle half; without one, the place that is the least like speech."""
    quarter = len(speech_F) // 4
    middle_F = speech_F[quarter : len(speech_F) - quarter]
    pauses = _runs(middle_F < SPEECH)
    place = int(middle_F.argmin())
    left, right = max(pauses, key=lambda pause: pause[1] - pause[0]) if pauses else (place, place)
    return quarter + left, quarter + right


def add_margins(pieces: list[tuple[float, float]], end_sec: float) -> list[tuple[float, float]]:
    """Return the pieces with up to `MARGIN_SEC` more on each side, of a pause at most its half."""
    bounds = [0.0, *((before[1] + after[0]) / 2 for before, after in zip(pieces, pieces[1:])), end_sec]
    return [
        (max(start - MARGIN_SEC, low), min(end + MARGIN_SEC, high))
        for (start, end), low, high in zip(pieces, bounds, bounds[1:])
    ]
