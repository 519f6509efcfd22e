"""The textual LLM inside a checkpoint of ESPnet's own speech LM (`espnet2.speechlm`, release 202611).

Its model is a Hugging Face causal LM whose embedding and head tables were replaced by larger ones:

    rows     0 .. 255    special tokens
             text        as many rows as the LLM had, in the LLM's order
             audio       the tokens of its codec, stream by stream

The layout stands in `vocab_intervals` of the `train.yaml` that it writes beside its checkpoints; all other weights keep
the LLM's names. Read off espnet2/speechlm/model/speechlm/{speechlm_job.py,lm/parallel.py} of that release.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed.checkpoint as dcp
from torch import Tensor
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from transformers import AutoConfig, AutoModelForCausalLM

from speechlm.data.settings import read_yaml
from speechlm.model.folder import copy_llm_files, save_llm
from speechlm.tokens.text import find_llm, llm_errors

SPECIAL_TOKENS = 256  # rows before the first modality
OWN_WEIGHTS = ("multimodal_io_dict.", "adaptor.", "stream_emb.", "vocab_weight")  # what the LLM did not have
EMBEDDINGS, HEAD = "model.embed_tokens.weight", "lm_head.weight"
EXPORT = "python -m espnet2.speechlm.bin.export_checkpoint --checkpoint-dir exp/checkpoints/step_N --output model.pt"


@dataclass(frozen=True)
class Layout:
    """What `train.yaml` says of the LLM: its name, and which rows of the tables are its own."""

    llm: str
    text_rows: slice


def write_llm(config_path: Path, checkpoint: Path, out: Path, base: str | None = None) -> None:
    """Write the LLM of a checkpoint to `out`, a Hugging Face folder that `--llm` takes.

    `checkpoint` is an exported `.pt` file, or a folder `checkpoints/step_N`; `base` is where the LLM's config and
    tokenizer are, if not under the name that `train.yaml` gives. ValueError if they do not belong together.
    """
    layout = read_layout(config_path)
    base = base or layout.llm
    with llm_errors(base):
        config = AutoConfig.from_pretrained(find_llm(base))
    state = select_llm(read_weights(checkpoint), layout, checkpoint)
    if len(state[EMBEDDINGS]) != config.vocab_size:
        raise ValueError(
            f"{config_path}: its text has {len(state[EMBEDDINGS])} rows, the LLM {base} has {config.vocab_size}. "
            "Give the LLM that it was trained from: --base FOLDER."
        )
    config.tie_word_embeddings = torch.equal(state[EMBEDDINGS], state[HEAD])
    with torch.device("meta"):
        llm = AutoModelForCausalLM.from_config(config, dtype=state[EMBEDDINGS].dtype)
    _load(llm, state, checkpoint)
    copy_llm_files(base, config, out)
    save_llm(llm, out)


def read_layout(config_path: Path) -> Layout:
    """Return the LLM's name and rows; ValueError if this is no `train.yaml` of espnet2.speechlm, or does not
    say them.
    """
    config = read_yaml(config_path)
    if not isinstance(config, dict) or config.get("job_type") != "speechlm":
        raise ValueError(
            f"{config_path}: no job_type: speechlm. Expected the train.yaml that espnet2.speechlm wrote beside its"
            " checkpoints."
        )
    try:
        llm, parts = config["model"]["model_hf_tag"], list(config["multimodal_io"])
        recorded = (config.get("vocab_intervals") or {}).get("text")
        if recorded:
            return Layout(llm, slice(int(recorded[0][0]), int(recorded[-1][1])))
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ValueError(
            f"{config_path}: model_hf_tag, multimodal_io or vocab_intervals cannot be read ({error!r})."
        ) from None
    if parts[0] != "text":
        raise ValueError(
            f"{config_path}: no vocab_intervals, and text is not the first of multimodal_io ({', '.join(parts)}), so"
            " the rows of the text are not known. Expected the train.yaml written by ESPnet 202611 or later."
        )
    with llm_errors(llm):
        rows = AutoConfig.from_pretrained(find_llm(llm)).vocab_size
    return Layout(llm, slice(SPECIAL_TOKENS, SPECIAL_TOKENS + rows))


def read_weights(checkpoint: Path) -> dict[str, Tensor]:
    """Return the model's tensors by name, from an exported file or a distributed checkpoint; no optimizer, no pickled
    code.
    """
    try:
        if checkpoint.is_dir():
            return _read_distributed(checkpoint)
        return torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)["module"]
    except Exception as error:  # torch and its checkpoint readers raise many types
        raise ValueError(
            f"{checkpoint}: cannot be read ({type(error).__name__}:"
            f" {str(error).splitlines()[0][:150] if str(error) else 'no message'}). Expected a folder"
            f" checkpoints/step_N of espnet2.speechlm, or what it exports: {EXPORT}"
        ) from None


def _read_distributed(folder: Path) -> dict[str, Tensor]:
    reader = dcp.FileSystemReader(folder)
    entries = reader.read_metadata().state_dict_metadata.items()
    state = {
        name.removeprefix("model."): torch.empty(entry.size, dtype=entry.properties.dtype)
        for name, entry in entries
        if name.startswith("model.") and isinstance(entry, TensorStorageMetadata)
    }
    dcp.load({"model": state}, storage_reader=reader, no_dist=True)
    return state


def select_llm(state: dict[str, Tensor], layout: Layout, checkpoint: Path) -> dict[str, Tensor]:
    """Return the LLM's own tensors under their names: of the two tables, the rows of text; ValueError if they are too
    short.
    """
    found = {
        name.replace("_orig_mod.", ""): tensor for name, tensor in state.items() if not name.startswith(OWN_WEIGHTS)
    }
    if missing := [name for name in (EMBEDDINGS, HEAD) if name not in found]:
        raise ValueError(
            f"{checkpoint}: no {', '.join(missing)} among its {len(state)} tensors. Expected a model of"
            " espnet2.speechlm."
        )
    for name in (EMBEDDINGS, HEAD):
        if len(found[name]) < layout.text_rows.stop:
            raise ValueError(
                f"{checkpoint}: {name} has {len(found[name])} rows, the config says that text ends at"
                f" {layout.text_rows.stop}. Give the train.yaml of this checkpoint."
            )
        found[name] = found[name][layout.text_rows].clone()
    return found


def _load(llm: torch.nn.Module, state: dict[str, Tensor], checkpoint: Path) -> None:
    try:
        llm.load_state_dict(state, strict=True, assign=True)
        llm.tie_weights()
    except RuntimeError as error:
        raise ValueError(
            f"{checkpoint}: does not fit {type(llm).__name__}. {str(error)[:300]}. Give its own LLM: --base FOLDER."
        ) from None
