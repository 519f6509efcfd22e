"""Mimi, DAC and ESPnet's codecs: tiny models of the real architectures, of random weights, in the files that they are
published in.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from transformers import DacConfig, DacModel, MimiConfig, MimiModel

from speechlm.codecs import HUB, load_codec
from speechlm.data.audio import load_wav, save_wav
from speechlm.espnet_start import quick_imports
from tests.codecs.streams import check_batches_and_streams

MIMI = {
    "num_filters": 2,
    "hidden_size": 32,
    "codebook_size": 32,
    "codebook_dim": 8,
    "vector_quantization_hidden_dimension": 8,
}
MIMI |= {
    "num_hidden_layers": 1,
    "intermediate_size": 32,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "upsample_groups": 32,
}
DAC = {"encoder_hidden_size": 2, "decoder_hidden_size": 32, "codebook_dim": 4, "codebook_size": 32}
SEANET = {
    "hidden_dim": 16,
    "encdec_n_filters": 2,
    "encdec_lstm": 1,
    "quantizer_bins": 32,
    "quantizer_kmeans_init": False,
}


def make_mimi(folder: Path) -> Path:
    model = MimiModel(MimiConfig(**MIMI))
    for name, buffer in model.named_buffers():  # codebooks are made by training
        if name.endswith("embed_sum"):
            buffer.normal_(std=0.1)
    model.save_pretrained(folder)
    return folder


def make_dac(folder: Path, rate_hz: int, ratios: list[int], streams: int) -> Path:
    config = DacConfig(**DAC, sampling_rate=rate_hz, downsampling_ratios=ratios, n_codebooks=streams)
    DacModel(config).save_pretrained(folder)
    written = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(
        json.dumps(written | {"hop_length": 512})
    )  # as published, whatever the ratios are
    return folder


def make_espnet(folder: Path, kind: str, rate_hz: int = 16000) -> Path:
    """Train nothing, but leave what ESPnet's training leaves: config.yaml and the state of the whole model,
    discriminators included.
    """
    with quick_imports():
        from espnet2.tasks.gan_codec import GANCodecTask

    generator = SEANET | {"sample_rate": rate_hz, "encdec_ratios": [8, 5, 4, 2], "quantizer_n_q": 8}
    conf = {"sampling_rate": rate_hz, "generator_params": generator}
    if kind == "dac":
        generator |= {"codebook_dim": 4}
    if kind == "encodec":  # as in ESPnet's recipes; its defaults are another discriminator's
        stft = {
            "filters": 2,
            "activation_params": {"negative_slope": 0.3},
            "n_ffts": [128],
            "hop_lengths": [32],
            "win_lengths": [128],
        }
        conf |= {"discriminator_params": {"msstft_discriminator_params": stft}}
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump({"codec": kind, "codec_conf": conf, "model_conf": {}, "use_preprocessor": False}))
    model, _ = GANCodecTask.build_model_from_file(str(path), None)
    state = {
        key: value.normal_() if key.endswith("_codebook.embed") else value for key, value in model.state_dict().items()
    }
    torch.save(state, folder / "train.total_count.ave.pth")
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The folder of a model by name, each made once."""
    made = {}
    makers = {
        "mimi": make_mimi,
        "dac_16khz": lambda folder: make_dac(folder, 16000, [2, 4, 5, 8], 12),
        "dac_24khz": lambda folder: make_dac(folder, 24000, [2, 4, 5, 8], 32),
        "dac_44khz": lambda folder: make_dac(folder, 44100, [2, 4, 8, 8], 9),
        **{
            f"espnet_{kind}": lambda folder, kind=kind: make_espnet(folder, kind)
            for kind in ("soundstream", "encodec", "dac")
        },
    }

    def get(name: str) -> Path:
        if name not in made:
            torch.manual_seed(0)
            made[name] = makers[name](tmp_path_factory.mktemp(name))
        return made[name]

    return get


