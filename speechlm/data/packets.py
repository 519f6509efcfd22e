"""Recordings in packets: mp3, Opus, Vorbis, AAC in any container, decoded from the first packet to the last by FFmpeg's
libraries (PyAV).

The length that a header tells is not trusted: an mp3 without an index is estimated, joined files say the length of the
first. What a header says for certain (an mp3's index frame; WebM, MP4) only serves to tell that something is missing.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import BinaryIO

import av
import numpy as np

from speechlm.data.recording import AudioError

av.logging.set_level(av.logging.PANIC)  # what it has to say of a file becomes an AudioError
# Containers of sound only: others may name files and addresses that are then opened.
CONTAINERS = "mp3,ogg,matroska,webm,mov,mp4,m4a,aac,flac,amr,asf,ac3,wv,ape"
EXACT_CONTAINERS = {"matroska", "mov", "asf"}  # their headers say how long they are
PREROLL_SEC = 1.0  # decoded before a stretch: an mp3 frame needs some before it, Opus 80 ms
MPEG_RATES_HZ = {
    3: (44100, 48000, 32000),
    2: (22050, 24000, 16000),
    0: (11025, 12000, 8000),
}  # by version: MPEG 1, 2, 2.5
INDEX_BYTES = 8192  # of an mp3: its index is in the first frame
SAMPLES = {  # FFmpeg's name of a sample format -> numpy's type, one plane for each channel?
    f"{name}{'p' * planar}": (kind, planar)
    for name, kind in {"u8": "u1", "s16": "i2", "s32": "i4", "s64": "i8", "flt": "f4", "dbl": "f8"}.items()
    for planar in (False, True)
}


@dataclass
class Packets:
    """One audio stream. `claimed_sec` is the length that the file says for certain; None if it doesn't.

    After `decode`, `end_sec` is where the last packet that was read ends, `bad_sec` how much could not be decoded.
    """

    path: str
    container: av.container.InputContainer
    stream: av.AudioStream
    claimed_sec: float | None
    end_sec: float = 0.0
    bad_sec: float = 0.0

    @cached_property
    def rate_hz(self) -> int:
        return self.stream.rate

    def count(self) -> float:
        """Return the length in seconds of all packets together, without decoding them."""
        return sum(map(self._seconds, self._demux()))

    def decode(self, start_sec: float, stop_sec: float) -> Iterator[np.ndarray]:
        """Give the samples (wav_T, mono) from `start_sec` on, until `stop_sec` or the end."""
        place = None  # of the next sample that is decoded
        first, last = round(start_sec * self.rate_hz), stop_sec * self.rate_hz
        for packet in self._demux():
            self.end_sec += self._seconds(packet)
            if self._may_skip and packet.size and self.end_sec < start_sec - PREROLL_SEC:
                continue
            for frame in self._frames(packet, counted=self.end_sec > start_sec):
                place = self._place(frame) if place is None else place
                wav_T = _mono(frame)
                yield wav_T[max(0, first - place) :]
                place += len(wav_T)
            if place is not None and place >= last:
                return

    @cached_property
    def _may_skip(self) -> bool:
        return self.container.format.name != "ogg"  # whose packets do not say how long they are

    @cached_property
    def _tick_sec(self) -> float:
        return float(self.stream.time_base)

    def _demux(self) -> Iterator[av.Packet]:
        try:
            yield from self.container.demux(self.stream)
        except av.FFmpegError:  # what follows cannot be told from noise
            self.bad_sec = np.inf

    def _seconds(self, packet: av.Packet) -> float:
        return (packet.duration or 0) * self._tick_sec if packet.size else 0.0

    def _frames(self, packet: av.Packet, counted: bool) -> list[av.AudioFrame]:
        try:
            frames = packet.decode()
        except av.FFmpegError:
            self.bad_sec += self._seconds(packet) if counted else 0.0
            return []
        if odd := [frame.sample_rate for frame in frames if frame.sample_rate != self.rate_hz]:
            raise AudioError(
                "not audio", f"{self.path}: its rate changes from {self.rate_hz} to {odd[0]} Hz; expected one recording"
            )
        return frames

    def _place(self, frame: av.AudioFrame) -> int:
        """Return the number of a frame's first sample."""
        if frame.pts is None:
            return 0
        return max(0, round((frame.pts - (self.stream.start_time or 0)) * float(frame.time_base) * self.rate_hz))


@contextmanager
def open_packets(path: str, raw: BinaryIO) -> Iterator[Packets]:
    """Open a recording of packets; raise AudioError if it is none."""
    try:
        container = av.open(raw, options={"format_whitelist": CONTAINERS, "protocol_whitelist": ""})
    except (av.FFmpegError, ValueError) as error:
        raise AudioError("not audio", f"{path}: not an audio file ({error})") from None
    with container:
        if not container.streams.audio:
            raise AudioError("not audio", f"{path}: no sound in it")
        stream = container.streams.audio[0]
        yield Packets(path, container, stream, _claimed_sec(container, raw))


def _claimed_sec(container: av.container.InputContainer, raw: BinaryIO) -> float | None:
    name = container.format.name
    if name == "mp3":
        return _around(raw, mp3_index_sec)
    exact = not EXACT_CONTAINERS.isdisjoint(name.split(",")) and container.duration
    return container.duration / av.time_base if exact else None


def _around(raw: BinaryIO, read: Callable[[BinaryIO], float | None]) -> float | None:
    """Return what a function reads from the beginning of a file that is being read elsewhere."""
    place = raw.tell()
    try:
        raw.seek(0)
        return read(raw)
    finally:
        raw.seek(place)


def mp3_index_sec(raw: BinaryIO) -> float | None:
    """Return the length that the index frame of an mp3 says (Xing or Info; all frames, padding too); None if it has
    none.
    """
    head = raw.read(10)
    if head[:3] == b"ID3" and len(head) == 10:  # its length in seven bits of each byte
        raw.seek(10 + sum((byte & 127) << shift for byte, shift in zip(head[6:], (21, 14, 7, 0))))
    else:
        raw.seek(0)
    data = raw.read(INDEX_BYTES)
    start = max(0, data.find(b"\xff"))
    header = data[start : start + 4]
    if len(header) < 4 or header[1] >> 5 != 7:
        return None
    version, rate_code = header[1] >> 3 & 3, header[2] >> 2 & 3
    if version not in MPEG_RATES_HZ or rate_code == 3:
        return None
    mono = header[3] >> 6 == 3
    side_bytes = (17 if mono else 32) if version == 3 else (9 if mono else 17)
    tag = data[start + 4 + side_bytes :][:12]
    if tag[:4] not in (b"Xing", b"Info") or len(tag) < 12 or not tag[7] & 1:
        return None
    return int.from_bytes(tag[8:12], "big") * (1152 if version == 3 else 576) / MPEG_RATES_HZ[version][rate_code]


def _mono(frame: av.AudioFrame) -> np.ndarray:
    """Return the mean of a frame's channels, float32 in [-1, 1]."""
    kind, planar = SAMPLES[frame.format.name]
    channels = len(frame.planes) if planar else frame.layout.nb_channels
    planes = [np.frombuffer(plane, kind, frame.samples * (1 if planar else channels)) for plane in frame.planes]
    wav_T = (
        planes[0] if channels == 1 else (np.stack(planes) if planar else planes[0].reshape(-1, channels).T).mean(axis=0)
    )
    if kind[0] == "f":
        return wav_T.astype(np.float32)
    half = 1 << 8 * int(kind[1]) - 1
    return ((wav_T - half * (kind[0] == "u")) / half).astype(np.float32)
