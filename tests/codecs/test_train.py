"""Training of codecs: codebooks, the neural decoder, resuming, losses, configs."""

import numpy as np
import pytest
import torch
import yaml

from speechlm.codecs import load_codec
from speechlm.codecs.losses import MelLoss, STFTLoss
from speechlm.codecs.rvq import init_codebooks, kmeans
from speechlm.codecs.spectral import SpectralConfig, Spectrogram, build_spectral, find_phases
from speechlm.codecs.train import TrainConfig, learning_rate, train_vocos
from speechlm.codecs.trainers import read_config, train_codec
from speechlm.codecs.vocos import VocosConfig

SPECTRAL = {"kind": "spectral", "sample_rate_hz": 8000, "fft_samples": 320, "step_samples": 80, "mel_bands": 20}
SPECTRAL |= {"dimension": 16, "num_codebooks": 2, "codebook_size": 16}


def tiny_training(**changes) -> TrainConfig:
    model = VocosConfig(
        **SPECTRAL
        | {"kind": "vocos", "channels": 8, "hidden_channels": 16, "layers": 2, "patch_channels": 8, "patch_hidden": 16}
    )
    settings = {
        "model": model,
        "fit_clips": 16,
        "code_steps": 2,
        "code_batch_clips": 2,
        "steps": 6,
        "batch_clips": 2,
        "clip_sec": 0.4,
        "log_steps": 3,
        "checkpoint_steps": 3,
    }
    return TrainConfig(**settings | changes)


