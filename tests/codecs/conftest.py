"""A tiny untrained EnCodec with codebooks from k-means, saved as a folder: real code paths, no training."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from speechlm.codecs.encodec import EncodecConfig, build_model, save_folder
from speechlm.codecs.rvq import init_codebooks
from speechlm.data.kaldi import write_data_dir

TINY = EncodecConfig(
    sample_rate_hz=8000,
    ratios=(4, 5, 4),
    dimension=8,
    encoder_filters=2,
    decoder_filters=2,
    num_codebooks=4,
    codebook_size=16,
)


def make_noise(seconds: float, rate_hz: int = 8000, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(round(seconds * rate_hz))).astype(np.float32)


@pytest.fixture
def noise():
    return make_noise


@pytest.fixture
def tiny() -> EncodecConfig:
    return TINY


@pytest.fixture(scope="session")
def codec_folder(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    model = build_model(TINY)
    with torch.no_grad():
        latents_BDT = model.encoder(torch.from_numpy(make_noise(10.0))[None, None])
    init_codebooks(model.quantizer.vq.layers, latents_BDT[0].T, frames_per_batch=100)
    folder = tmp_path_factory.mktemp("codec")
    save_folder(folder, model, TINY)
    return folder


@pytest.fixture
def data_dir(tmp_path) -> Path:
    """Seven utterances at 16 kHz (the codec works at 8 kHz), one side without a language suffix."""
    for n in range(7):
        soundfile.write(tmp_path / f"{n}.wav", make_noise(0.3 + 0.05 * n, 16000, n), 16000, subtype="PCM_16")
    paths = {f"utt{n}": f"{tmp_path}/{n}.wav" for n in range(7)}
    write_data_dir(tmp_path / "data", {"wav.scp": paths, "utt2spk": {f"utt{n}": f"s{n % 2}" for n in range(7)}})
    return tmp_path / "data"
