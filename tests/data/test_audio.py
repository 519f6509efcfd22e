"""Audio: any rate and channel count becomes float32 mono; what decodes is what counts; what cannot be used is refused
by name.
"""

import io
import pickle
from pathlib import Path

import av
import kaldiio
import numpy as np
import pytest
import soundfile

from speechlm.data.audio import (
    KEEPABLE,
    MAX_SEC,
    AudioError,
    Span,
    check_header,
    duration_sec,
    inspect_span,
    load_wav,
    save_wav,
)

RATE_HZ, SEC = 16000, 6.0
ID3V2 = b"ID3\4\0\0\0\0\1\0" + 128 * b"\0"  # a tag of 128 bytes before the sound, and one of 128 after it
ID3V1 = b"TAG" + 125 * b" "


def test_stereo_8khz_becomes_mono_16khz(tmp_path):
    tone = np.sin(2 * np.pi * 440 * np.arange(8000) / 8000)
    soundfile.write(tmp_path / "a.wav", np.stack([tone, tone], axis=1), 8000)
    wav_T, rate_hz = load_wav(tmp_path / "a.wav", 16000)
    assert (wav_T.dtype, wav_T.shape, rate_hz) == (np.float32, (16000,), 16000)
    assert np.abs(np.fft.rfft(wav_T)).argmax() == 440
    assert load_wav(tmp_path / "a.wav", start_sec=0.25, end_sec=0.5)[0].shape == (2000,)


def test_save_and_load_agree_to_16_bits(tmp_path):
    wav_T = np.random.default_rng(0).uniform(-1, 1, 1000).astype(np.float32)
    save_wav(tmp_path / "a.wav", wav_T, 24000)
    assert np.abs(load_wav(tmp_path / "a.wav")[0] - wav_T).max() < 1e-4


def test_unusable_files_are_refused_with_the_reason(tmp_path):
    (tmp_path / "zero.wav").write_bytes(b"")
    (tmp_path / "text.wav").write_bytes(b"hello, this is text")
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), 16000)
    soundfile.write(tmp_path / "nan.wav", np.full(10, np.nan, np.float32), 16000, subtype="FLOAT")
    reasons = {
        "gone": "no such file",
        "zero": "an empty file",
        "text": "not an audio file",
        "empty": "no samples",
        "nan": "NaN",
    }
    for name, reason in reasons.items():
        with pytest.raises(ValueError, match=reason):
            load_wav(tmp_path / f"{name}.wav")


# ---------------------------------------------------------------- compressed recordings


def speech(seconds: float = SEC, rate_hz: int = RATE_HZ) -> np.ndarray:
    """Return noise that is faint in its first third: a variable bit rate starts low, and length by bit rate is then
    wrong.
    """
    loud_T = np.where(np.arange(round(seconds * rate_hz)) < seconds * rate_hz / 3, 0.001, 0.2)
    return loud_T * np.random.default_rng(0).standard_normal(len(loud_T))


def mp3(mode: str = "VARIABLE", rate_hz: int = RATE_HZ, channels: int = 1) -> bytes:
    """Return the speech as an mp3 of LAME's, with its index frame."""
    stream = io.BytesIO()
    wav_TC = np.stack(channels * [speech(rate_hz=rate_hz)], axis=1)
    soundfile.write(stream, wav_TC, rate_hz, format="MP3", bitrate_mode=mode, compression_level=0.5)
    return stream.getvalue()


def without_index(data: bytes) -> bytes:
    return data[data.index(data[:2], 4) :]


def by_ffmpeg(path: Path, codec: str, kind: str) -> None:
    """Write the speech with a codec and container that libsndfile doesn't have."""
    with av.open(str(path), "w", format=kind) as container:
        stream = container.add_stream(codec, rate=48000, layout="mono")
        samples = (speech(rate_hz=48000) * 2**15).clip(-(2**15), 2**15 - 1).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate = 48000
        resampler = av.AudioResampler(stream.format, "mono", 48000, frame_size=stream.codec_context.frame_size or 960)
        for piece in [*resampler.resample(frame), *resampler.resample(None), None]:
            container.mux(stream.encode(piece))


