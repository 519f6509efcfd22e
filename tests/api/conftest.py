"""A tiny experiment, once for all tests of the API and what is built on it."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from experiment import make_experiment  # noqa: E402


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """A recipe's folder: exp, a.wav, b.wav, and the loaded API."""
    from speechlm import SpeechLM

    root = tmp_path_factory.mktemp("recipe")
    exp = make_experiment(root)
    return SimpleNamespace(root=root, exp=exp, a=root / "a.wav", b=root / "b.wav", lm=SpeechLM.from_pretrained(exp))
