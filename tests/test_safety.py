"""Nothing that a corpus, a manifest or a checkpoint holds is run: by the code's own look, and through the real
commands.
"""

import ast
import hashlib
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from speechlm.codecs.encodec import load_pretrained_24khz
from speechlm.codecs.train import CHECKPOINT_NAME, TrainConfig, Trainer
from speechlm.data.audio import Span, save_wav
from speechlm.train.checkpoint import META, REST, WHOLE, newest, read_rest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = [*sorted(ROOT.glob("speechlm/**/*.py")), *sorted(ROOT.glob("egs/*/local/*.py"))]
RUNS_WHAT_IT_IS_GIVEN = {
    "os.system", "os.popen", "eval", "exec", "pickle.load", "pickle.loads", "yaml.load", "yaml.unsafe_load",
    "yaml.full_load",
    "joblib.load", "shutil.unpack_archive",
}  # fmt: skip
UNPACKS = {"extract", "extractall"}


def calls(path):
    """Yield (name as written, call) of every call in a file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def keywords(call):
    return {k.arg: ast.unparse(k.value) for k in call.keywords}


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_call_runs_what_it_is_given(path):
    for name, call in calls(path):
        where = f"{path.name}:{call.lineno}: {ast.unparse(call)}"
        assert name not in RUNS_WHAT_IT_IS_GIVEN and name.rpartition(".")[2] not in UNPACKS, where
        assert "shell" not in keywords(call) and keywords(call).get("allow_pickle", "False") == "False", where
        if name == "torch.load":
            assert keywords(call).get("weights_only") == "True", where


class Bomb:
    """An object that makes a folder when it is unpickled."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("kind", ["torch", "pickle"])
def test_code_in_a_checkpoint_is_not_run(tmp_path, kind):
    bomb = {"step": 1, "model": Bomb(tmp_path / "hacked")}
    step = tmp_path / "checkpoints/1"
    step.mkdir(parents=True)
    for path in (step / META, step / REST, tmp_path / CHECKPOINT_NAME, tmp_path / "encodec.th"):
        with path.open("wb") as stream:
            torch.save(bomb, stream) if kind == "torch" else stream.write(pickle.dumps(bomb))
    (step / WHOLE).write_text(
        json.dumps({name: hashlib.sha256((step / name).read_bytes()).hexdigest() for name in (META, REST)})
    )
    with pytest.raises(ValueError, match="no readable checkpoint"):
        newest(tmp_path)
    with pytest.raises(ValueError, match="it is whole, but not a checkpoint"):
        read_rest(step)
    with pytest.raises(ValueError, match="is not the checkpoint of encodec_24khz"):
        load_pretrained_24khz(path=tmp_path / "encodec.th")
    save_wav(tmp_path / "a.wav", np.zeros(16000, np.float32), 16000)
    with pytest.raises(ValueError, match=f"{CHECKPOINT_NAME}: cannot be read"):
        Trainer(TrainConfig(), [[Span(str(tmp_path / "a.wav"))]]).resume(tmp_path / CHECKPOINT_NAME)
    assert not (tmp_path / "hacked").exists()


def command(folder, name, *options):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    run = [sys.executable, "-m", f"speechlm.bin.{name}", *options]
    return subprocess.run(run, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)


def test_nothing_of_a_corpus_reaches_a_shell(tmp_path):
    """Ids, speakers, texts and file names with everything that a shell would act on, and `wav.scp` entries that are
    commands.
    """
    ids = [
        "a;touch${IFS}hacked",
        "b$(touch${IFS}hacked)",
        "c`touch${IFS}hacked`",
        "d&touch${IFS}hacked&",
        "e>hacked",
        "f'\"hacked*?[a-z]",
    ]
    data = tmp_path / "data/test"
    data.mkdir(parents=True)
    for key in ids:
        save_wav(tmp_path / f"{key}.wav", np.random.default_rng(0).uniform(-0.5, 0.5, 16000).astype(np.float32), 16000)
    tables = {
        "wav.scp": "{0}.wav",
        "text": "said $(touch hacked) `touch hacked` ; touch hacked",
        "utt2spk": "{0}",
        "spk2utt": "{0}",
    }
    for name, value in tables.items():
        (data / name).write_text("".join(f"{key} {value.format(key)}\n" for key in sorted(ids)))
    extract = ["--data", "data", "--test_sets", "test", "--dump", "dump", "--lang", "en", "--nj", "1"]
    done = command(tmp_path, "extract_codes", *extract)
    assert done.returncode == 0, done.stdout + done.stderr
    done = command(tmp_path, "manifest", "--data", "data/test", "--codes", "dump/test", "--lang", "en")
    assert done.returncode == 0 and "6 utterances" in done.stdout, done.stderr
    scp = (data / "wav.scp").read_text()
    (data / "wav.scp").write_text(
        scp.replace("e>hacked.wav", "touch hacked |").replace("d&touch${IFS}hacked&.wav", "| touch hacked")
    )
    done = command(tmp_path, "extract_codes", *extract)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "e>hacked" in done.stderr and "a command" in done.stderr
    assert not (tmp_path / "hacked").exists()
