"""The LLM of an espnet2.speechlm checkpoint: its text logits are the checkpoint's, and what does not belong together is
refused.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
import torch.distributed.checkpoint as dcp
import yaml
from transformers import AutoModelForCausalLM

from speechlm.model.espnet_speechlm import write_llm
from speechlm.model.folder import load_llm
from speechlm.tokens.text import load_text_tokenizer

sys.path.insert(0, str(Path(__file__).parent))
from llms import make_llm  # noqa: E402

AUDIO_ROWS = 2 * 9  # two streams of eight codes, each with its padding
NEED_ESPNET = pytest.mark.skipif(
    not all(map(find_spec, ("liger_kernel", "omniio"))),
    reason="espnet2.speechlm of release 202611 and liger-kernel are not installed",
)


def trained_state(llm: Path, text_start: int) -> dict:
    """Return what its trainer saves: the LLM's weights inside longer tables, and weights that the LLM did not have."""
    torch.manual_seed(1)
    state = dict(AutoModelForCausalLM.from_pretrained(llm, dtype=torch.float32).state_dict())
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        rows, width = state[name].shape
        table = torch.randn(text_start + rows + AUDIO_ROWS, width)
        table[text_start : text_start + rows] = state[name] + (
            0.5 if name.startswith("lm_head") else 0
        )  # no longer tied
        state[name] = table
    return state | {
        "stream_emb.weight": torch.randn(2, width),
        "vocab_weight": torch.ones(len(table)),
        "adaptor.a.weight": torch.ones(2),
    }


def config(path: Path, llm: Path, intervals: dict | None, parts=("text", "discrete_audio")) -> Path:
    found = {"job_type": "speechlm", "multimodal_io": {part: {} for part in parts}, "model": {"model_hf_tag": str(llm)}}
    path.write_text(yaml.safe_dump(found | ({"vocab_intervals": intervals} if intervals else {}), sort_keys=False))
    return path


@pytest.fixture(params=["qwen1.5", "qwen3"])
def llm(request, tmp_path):
    return make_llm(tmp_path / "base", request.param)


@pytest.mark.parametrize("kind", ["exported", "distributed"])
def test_the_llm_is_the_checkpoints(llm, tmp_path, kind):
    state, start = trained_state(llm, 256), 256
    rows = len(state["lm_head.weight"]) - AUDIO_ROWS
    checkpoint = tmp_path / kind
    if kind == "exported":
        torch.save({"module": state}, checkpoint)
    else:
        dcp.save({"model": state, "global_step": 3}, checkpoint_id=checkpoint, no_dist=True)
    settings = config(tmp_path / "train.yaml", llm, {"special_token": [[0, 256]], "text": [[256, rows]]})
    write_llm(settings, checkpoint, tmp_path / "out")

    found, ids = load_llm(str(tmp_path / "out"), random_init=False), torch.arange(12)[None]
    base = AutoModelForCausalLM.from_pretrained(llm, dtype=torch.float32)
    hidden = base.model(ids).last_hidden_state
    expected = hidden @ state["lm_head.weight"][start:rows].T
    torch.testing.assert_close(found(ids).logits, expected, rtol=1e-4, atol=1e-4)
    assert load_text_tokenizer(str(tmp_path / "out")).fingerprint == load_text_tokenizer(str(llm)).fingerprint


def test_what_does_not_belong_together_is_refused(llm, tmp_path):
    torch.save({"module": trained_state(llm, 256)}, tmp_path / "model.pt")
    with pytest.raises(ValueError, match="not the first of multimodal_io"):
        write_llm(
            config(tmp_path / "a.yaml", llm, None, ("discrete_audio", "text")), tmp_path / "model.pt", tmp_path / "out"
        )
    with pytest.raises(ValueError, match="text ends at 9999.*train.yaml of this checkpoint"):
        write_llm(config(tmp_path / "b.yaml", llm, {"text": [[256, 9999]]}), tmp_path / "model.pt", tmp_path / "out")
    with pytest.raises(ValueError, match="its text has 20 rows.*--base"):
        write_llm(config(tmp_path / "c.yaml", llm, {"text": [[256, 276]]}), tmp_path / "model.pt", tmp_path / "out")
    (tmp_path / "d.yaml").write_text("job_type: asr\n")
    with pytest.raises(ValueError, match="no job_type: speechlm"):
        write_llm(tmp_path / "d.yaml", tmp_path / "model.pt", tmp_path / "out")
    (tmp_path / "cut.pt").write_bytes((tmp_path / "model.pt").read_bytes()[:1000])
    with pytest.raises(ValueError, match="cut.pt: cannot be read.*export_checkpoint"):
        write_llm(config(tmp_path / "e.yaml", llm, None), tmp_path / "cut.pt", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@NEED_ESPNET
def test_the_llm_of_the_installed_releases_model(llm, tmp_path):
    """Build espnet2.speechlm's own model class, save as its trainer does, and compare the text logits."""
    from espnet2.speechlm.model.speechlm.lm.parallel import ParallelHFModel
    from espnet2.speechlm.model.speechlm.multimodal_io.text import HuggingFaceTextIO

    text = HuggingFaceTextIO(str(llm))
    end = 256 + text.vocab_size
    meta = {
        "vocab_size": end + AUDIO_ROWS,
        "text_start": 256,
        "text_end": end,
        "mm_start": end,
        "mm_end": end + AUDIO_ROWS,
    }
    meta |= {
        "num_stream": 2,
        "vocab": text.get_vocabulary(),
        "vocab_intervals": {},
        "vocab_weight": torch.ones(end + AUDIO_ROWS),
    }
    theirs = ParallelHFModel(
        str(llm), multimodal_io={"text": text}, vocab_meta=meta, is_train=False, dtype=torch.float32
    )
    torch.manual_seed(2)
    with torch.no_grad():
        for weight in theirs.parameters():
            weight.add_(0.05 * torch.randn_like(weight))
    torch.save({"module": theirs.state_dict()}, tmp_path / "model.pt")
    write_llm(config(tmp_path / "train.yaml", llm, {"text": [[256, end]]}), tmp_path / "model.pt", tmp_path / "out")

    ids = torch.arange(12)[None]
    hidden = theirs.model(inputs_embeds=theirs.model.embed_tokens(ids + 256)).last_hidden_state
    expected = theirs.lm_head(hidden)[..., 256:end]
    torch.testing.assert_close(
        load_llm(str(tmp_path / "out"), random_init=False)(ids).logits, expected, rtol=1e-4, atol=1e-4
    )
