"""mini_codec from its data to a codec, by little data and training."""

import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

from speechlm.codecs import load_codec
from tests.corpora import speechocean762 as small

ROOT = Path(__file__).parents[2]
CONF = ROOT / "egs/mini_codec/conf/codec_natural.yaml"


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    """Digits and a small tree of speechocean762."""
    folder = tmp_path_factory.mktemp("corpora")
    (folder / "recordings").mkdir()
    for index in range(5, 11):
        noise_N = np.random.default_rng(index).normal(0, 0.1, 4000)
        soundfile.write(folder / f"recordings/{index % 10}_anna_{index}.wav", noise_N, 8000)
    return folder, small.make_speechocean(folder / "ocean") / "tree"


def run(recipe, *words):
    command = [ROOT / "egs" / recipe / "run.sh", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return done.stdout


def test_mini_codec_trains_a_natural_codec(corpora, tmp_path):
    folder, ocean = corpora
    sizes = dict.fromkeys(("patch_channels", "patch_hidden", "channels", "hidden_channels"), 8)
    sizes |= {"patch_layers": 1, "layers": 1}
    config = yaml.safe_load(CONF.read_text())
    config |= {"code_steps": 2, "steps": 4, "code_batch_clips": 2, "batch_clips": 2, "fit_clips": 64}
    config |= {"model": config["model"] | sizes, "discriminator_filters": 2, "clip_sec": 1.28}
    (tmp_path / "codec.yaml").write_text(yaml.safe_dump(config))
    said = run(
        "mini_codec", "--speech", "pico", "--config", tmp_path / "codec.yaml", "--expdir", tmp_path / "exp",
        "--datadir", tmp_path / "data", "--recordings", folder / "recordings", "--lines", 2, "--pairs", 4,
        "--eval_pairs", 1, "--speechocean", ocean, "--partial", "true", "--stop_stage", 2,
    )  # fmt: skip
    assert "step 4/4" in said
    codec = load_codec(str(tmp_path / "exp"))
    assert (codec.num_codebooks, codec.codebook_size, codec.frame_rate_hz) == (12, 256, 12.5)