MP3S = {  # each is read for how many seconds
    "variable": (lambda: mp3(), SEC),
    "variable without index": (lambda: without_index(mp3()), SEC),
    "variable without index, 8 kHz": (lambda: without_index(mp3(rate_hz=8000)), SEC),
    "variable without index, 48 kHz stereo": (lambda: without_index(mp3(rate_hz=48000, channels=2)), SEC),
    "constant without index": (lambda: without_index(mp3("CONSTANT")), SEC),
    "average": (lambda: mp3("AVERAGE"), SEC),
    "tags before and after": (lambda: ID3V2 + without_index(mp3()) + ID3V1, SEC),
    "joined": (lambda: mp3() + mp3(), 2 * SEC),
    "joined, with tags": (lambda: ID3V2 + mp3() + ID3V1 + ID3V2 + mp3(), 2 * SEC),
}


@pytest.mark.parametrize("name", MP3S)
def test_an_mp3_is_read_to_its_end_and_its_segments_are_where_they_are(tmp_path, name):
    make, seconds = MP3S[name]
    path = tmp_path / "a.mp3"
    path.write_bytes(make())
    wav_T, notes = inspect_span(Span(str(path)), RATE_HZ, MAX_SEC, ())
    assert seconds <= len(wav_T) / RATE_HZ + 0.02 and len(wav_T) / RATE_HZ < seconds + 0.2 and not notes
    loud = np.flatnonzero(np.abs(wav_T) > 0.05)  # the last sample counts, and the faint beginning
    assert abs(loud[0] / RATE_HZ - SEC / 3) < 0.2 and loud[-1] / RATE_HZ > seconds - 0.2
    check_header(Span(str(path), seconds - 1, seconds))
    whole_T, rate_hz = load_wav(path)
    for start_sec, end_sec in ((0.5, 1.2), (3.3, 5.1)):
        part_T, _ = load_wav(path, None, start_sec, end_sec)
        assert np.abs(part_T - whole_T[round(start_sec * rate_hz) : round(end_sec * rate_hz)]).max() < 2e-3


@pytest.mark.parametrize(("codec", "kind"), [("libopus", "webm"), ("aac", "mp4"), ("aac", "adts")])
def test_what_libsndfile_does_not_read_is_read_as_packets(tmp_path, codec, kind):
    by_ffmpeg(tmp_path / "a", codec, kind)
    assert duration_sec(Span(str(tmp_path / "a"))) == pytest.approx(SEC, abs=0.1)
    wav_T, _ = load_wav(tmp_path / "a", RATE_HZ)
    assert len(wav_T) / RATE_HZ == pytest.approx(SEC, abs=0.1) and np.abs(wav_T[-RATE_HZ:]).max() > 0.3
    assert len(load_wav(tmp_path / "a", RATE_HZ, 3.0, 4.5)[0]) == 1.5 * RATE_HZ
    with pytest.raises(AudioError, match="outside|no samples from 7"):
        load_wav(tmp_path / "a", RATE_HZ, 7.0, 8.0)


@pytest.mark.parametrize(("kind", "rate_hz"), [("OGG", 96000), ("OGG", RATE_HZ), ("FLAC", RATE_HZ)])
def test_the_second_of_two_joined_files_is_read_too(tmp_path, kind, rate_hz):
    soundfile.write(tmp_path / "one", speech(rate_hz=rate_hz), rate_hz, format=kind)
    (tmp_path / "two").write_bytes(2 * (tmp_path / "one").read_bytes())
    assert [round(len(load_wav(tmp_path / name, RATE_HZ)[0]) / RATE_HZ, 1) for name in ("one", "two")] == [SEC, 2 * SEC]
    check_header(Span(str(tmp_path / "two"), SEC + 1, SEC + 2))


def test_a_wav_with_another_behind_it_is_refused(tmp_path):
    save_wav(tmp_path / "one.wav", speech(), RATE_HZ)
    (tmp_path / "two.wav").write_bytes(2 * (tmp_path / "one.wav").read_bytes())
    with pytest.raises(AudioError, match="a second wav file begins after 192044 bytes"):
        load_wav(tmp_path / "two.wav")