def check_resuming(config: TrainConfig, data: list[str], folder, monkeypatch) -> str:
    """Train it whole, and interrupted at its last report; assert that the codecs are equal, and return the log."""
    torch.set_num_threads(1)
    train_vocos(config, data, data, folder / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(
            "speechlm.codecs.train.Log.report",
            lambda self, step, dev_mel: step < config.steps or (_ for _ in ()).throw(KeyboardInterrupt),
        )
        with pytest.raises(KeyboardInterrupt):
            train_vocos(config, data, data, folder / "resumed")
    assert torch.load(folder / "resumed" / "checkpoint.pt")["step"] == config.checkpoint_steps
    train_vocos(config, data, data, folder / "resumed")
    whole, resumed = (load_codec(str(folder / name)) for name in ("whole", "resumed"))
    assert whole.fingerprint == resumed.fingerprint
    return (folder / "resumed" / "train.log").read_text()


def test_interrupted_training_ends_with_the_same_weights(data_dir, tmp_path, monkeypatch):
    log = check_resuming(tiny_training(), [str(data_dir)], tmp_path, monkeypatch)
    assert "step 6/6: mel" in log


def test_a_checkpoint_of_other_settings_is_refused(data_dir, tmp_path):
    train_vocos(tiny_training(steps=3), [str(data_dir)], [], tmp_path)
    with pytest.raises(ValueError, match="batch_clips: 2 -> 3.*another --out"):
        train_vocos(tiny_training(batch_clips=3), [str(data_dir)], [], tmp_path)
    train_vocos(tiny_training(steps=4), [str(data_dir)], [], tmp_path)
    assert "step 4/4" in (tmp_path / "train.log").read_text(), "a training may be made longer"


def test_a_trained_decoder_is_nearer_and_keeps_the_codes(data_dir, tmp_path, noise):
    train_vocos(tiny_training(), [str(data_dir)], [str(data_dir)], tmp_path / "short")
    model = tiny_training(start_from=str(tmp_path / "short"), code_steps=0, steps=30, log_steps=30, warmup_steps=1)
    train_vocos(model, [str(data_dir)], [str(data_dir)], tmp_path / "long")
    short, long = (load_codec(str(tmp_path / name)) for name in ("short", "long"))
    codes_TK = short.encode(noise(1.0))
    assert np.array_equal(codes_TK, long.encode(noise(1.0))) and long.decode(codes_TK[:, :1]).shape == (
        len(codes_TK) * 640,
    )
    first, last = (
        float((tmp_path / name / "train.log").read_text().split("dev_mel ")[-1].split()[0])
        for name in ("short", "long")
    )
    assert last < first


def test_codes_of_other_sizes_are_refused(data_dir, tmp_path):
    train_vocos(tiny_training(steps=1), [str(data_dir)], [], tmp_path / "one")
    other = VocosConfig(**SPECTRAL | {"kind": "vocos", "num_codebooks": 3})
    with pytest.raises(ValueError, match="start_from .*one: not a vocos codec of the sizes"):
        train_vocos(tiny_training(model=other, start_from=str(tmp_path / "one")), [str(data_dir)], [], tmp_path / "two")


def test_adversarial_training(data_dir, tmp_path):
    config = tiny_training(adversarial_weight=0.1, adversarial_share=0.5, discriminator_filters=2, clip_sec=0.4)
    train_vocos(config, [str(data_dir)], [], tmp_path)
    log = (tmp_path / "train.log").read_text()
    assert "discriminator" in log.splitlines()[-1] and "nan" not in log.replace("dev_mel nan", "")


def test_learning_rate_rises_stays_and_falls():
    config = TrainConfig(steps=1000, warmup_steps=100, learning_rate=1.0, decay_share=0.5)
    assert learning_rate(config, 49) == 0.5 and learning_rate(config, 300) == 1.0
    assert learning_rate(config, 750) == 0.5 and learning_rate(config, 1000) == 0.0


@pytest.fixture
def clusters_ND():
    """640 latents around 16 points."""
    generator = torch.Generator().manual_seed(0)
    centres_CD = torch.randn(16, 8, generator=generator)
    return centres_CD.repeat(40, 1) + 0.01 * torch.randn(640, 8, generator=generator)


def test_codebooks_find_the_clusters(tiny, clusters_ND):
    from speechlm.codecs.encodec import build_model

    torch.manual_seed(0)
    vq = build_model(tiny).quantizer.vq
    init_codebooks(vq.layers, clusters_ND, 640)
    assert len(vq.layers[0]._codebook.quantize(clusters_ND).unique()) > 10
    made_ND = vq.decode(vq.encode(clusters_ND.T[None]))[0].T
    assert (made_ND - clusters_ND).square().mean() < 0.01 * clusters_ND.var()


def test_kmeans_with_fewer_points_than_centres():
    assert kmeans(torch.randn(3, 2), 8).shape == (8, 2)


def test_mel_loss_is_zero_only_for_equal_sound():
    mel, wav_BN = MelLoss(16000), 0.1 * torch.randn(1, 8000)
    assert mel(wav_BN, wav_BN) == 0 and mel(0.5 * wav_BN, wav_BN) == pytest.approx(np.log(2), abs=0.05)


def test_stft_loss_falls_as_sounds_get_nearer():
    stft, wav_BN = STFTLoss(), 0.1 * torch.randn(1, 8000)
    far, near = stft(wav_BN + 0.1 * torch.randn(1, 8000), wav_BN), stft(wav_BN + 0.01 * torch.randn(1, 8000), wav_BN)
    assert stft(wav_BN, wav_BN) == 0 < near < far


def test_spectrogram_and_its_inverse():
    spectrogram = Spectrogram(SpectralConfig())
    wav_BN = 0.1 * torch.randn(2, 1280 * 3)
    assert spectrogram(wav_BN).shape == (2, 24, 321)
    assert torch.allclose(spectrogram.invert(spectrogram(wav_BN)), wav_BN, atol=1e-5)


def test_phases_give_back_the_magnitudes():
    spectrogram = Spectrogram(SpectralConfig())
    time_N = torch.arange(1280 * 4) / 16000
    wav_BN = (0.2 * torch.sin(2 * torch.pi * 440 * time_N))[None]
    made_BN = find_phases(spectrogram, spectrogram(wav_BN).abs(), 32)
    assert torch.equal(made_BN, find_phases(spectrogram, spectrogram(wav_BN).abs(), 32))
    assert (spectrogram(made_BN).abs() - spectrogram(wav_BN).abs()).abs().mean() < 0.003


def test_a_spectral_frame_depends_on_its_neighbourhood_only():
    config = SpectralConfig()
    encoder = build_spectral(config).encoder
    patches_NP = torch.randn(700, 640, generator=torch.Generator().manual_seed(0))
    encoder.fit(patches_NP)
    wav_BN = 0.1 * torch.randn(1, 1280 * 6)
    louder_BN = wav_BN.clone()
    louder_BN[:, : 1280 * 2] *= 3
    assert torch.allclose(encoder(wav_BN[:, None])[..., 3:], encoder(louder_BN[:, None])[..., 3:], atol=1e-4)


def write_config(path, **settings):
    path.write_text(yaml.safe_dump(settings))
    return path


def test_training_a_spectral_codec(data_dir, tmp_path):
    config_path = write_config(tmp_path / "codec.yaml", model=SPECTRAL, fit_clips=16, clip_sec=0.32)
    for name in ("one", "two"):
        train_codec(config_path, [str(data_dir)], [str(data_dir)], tmp_path / name)
    one, two = (load_codec(str(tmp_path / name)) for name in ("one", "two"))
    assert one.fingerprint == two.fingerprint
    codes_TK = one.encode(np.zeros(1000, np.float32))
    assert codes_TK.shape == (2, 2) and one.decode(codes_TK).shape == (1280,)
    assert "dev_mel" in (tmp_path / "one" / "train.log").read_text()


def test_a_spectral_codec_takes_no_gpu(data_dir, tmp_path):
    (tmp_path / "codec.yaml").write_text("model: {kind: spectral}\n")
    with pytest.raises(ValueError, match="--ngpu: a codec of kind spectral is fitted on the CPU"):
        train_codec(tmp_path / "codec.yaml", [str(data_dir)], [], tmp_path / "out", "cuda")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": {"kind": "vocos"}, "stepz": 3}, r"unknown keys \['stepz'\]"),
        ({"model": {"kind": "spectral"}, "steps": 3}, r"unknown keys \['steps'\]"),
        ({"model": {"kind": "encodec"}}, "kind encodec; a codec of this kind is not trained here"),
        (
            {"model": {"kind": "vocos", "num_codebooks": 2, "letter_codebooks": 2}},
            "expected fewer than num_codebooks 2",
        ),
        ({"model": {"kind": "magic"}}, "kind 'magic'; expected one of"),
        ({"model": {"kind": "spectral", "ratios": [2]}}, r"unknown keys \['ratios'\]"),
    ],
)
def test_bad_configs(tmp_path, settings, message):
    with pytest.raises(ValueError, match=message):
        read_config(write_config(tmp_path / "codec.yaml", **settings))


