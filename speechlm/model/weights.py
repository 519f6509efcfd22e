"""The weights of a model: one safetensors file, with the fingerprint of the vocabulary that they were trained with."""

from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from speechlm.data.files import machine_error, share, storage_errors
from speechlm.model.adapter import merged_state
from speechlm.model.tensors import whole
from speechlm.tokens.vocabulary import Vocabulary


def save_weights(path: Path | None, model: nn.Module) -> None:
    """Write a model's weights and its vocabulary's fingerprint as safetensors, atomically; tied tensors are stored
    once, adapters merged.

    A sharded model is gathered, by all ranks together; ranks without a path only contribute their part.
    """
    seen: dict[int, str] = {}
    unique, state = {}, merged_state(model)
    for name, tensor in state.items():
        if seen.setdefault(id(tensor), name) == name:
            gathered = whole(tensor.detach())
            if path:
                unique[name] = gathered.contiguous().cpu()
    if path is None:
        return
    temporary = path.with_name(f".{path.name}.part")
    with storage_errors(path):
        save_file(unique, temporary, metadata={"vocabulary": model.vocab.fingerprint})
        share(temporary)
        temporary.rename(path)


def load_weights(model: nn.Module, path: Path, device: str = "cpu", dtype: torch.dtype | None = None) -> None:
    """Load what `save_weights` wrote, to a model that may be empty (on the meta device): its weights are then the
    file's own, on `device`.

    ValueError names another vocabulary, or every tensor that does not fit.
    """
    state = _read(path, model.vocab, device)
    own = model.state_dict(keep_vars=True)
    shared = {id(own[name]) for name in state if name in own}  # tied tensors are stored once
    missing = [name for name, tensor in own.items() if name not in state and id(tensor) not in shared]
    wrong = [f"{n} {tuple(t.shape)}" for n, t in state.items() if n not in own or own[n].shape != t.shape]
    if missing or wrong:
        raise ValueError(
            f"{path}: does not fit the model. Missing: {missing[:5]}; unexpected: {wrong[:5]}. Train it again with this"
            " config."
        )
    cast = {
        name: tensor.to(dtype) if dtype and tensor.is_floating_point() else tensor for name, tensor in state.items()
    }
    model.load_state_dict(cast, strict=False, assign=any(tensor.is_meta for tensor in own.values()))
    model.llm.tie_weights()


def _read(path: Path, vocab: Vocabulary, device: str) -> dict[str, torch.Tensor]:
    try:
        state = load_file(path, device=device)
        with safe_open(path, "pt") as stream:
            vocabulary = (stream.metadata() or {}).get("vocabulary")
    except Exception as error:  # safetensors raises its own type for a truncated file
        if path.exists() and (reason := machine_error(error)):
            raise ValueError(
                f"{path}: cannot be read: {reason}. The file may be intact: fix that and run the command again."
            ) from None
        raise ValueError(
            f"{path}: missing, cut short or damaged ({error}). Expected a trained model's weights. Delete"
            f" {path.parent}/.done.train.json and run the training stage again: it goes on from the last checkpoint."
        ) from None
    if vocabulary not in (None, vocab.fingerprint):
        raise ValueError(
            f"{path}: was trained with vocabulary {vocabulary}, {path.parent}/vocab.json is {vocab.fingerprint}. One of"
            " them belongs to another model: restore it, or train again (the training stage writes both)."
        )
    return state