# ---------------------------------------------------------------- recordings that end early


def write_cut(path: Path, kind: str, missing_sec: float) -> None:
    """Write the speech with a header of full length, cut at the end; FLAC and mp3 lose whole frames."""
    if kind == "MP3":
        data = mp3("CONSTANT")
        path.write_bytes(data[: -round(missing_sec / SEC * len(data))])
        return
    soundfile.write(path, speech(), RATE_HZ, format=kind, subtype="PCM_16")
    share = missing_sec / SEC if kind == "FLAC" else 2 * missing_sec * RATE_HZ / path.stat().st_size
    path.write_bytes(path.read_bytes()[: round(path.stat().st_size * (1 - share))])


@pytest.mark.parametrize("kind", ["WAV", "AIFF", "W64", "MP3"])
def test_milliseconds_less_than_the_header_says_are_listed(tmp_path, kind):
    write_cut(tmp_path / "a", kind, 0.045)
    check_header(Span(str(tmp_path / "a")))
    wav_T, [(note, detail)] = inspect_span(Span(str(tmp_path / "a")), RATE_HZ, MAX_SEC, ())
    assert note == "ends early" and SEC - 0.1 < len(wav_T) / RATE_HZ < SEC and "s are missing" in detail


@pytest.mark.parametrize("kind", ["WAV", "AIFF", "MP3", "FLAC"])
def test_seconds_less_are_refused_or_kept_by_choice(tmp_path, kind):
    write_cut(tmp_path / "a", kind, 2.0)
    span = Span(str(tmp_path / "a"))
    with pytest.raises(AudioError, match="s are missing") as error:
        inspect_span(span, RATE_HZ, MAX_SEC, ())
    assert error.value.kind == "truncated"
    wav_T, [(note, _)] = inspect_span(span, RATE_HZ, MAX_SEC, KEEPABLE)
    assert note == "kept: truncated" and 2.5 < len(wav_T) / RATE_HZ < 4.2
    assert len(load_wav(span.path, RATE_HZ, 1.0, 2.0)[0]) == RATE_HZ, "what lies before the cut is not concerned"


# ---------------------------------------------------------------- archives


def test_recordings_of_a_kaldi_archive_are_read_and_nothing_is_unpickled(tmp_path):
    samples = (speech() * 2**15).clip(-(2**15), 2**15 - 1).astype(np.int16)
    ark = str(tmp_path / "wav.ark")
    kaldiio.save_ark(ark, {"a": (RATE_HZ, samples)}, scp=str(tmp_path / "wav.scp"))
    kaldiio.save_ark(
        ark,
        {"b": (samples, RATE_HZ)},
        scp=str(tmp_path / "b.scp"),
        append=True,
        write_function="soundfile",
        write_kwargs={"format": "flac"},
    )
    places = [(tmp_path / name).read_text().split()[-1] for name in ("wav.scp", "b.scp")]
    for place in places:
        check_header(Span(place))
        assert np.array_equal(load_wav(place)[0], samples.astype(np.float32) / 2**15)
        assert np.array_equal(
            load_wav(place, None, 1.0, 2.0)[0], samples[RATE_HZ : 2 * RATE_HZ].astype(np.float32) / 2**15
        )
    (tmp_path / "evil.ark").write_bytes(b"c PKL" + pickle.dumps(speech()))
    for place in (f"{tmp_path}/evil.ark:2", f"{ark}:7777", f"{ark}:99999999"):
        with pytest.raises(AudioError, match="no recording of an archive"):
            load_wav(place)


def test_a_playlist_opens_nothing(tmp_path):
    save_wav(tmp_path / "other.wav", speech(), RATE_HZ)
    (tmp_path / "list.m3u8").write_text(
        f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:6,\nfile://{tmp_path}/other.wav\n#EXT-X-ENDLIST\n"
    )
    with pytest.raises(AudioError, match="not an audio file"):
        load_wav(tmp_path / "list.m3u8")
