"""The EnCodec backend: shapes, agreement with the package, errors, the pretrained and the shipped model."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from encodec import EncodecModel
from safetensors.torch import load_file

from speechlm.codecs import ASSETS, load_codec
from speechlm.codecs.encodec import build_model, load_folder, save_folder
from speechlm.codecs.stream import look_ahead
from tests.codecs.streams import check_batches_and_streams, check_coding_in_batches


@pytest.fixture(scope="module")
def codec(codec_folder):
    return load_codec(str(codec_folder))


def test_shapes_and_rates(codec, noise):
    codes_TK = codec.encode(noise(1.0))
    assert codes_TK.shape == (100, 4) and codes_TK.dtype == np.int32
    assert (codec.frame_rate_hz, codec.num_codebooks, codec.codebook_size) == (100.0, 4, 16)
    wav_N = codec.decode(codes_TK)
    assert wav_N.shape == (8000,) and wav_N.dtype == np.float32


@pytest.mark.parametrize("samples", [80, 81, 159, 160, 8001])
def test_a_last_incomplete_frame_is_coded(codec, samples, noise):
    codes_TK = codec.encode(noise(samples / 8000))
    assert len(codes_TK) == -(-samples // codec.hop_samples)
    assert len(codec.decode(codes_TK)) == len(codes_TK) * codec.hop_samples


def test_codes_do_not_depend_on_what_was_coded_before(codec, noise):
    wav_N = noise(0.7)
    before = codec.encode(wav_N)
    codec.encode(noise(1.3, seed=5))
    assert np.array_equal(codec.encode(wav_N), before)


def test_decodes_a_prefix_of_the_codebooks(codec, noise):
    codes_TK = codec.encode(noise(0.5))
    assert not np.array_equal(codec.decode(codes_TK[:, :1]), codec.decode(codes_TK))


def test_equal_to_the_encodec_package(codec, codec_folder, noise, tiny):
    model: EncodecModel = build_model(tiny)
    model.load_state_dict(load_file(codec_folder / "model.safetensors"), strict=False)  # no averages of the training
    wav_N = noise(0.5)
    with torch.no_grad():
        [(codes_BKT, scale)] = model.encode(torch.from_numpy(wav_N)[None, None])
        decoded = model.decode([(codes_BKT, scale)])
    assert np.array_equal(codec.encode(wav_N), codes_BKT[0].T.numpy())
    assert np.allclose(codec.decode(codes_BKT[0].T.numpy()), decoded[0, 0].numpy(), atol=1e-6)


LOOK_AHEAD = {"codec_16k": 3, "codec_natural": 9}  # frames of 80 ms that the sound waits for


@pytest.mark.parametrize("kind", ["codec_16k", "codec_natural", "windowed", "recurrent"])
def test_batches_and_streams_are_the_whole(codec, kind, tmp_path, tiny):
    if kind in LOOK_AHEAD:
        codec = load_codec(kind)
    elif kind == "recurrent":  # and causal: padding mirrors the first frames, which thus depend on later ones
        config = replace(tiny, causal=True, lstm_layers=2)
        torch.manual_seed(0)
        model = build_model(config)
        for layer in model.quantizer.vq.layers:
            layer.codebook.normal_()
        save_folder(tmp_path, model, config)
        codec = load_folder(tmp_path)
    check_batches_and_streams(codec)
    assert kind not in LOOK_AHEAD or look_ahead(codec) == LOOK_AHEAD[kind]


@pytest.mark.parametrize(
    ("wav_N", "message"),
    [
        (np.zeros(0), "empty"),
        (np.zeros(79), "79 samples are shorter than one frame of 80"),
        (np.array([0.0] * 99 + [np.nan]), "1 of 100 samples are NaN"),
        (np.full(100, np.inf), "NaN or infinite"),
        (np.zeros((2, 100)), r"one channel.*\[2, 100\]"),
    ],
)
def test_refuses_bad_waveforms(codec, wav_N, message):
    with pytest.raises(ValueError, match=message):
        codec.encode(wav_N)


@pytest.mark.parametrize(
    ("codes_TK", "message"),
    [
        (np.zeros((0, 4), int), r"found \[0, 4\]"),
        (np.zeros((3, 5), int), r"1\.\.4\], found \[3, 5\]"),
        (np.zeros(3, int), r"found \[3\]"),
        (np.full((3, 4), 16), r"0\.\.15, found 16\.\.16"),
        (np.full((3, 4), -1), r"found -1"),
        (np.zeros((3, 4)), "integer codes, found float64"),
    ],
)
def test_refuses_bad_codes(codec, codes_TK, message):
    with pytest.raises(ValueError, match=message):
        codec.decode(codes_TK)


def test_fingerprint_tells_weights_and_settings(codec, codec_folder, tmp_path, tiny):
    assert load_codec(str(codec_folder)).fingerprint == codec.fingerprint
    other = build_model(tiny)
    save_folder(tmp_path, other, tiny)
    assert load_folder(tmp_path).fingerprint != codec.fingerprint


def test_files_have_the_permissions_of_the_umask(codec_folder):
    (codec_folder / "new").touch()
    assert len({(codec_folder / name).stat().st_mode for name in ("new", "config.json", "model.safetensors")}) == 1
    (codec_folder / "new").unlink()


def test_unknown_spec_names_the_known_ones():
    with pytest.raises(ValueError, match="nosuch.*codec_16k"):
        load_codec("nosuch")


def test_folder_without_files(tmp_path):
    with pytest.raises(ValueError, match="config.json and model.safetensors not found.*train_codec"):
        load_codec(str(tmp_path))


def test_foreign_weights(codec_folder, tmp_path):
    (tmp_path / "model.safetensors").write_bytes((codec_folder / "model.safetensors").read_bytes())
    config = json.loads((codec_folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"dimension": 9}))
    with pytest.raises(ValueError, match="does not fit config.json"):
        load_codec(str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps(config | {"dimensoin": 9}))
    with pytest.raises(ValueError, match="unknown keys.*dimensoin"):
        load_codec(str(tmp_path))


@pytest.fixture(scope="module")
def checkpoint_24khz(tmp_path_factory):
    """A file like the published one, of random weights."""
    torch.manual_seed(0)
    model = EncodecModel.encodec_model_24khz(pretrained=False)
    path = tmp_path_factory.mktemp("hub") / "encodec_24khz-d7cc33bc.th"
    torch.save(model.state_dict(), path)
    return path


def test_encodec_24khz_from_a_path(checkpoint_24khz, noise):
    codec = load_codec(f"{checkpoint_24khz}:3")
    assert (codec.sample_rate_hz, codec.frame_rate_hz, codec.num_codebooks, codec.codebook_size) == (
        24000,
        75.0,
        4,
        1024,
    )
    codes_TK = codec.encode(noise(0.2, 24000))
    assert codes_TK.shape == (15, 4)
    assert codec.decode(codes_TK).shape == (4800,)


def test_encodec_24khz_bandwidths(checkpoint_24khz):
    assert [load_codec(f"{checkpoint_24khz}:{kbps}").num_codebooks for kbps in ("1.5", "3", "6", "12")] == [2, 4, 8, 16]
    for option in ("4", "high"):
        with pytest.raises(ValueError, match=f"expected a bandwidth of 1.5, 3, 6, 12, 24 kbit/s, found '{option}'"):
            load_codec(f"{checkpoint_24khz}:{option}")


def test_encodec_24khz_wrong_file(tmp_path):
    (tmp_path / "bad.th").write_bytes(b"no checkpoint")
    with pytest.raises(ValueError, match="not the checkpoint.*dl.fbaipublicfiles.com"):
        load_codec(f"{tmp_path}/bad.th")


def test_encodec_24khz_without_network(monkeypatch, tmp_path, checkpoint_24khz):
    def refuse(*args, **kwargs):
        raise OSError("no route")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(
        ValueError, match="no route.*wget https.*encodec_24khz-d7cc33bc.th; copy the file here and write --codec FILE:6"
    ):
        load_codec("encodec_24khz")
    shutil.copyfile(checkpoint_24khz, tmp_path / "checkpoints" / checkpoint_24khz.name)  # as the message says
    assert load_codec("encodec_24khz").fingerprint == load_codec(str(checkpoint_24khz)).fingerprint


@pytest.mark.skipif(not (ASSETS / "codec_16k" / "model.safetensors").is_file(), reason="the asset is not there")
@pytest.mark.parametrize(("name", "streams"), [("codec_16k", 8), ("codec_natural", 12)])
def test_shipped_codecs(noise, name, streams):
    codec = load_codec(name)
    assert (codec.name, codec.sample_rate_hz, codec.frame_rate_hz) == (name, 16000, 12.5)
    assert (codec.num_codebooks, codec.codebook_size) == (streams, 256)
    assert codec.encode(noise(1.0, 16000)).shape == (13, streams)


def test_the_shipped_files_stay_small():
    """Two codecs and two judges: a fresh machine has no network for them."""
    files = [path for path in ASSETS.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert sum(path.stat().st_size for path in files) < 28e6


def test_batches_of_a_length_have_one_shape_on_a_gpu(codec_folder, monkeypatch):
    """There a row's rounding depends on how many there are: `cpu:0` stands for a GPU."""
    monkeypatch.setattr("speechlm.codecs.network.GPU_BATCH_SEC", 0.25)
    codec, shapes = load_codec(str(codec_folder)).to("cpu:0"), set()
    coded = codec.codes
    monkeypatch.setattr(codec, "codes", lambda wav_B1N: shapes.add(tuple(wav_B1N.shape)) or coded(wav_B1N))
    check_coding_in_batches(codec)
    assert len(shapes) == len({length for *_, length in shapes}) > 2
    assert {count for count, *_ in shapes} > {1}