def test_the_recipes_configs_can_be_read():
    from speechlm.codecs import ASSETS

    root = ASSETS.parents[1]
    kinds = {read_config(path).model.kind for path in (root / "egs/mini_codec/conf").glob("codec*.yaml")}
    assert kinds == {"spectral", "vocos"}


def test_a_decoder_for_the_first_codebooks_is_beside_the_codec(data_dir, tmp_path, noise):
    train_vocos(tiny_training(), [str(data_dir)], [], tmp_path / "whole")
    changes = {"start_from": str(tmp_path / "whole"), "decode_only": 1, "code_steps": 2, "steps": 2}
    train_vocos(tiny_training(**changes), [str(data_dir)], [], tmp_path / "with")
    before, after = (load_codec(f"{tmp_path}/{name}") for name in ("whole", "with"))
    assert before.fingerprint == after.fingerprint, "all codebooks sound as before"
    before, after = (load_codec(f"{tmp_path}/{name}:1") for name in ("whole", "with"))
    codes_TK = before.encode(noise(1.0))
    assert np.array_equal(codes_TK, after.encode(noise(1.0)))
    assert not np.allclose(before.decode(codes_TK), after.decode(codes_TK))
    with pytest.raises(ValueError, match="decode_only: 3.*at most 2 codebooks"):
        tiny_training(start_from="x", decode_only=3)
    (tmp_path / "with/decoder_1.safetensors").write_bytes(b"broken")
    with pytest.raises(ValueError, match="decoder_1.safetensors: does not fit"):
        load_codec(f"{tmp_path}/with:1")
