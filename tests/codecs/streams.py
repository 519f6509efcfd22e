"""What must hold of every codec's decoding."""

import numpy as np

from speechlm.codecs.base import Codec, decode_all, encode_all
from speechlm.codecs.stream import stream_audio


def check_coding_in_batches(codec: Codec) -> None:
    """The codes of several at once are bit for bit those of one at a time."""
    rng = np.random.default_rng(0)
    hop = round(codec.sample_rate_hz / codec.frame_rate_hz)
    for frames in (2, 7, 31):
        for count in (2, 5, 8):
            ends = rng.integers(1, hop + 1, count) if codec.coded_samples(1) > 1 else [hop // 3] * count
            wavs = [rng.normal(0, 0.1, (frames - 1) * hop + end).astype(np.float32) for end in ends]
            alone = [codec.encode(wav_N) for wav_N in wavs]
            assert np.array_equal(codec.encode_batch(wavs), alone)
            assert all(np.array_equal(codes_TK, alone[key]) for key, codes_TK in encode_all(codec, enumerate(wavs)))


def check_batches_and_streams(codec: Codec) -> None:
    """Several at once, and one in chunks, are what one at a time gives, within rounding."""
    check_coding_in_batches(codec)
    rng = np.random.default_rng(0)
    codes = {
        f"u{i}": rng.integers(0, codec.codebook_size, (frames, codec.num_codebooks))
        for i, frames in enumerate((9, 40, 9, 9))
    }
    wholes = {key: codec.decode(codes_TK) for key, codes_TK in codes.items()}
    loudest = max(np.abs(wav_N).max() for wav_N in wholes.values())
    for key, wav_N in decode_all(codec, codes).items():
        np.testing.assert_allclose(wav_N, wholes[key], rtol=0, atol=1e-5 * loudest)
    frame_by_frame = (codes["u1"][t : t + 1] for t in range(40))
    chunks = list(stream_audio(codec, frame_by_frame))
    assert len(chunks) > 3 and len(chunks[0]) == 2 * round(codec.sample_rate_hz / codec.frame_rate_hz)
    np.testing.assert_allclose(np.concatenate(chunks), wholes["u1"], rtol=0, atol=1e-4 * loudest)
    for key in ("u0", "u1"):  # codes that come all at once, fewer than a chunk or not
        np.testing.assert_allclose(
            np.concatenate(list(stream_audio(codec, [codes[key]]))), wholes[key], rtol=0, atol=1e-4 * loudest
        )
    assert list(stream_audio(codec, [])) == []