def test_rows_that_depend_on_their_neighbours_are_coded_one_at_a_time(codec_folder, monkeypatch):
    codec, rows = load_codec(str(codec_folder)).to("cpu:0"), []
    monkeypatch.setattr(codec, "_traced", lambda wav_B1N: (torch.arange(len(wav_B1N)), torch.zeros(len(wav_B1N))))
    coded = codec.codes
    monkeypatch.setattr(codec, "codes", lambda wav_B1N: rows.append(len(wav_B1N)) or coded(wav_B1N))
    codec.encode_batch([np.full(800, 0.1 * n, np.float32) for n in range(3)])
    assert rows == [1, 1, 1]


def test_the_first_codebooks_of_a_codec_are_one_too(codec_folder, noise):
    whole, part = load_codec(str(codec_folder)), load_codec(f"{codec_folder}:2")
    codes_TK = part.encode(noise(1.0))
    assert np.array_equal(codes_TK, whole.encode(noise(1.0))[:, :2]) and part.codebooks().shape[0] == 2
    assert np.array_equal(part.decode(codes_TK), whole.decode(codes_TK))
    assert part.fingerprint != whole.fingerprint and part.name == f"{codec_folder.name}:2"
    assert load_codec(f"{codec_folder}:4").fingerprint == whole.fingerprint, "all of them"
    with pytest.raises(ValueError, match="'5' streams; expected a number from 1 to 4"):
        load_codec(f"{codec_folder}:5")
