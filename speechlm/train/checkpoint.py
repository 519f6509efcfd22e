"""Step checkpoints: everything that training needs to go on where it was, in one file, written atomically."""

import logging
import zipfile
from pathlib import Path

import torch

from speechlm.data.files import atomic_write, machine_error

NAME, PREVIOUS = "checkpoint.pth", "checkpoint.prev.pth"


_SHARED = "Expected one folder that all machines share; if it is one, give the same command again."
_ADVICE = "Put that right, and the same command goes on from it; or delete the checkpoints to start again."


def save_checkpoint(folder: Path, state: dict) -> None:
    """Write `checkpoint.pth`; the one before is kept as `checkpoint.prev.pth`."""
    path = folder / NAME
    for unfinished in folder.glob(f".{NAME}.*"):  # of a process that was killed while it wrote
        unfinished.unlink(missing_ok=True)
    if path.exists():
        path.replace(folder / PREVIOUS)
    with atomic_write(path, "wb") as stream:
        torch.save(state, stream)


def load_checkpoint(folder: Path, device: str) -> dict | None:
    """Return the newest checkpoint that is whole, the same in all processes: the first one decides. None: there is none.

    ValueError if none is whole, or if a whole one cannot be loaded here.
    """
    if not torch.distributed.is_initialized():
        return _newest(folder, device)[1]
    first, chosen = torch.distributed.get_rank() == 0, [None, None]
    if first:
        name, state = _newest(folder, device)
        chosen = [name, state and state["step"]]
    torch.distributed.broadcast_object_list(chosen, src=0)
    if not first:
        state = _as_chosen(folder / chosen[0], chosen[1], device) if chosen[0] else None
    return state


def _newest(folder: Path, device: str) -> tuple[str | None, dict | None]:
    """Return the name and content of the newest file that is whole; only a damaged one gives way to the one before."""
    found = [path for path in (folder / NAME, folder / PREVIOUS) if path.exists()]
    for path in found:
        if not _is_whole(path):
            logging.warning(f"{path}: is damaged; trying the one before")
            continue
        state = _read(path, device)
        logging.info(f"resumed from {path}, step {state['step']}")
        return path.name, state
    if found:
        names = ", ".join(map(str, found))
        raise ValueError(f"{folder}: no readable checkpoint among {names}. Delete them to start this training again.")
    return None, None


def _as_chosen(path: Path, step: int, device: str) -> dict:
    """Return what the first process loaded too; ValueError if this one finds something else there."""
    state = _read(path, device) if path.exists() else None
    if state is None or state["step"] != step:
        here = "it is not there" if state is None else f"it holds step {state['step']}"
        raise ValueError(f"{path}: the first process loads step {step} from it, here {here}. {_SHARED}")
    return state


def _is_whole(path: Path) -> bool:
    """Do the parts of the file have the checksums written with them? torch.load does not look at those of tensors."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (zipfile.BadZipFile, EOFError, NotImplementedError):
        return False
    except OSError as error:
        if reason := machine_error(error):
            raise ValueError(f"{path}: cannot be loaded: {reason}. {_ADVICE}") from None
        return False


def _read(path: Path, device: str) -> dict:
    """Return a checkpoint's content; ValueError says why it cannot be loaded, though it is whole."""
    try:
        return torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # torch raises many types
        told = (str(error).strip().splitlines() or [type(error).__name__])[0]
        reason = machine_error(error) or f"it is whole, but no checkpoint ({told})"
        raise ValueError(f"{path}: cannot be loaded: {reason}. {_ADVICE}") from None