NUMBERS = {  # of the published models: sample rate, frame rate, streams
    "mimi": (24000, 12.5, 8),
    "dac_16khz": (16000, 50.0, 12),
    "dac_24khz": (24000, 75.0, 32),
    "dac_44khz": (44100, 44100 / 512, 9),
    "espnet_soundstream": (16000, 50.0, 8),
    "espnet_encodec": (16000, 50.0, 8),
    "espnet_dac": (16000, 50.0, 8),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_round_trip(folders, name, tmp_path):
    codec = load_codec(str(folders(name)))
    assert (codec.sample_rate_hz, codec.frame_rate_hz, codec.num_codebooks, codec.codebook_size) == (*NUMBERS[name], 32)
    stereo_NC = 0.1 * np.random.default_rng(0).standard_normal((30000, 2))
    save_wav(tmp_path / "stereo.wav", stereo_NC, 44100)
    wav_N, _ = load_wav(str(tmp_path / "stereo.wav"), codec.sample_rate_hz)
    assert len(wav_N) == pytest.approx(30000 / 44100 * codec.sample_rate_hz, abs=2)
    codes_TK = codec.encode(wav_N)
    assert codes_TK.shape == (-(-len(wav_N) // codec.hop_samples), codec.num_codebooks) and codes_TK.dtype == np.int32
    assert 0 <= codes_TK.min() and codes_TK.max() < 32 and len(np.unique(codes_TK)) > 5
    decoded_N = codec.decode(codes_TK)
    assert abs(len(decoded_N) - len(codes_TK) * codec.hop_samples) < codec.hop_samples
    assert decoded_N.dtype == np.float32 and np.isfinite(decoded_N).all() and decoded_N.std() > 0
    codec.encode(wav_N[:5000])
    again = load_codec(str(folders(name)))
    assert np.array_equal(codec.encode(wav_N), codes_TK) and np.array_equal(again.decode(codes_TK), decoded_N)
    assert again.fingerprint == codec.fingerprint


@pytest.mark.parametrize("name", NUMBERS)
def test_batches_and_streams_are_the_whole(folders, name):
    check_batches_and_streams(load_codec(str(folders(name))))


@pytest.mark.parametrize("name", NUMBERS)
def test_fewer_streams_are_the_first_ones(folders, name):
    """... and the codebooks' vectors are what the codes add to the latent."""
    whole, part = load_codec(str(folders(name))), load_codec(f"{folders(name)}:3")
    wav_N = 0.1 * np.random.default_rng(1).standard_normal(whole.sample_rate_hz // 4)
    codes_TK = whole.encode(wav_N)
    assert np.array_equal(part.encode(wav_N), codes_TK[:, :3]) and part.fingerprint != whole.fingerprint
    assert np.array_equal(part.decode(codes_TK[:, :3]), whole.decode(codes_TK[:, :3]))
    vectors_KCE = part.codebooks()
    assert vectors_KCE.shape[:2] == (3, 32)
    latent_TE = sum(vectors_KCE[k, codes_TK[:, k]] for k in range(3))
    with torch.inference_mode():
        codes_1KT = torch.from_numpy(codes_TK[:, :3].T.astype(np.int64))[None]
        if name == "mimi":
            expected = whole.model.quantizer.decode(codes_1KT)
        elif name.startswith("dac"):
            expected = whole.model.quantizer.from_codes(codes_1KT)[0]
        else:
            expected = whole.model.quantizer.decode(codes_1KT.transpose(0, 1))
    np.testing.assert_allclose(latent_TE, expected[0].T.numpy(), atol=1e-4)
    with pytest.raises(ValueError, match="'99' streams; expected a number from 1 to"):
        load_codec(f"{folders(name)}:99")


@pytest.mark.parametrize("kind", ["soundstream", "encodec", "dac"])
def test_the_codes_are_those_of_espnets_audio_coding(folders, kind):
    from espnet2.bin.gan_codec_inference import AudioCoding

    folder = folders(f"espnet_{kind}")
    weights = folder / "train.total_count.ave.pth"
    codec = load_codec(f"{weights}:8")
    wav_N = (0.1 * np.random.default_rng(2).standard_normal(7000)).astype(np.float32)
    theirs = AudioCoding(
        str(folder / "config.yaml"), str(weights), target_bandwidth=2.0
    )  # 8 streams of 5 bits, 50 times a second
    found = theirs(torch.from_numpy(wav_N))
    assert np.array_equal(codec.encode(wav_N), found["codes"][:, 0].T.numpy())
    np.testing.assert_allclose(codec.decode(codec.encode(wav_N)), found["resyn_audio"].numpy(), atol=1e-6)


def test_a_codec_that_espnets_own_task_trained(tmp_path):
    """One update of `espnet2.tasks.gan_codec` on noise: what it leaves is read, and codes as ESPnet's own inference
    does.
    """
    with quick_imports():
        from espnet2.bin.gan_codec_inference import AudioCoding
        from espnet2.tasks.gan_codec import GANCodecTask

    rng = np.random.default_rng(3)
    for name in "abcd":
        save_wav(tmp_path / f"{name}.wav", 0.1 * rng.standard_normal(4160).astype(np.float32), 16000)
    (tmp_path / "wav.scp").write_text("".join(f"{name} {tmp_path}/{name}.wav\n" for name in "abcd"))
    (tmp_path / "shape").write_text("".join(f"{name} 4160\n" for name in "abcd"))
    generator = SEANET | {
        "sample_rate": 16000,
        "encdec_ratios": [8, 5, 4, 2],
        "quantizer_n_q": 4,
        "quantizer_kmeans_init": True,
    }
    small = {
        "scale_discriminator_params": {"channels": 16, "max_downsample_channels": 32},
        "complexstft_discriminator_params": {"channels": 2},
    }
    conf = {"sampling_rate": 16000, "generator_params": generator, "discriminator_params": small}
    config = {"codec": "soundstream", "codec_conf": conf, "use_preprocessor": False}
    config |= {"optim": "adamw", "optim2": "adamw", "scheduler": "exponentiallr", "scheduler2": "exponentiallr"}
    config |= {"scheduler_conf": {"gamma": 0.9}, "scheduler2_conf": {"gamma": 0.9}, "batch_type": "unsorted"}
    config |= {
        "batch_size": 4,
        "max_epoch": 1,
        "num_iters_per_epoch": 1,
        "num_workers": 0,
        "num_att_plot": 0,
        "use_tensorboard": False,
    }
    (tmp_path / "train.yaml").write_text(yaml.safe_dump(config))
    command = ["--config", f"{tmp_path}/train.yaml", "--output_dir", f"{tmp_path}/exp"]
    for part in ("train", "valid"):
        command += [
            f"--{part}_data_path_and_name_and_type",
            f"{tmp_path}/wav.scp,audio,sound",
            f"--{part}_shape_file",
            f"{tmp_path}/shape",
        ]
    GANCodecTask.main(cmd=command)
    weights = sorted((tmp_path / "exp").glob("*epoch.pth"))[-1]
    codec = load_codec(f"{weights}:4")
    wav_N = (0.1 * rng.standard_normal(7000)).astype(np.float32)
    theirs = AudioCoding(f"{tmp_path}/exp/config.yaml", str(weights), target_bandwidth=1.0)(torch.from_numpy(wav_N))
    assert np.array_equal(codec.encode(wav_N), theirs["codes"][:, 0].T.numpy())
    assert len(np.unique(codec.encode(wav_N))) > 1


def test_a_model_of_the_hub_names_its_files_in_meta_yaml(folders, tmp_path, monkeypatch):
    trained = folders("espnet_soundstream")
    (tmp_path / "exp").mkdir()
    for name in ("config.yaml", "train.total_count.ave.pth"):
        (tmp_path / "exp" / name).symlink_to(trained / name)
    names = {
        "yaml_files": {"train_config": "exp/config.yaml"},
        "files": {"model_file": "exp/train.total_count.ave.pth"},
    }
    (tmp_path / "meta.yaml").write_text(yaml.safe_dump(names))
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *args, **kwargs: str(tmp_path))
    found, expected = load_codec("espnet/some_soundstream:4"), load_codec(f"{trained}:4")
    assert found.fingerprint == expected.fingerprint and found.name == "espnet/some_soundstream:4"


def test_published_numbers_of_mimi_are_the_librarys_defaults():
    config, shape = MimiConfig(), HUB["mimi"][1]
    assert (config.sampling_rate, config.frame_rate, config.codebook_size) == (
        shape.sample_rate_hz,
        shape.frame_rate_hz,
        shape.codebook_size,
    )
    assert shape.num_codebooks <= config.num_quantizers


def test_what_the_hub_has_is_checked(folders, monkeypatch):
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *args, **kwargs: str(folders("dac_16khz")))
    with pytest.raises(
        ValueError, match="descript/dac_24khz is at 16000 Hz, 50 frames a second; expected 24000 Hz, 75"
    ):
        load_codec("dac_24khz")


class Code:
    """What a pickle would run when it is read."""

    def __reduce__(self):
        return (Path("espnet_weights_ran_code").touch, ())


def test_damaged_or_foreign_files_are_refused(folders, tmp_path, monkeypatch):
    folder = make_dac(tmp_path / "dac", 16000, [2, 4, 5, 8], 3)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"n_codebooks": 4}))
    with pytest.raises(ValueError, match="lacks weights that config.json asks for"):
        load_codec(str(folder))
    (folder / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="no DacModel .* fetch the folder again"):
        load_codec(str(folder))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text((folders("espnet_dac") / "config.yaml").read_text())
    torch.save({"weights": Code()}, tmp_path / "evil.pth")
    with pytest.raises(ValueError, match="evil.pth: does not fit .*config.yaml"):
        load_codec(str(tmp_path))
    assert not Path("espnet_weights_ran_code").exists()
    (tmp_path / "config.yaml").write_text("asr: default")
    with pytest.raises(ValueError, match="codec is None; expected the config.yaml of an ESPnet codec training"):
        load_codec(str(tmp_path))


@pytest.mark.parametrize(
    "spec, model",
    [("mimi:8", "kyutai/mimi"), ("dac_44khz", "descript/dac_44khz"), ("espnet/some_codec:4", "espnet/some_codec")],
)
def test_without_a_network_one_line_says_how_to_fetch(monkeypatch, spec, model):
    def refuse(*args, **kwargs):
        raise ConnectionError("no route\nto the hub")

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    with pytest.raises(ValueError, match=f"hf download {model} .*copy FOLDER here and write --codec FOLDER") as caught:
        load_codec(spec)
    assert "\n" not in str(caught.value)
