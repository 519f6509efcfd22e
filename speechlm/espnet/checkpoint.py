"""Step checkpoints: everything that training needs to go on where it was, in one file, written atomically."""

import logging
from pathlib import Path

import torch

from speechlm.data.files import atomic_write

NAME = "checkpoint.pth"


def save_checkpoint(folder: Path, state: dict) -> None:
    """Write `checkpoint.pth`; the one before is kept as `checkpoint.prev.pth`."""
    path = folder / NAME
    for unfinished in folder.glob(f".{NAME}.*"):  # of a process that was killed while it wrote
        unfinished.unlink(missing_ok=True)
    if path.exists():
        path.replace(folder / "checkpoint.prev.pth")
    with atomic_write(path, "wb") as stream:
        torch.save(state, stream)


def load_checkpoint(folder: Path, device: str) -> dict | None:
    """Return the newest readable checkpoint, or None if there is none; ValueError if none can be read."""
    found = [path for path in (folder / NAME, folder / "checkpoint.prev.pth") if path.exists()]
    for path in found:
        try:
            state = torch.load(path, map_location=device, weights_only=True)
            logging.info(f"resumed from {path}, step {state['step']}")
            return state
        except Exception as error:  # torch raises many types for a damaged file
            logging.warning(f"{path}: cannot be read ({type(error).__name__}); trying the one before")
    if found:
        raise ValueError(f"{folder}: no readable checkpoint among {[str(p) for p in found]}. Delete them to start this training again.")
    return None
