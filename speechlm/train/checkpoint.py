"""Step checkpoints: everything that training needs to resume where it stopped, by torch.distributed.checkpoint (DCP).

checkpoints/<step>/    .metadata and __<rank>_0.distcp   tensors of model and optimizers, by name: a training of any
number of ranks can read them
                       state.pt                          the rest: step, position in the data, means so far
                       whole.json                        digests of the small files (each tensor has a checksum of its
                       own)

A copy of the tensors is written while the training goes on. A folder gets its name when it is complete; the last two
are kept.
"""

import hashlib
import io
import json
import logging
import pickle
import shutil
import sys
import warnings
import zipfile
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import torch
from torch.distributed import checkpoint as dcp
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.metadata import Metadata, StorageMeta

from speechlm.data.files import atomic_write, machine_error, storage_errors

NAME, REST, WHOLE, META = "checkpoints", "state.pt", "whole.json", ".metadata"
KEPT, READERS = 2, 4
# What a .metadata may hold besides numbers and strings.
SAFE = {
    "torch.distributed.checkpoint.metadata": {
        "Metadata", "MetadataIndex", "TensorStorageMetadata", "TensorProperties", "ChunkStorageMetadata",
        "StorageMeta", "_MEM_FORMAT_ENCODING",
    },
    "torch.distributed.checkpoint.filesystem": {"_StorageInfo"},
    "torch.serialization": {"_get_layout"},
    "torch": {"Size", "float64", "float32", "bfloat16", "float16", "int64", "int32", "int16", "int8", "uint8", "bool"},
    "pathlib": {"PosixPath"},
}  # fmt: skip

warnings.filterwarnings(
    "ignore", "torch.distributed is disabled, unavailable", UserWarning
)  # it is one process, as we say
_SHARED = "Expected one folder that all machines share; if it is one, run the same command again."
_ADVICE = "Fix that, and the same command goes on from it; or delete the checkpoints to start again."
_OLD = "checkpoint.pth"  # of earlier versions


class Checkpoints:
    """The checkpoints of a training folder. All ranks call each method alike; the first one decides and names."""

    def __init__(self, folder: Path):
        self.folder, self._pending, self._pool = folder / NAME, None, ThreadPoolExecutor(1)
        several = torch.distributed.is_initialized()
        self._group = (
            torch.distributed.new_group(backend="gloo") if several else None
        )  # of its own: it is used while training goes on
        self._first = not several or torch.distributed.get_rank() == 0

    def save(self, step: int, tensors: dict[str, torch.Tensor], rest: dict) -> None:
        """Copy the tensors and begin to write them, after waiting for a write that is still in progress."""
        self.wait()
        part = self._part(step)
        with storage_errors(self.folder / str(step)):
            if self._first:
                part.mkdir(parents=True, exist_ok=True)
                with atomic_write(part / REST, "wb") as stream:
                    torch.save(rest | {"step": step}, stream)
            writer = _Writer(part)
            written = dcp.async_save(
                tensors, storage_writer=writer, process_group=self._group, no_dist=self._group is None
            )
        self._pending = step, self._pool.submit(self._name, written, step)

    def wait(self) -> None:
        """Wait until the last save is complete; raise the error if it failed."""
        if self._pending is None:
            return
        (step, done), self._pending = self._pending, None
        with storage_errors(self.folder / str(step)):
            try:
                done.result()
            except BaseException as error:
                if self._first:
                    shutil.rmtree(self._part(step), ignore_errors=True)
                sys.unraisablehook = _tell
                raise _first_failure(error) from None

    def newest(self) -> Path | None:
        """Return the newest checkpoint that is whole, as the first rank finds it. ValueError if there are checkpoints
        but none is whole.
        """
        if self._first:
            for part in self.folder.glob(".*.part"):  # of a process that was killed while it wrote
                shutil.rmtree(part)
        if self._group is None:
            return newest(self.folder.parent)
        chosen = [newest(self.folder.parent) if self._first else None]
        torch.distributed.broadcast_object_list(chosen, src=0, group=self._group)
        if chosen[0] and not (chosen[0] / WHOLE).exists():
            raise ValueError(f"{chosen[0]}: the first process goes on from it, but it is missing here. {_SHARED}")
        return chosen[0]

    def load(self, path: Path, model: torch.nn.Module, optimizers: Iterable[torch.optim.Optimizer]) -> None:
        """Read a checkpoint's tensors into model and optimizers."""
        load_tensors(path, model, optimizers, self._group)

    def _part(self, step: int) -> Path:
        return self.folder / f".{step}.part"

    def _name(self, written: Future, step: int) -> None:
        """When all ranks have written: give the folder its name, and remove those that are no longer needed."""
        written.result()
        if not self._first:
            return
        part, path = self._part(step), self.folder / str(step)
        with atomic_write(part / WHOLE) as stream:
            json.dump({name: _digest(part / name) for name in (META, REST)}, stream)
        if path.exists():  # damaged, and done again
            self._remove(path)
        part.rename(path)
        steps = sorted(found for found in _steps(self.folder))
        for old in set(steps) - set([found for found in steps if found <= step][-KEPT:]):
            self._remove(self.folder / str(old))

    def _remove(self, path: Path) -> None:
        gone = path.with_name(f".old{path.name}.part")
        path.rename(gone)
        shutil.rmtree(gone)


class _Writer(dcp.FileSystemWriter):
    """DCP's writer; a full or failing disk is reported to all ranks as such."""

    def write_data(self, plan: dcp.SavePlan, planner: dcp.SavePlanner) -> torch.futures.Future:
        with storage_errors(self.path):
            return super().write_data(plan, planner)


def _first_failure(error: BaseException) -> BaseException:
    """Return what happened in the first rank that failed."""
    return next(iter(error.failures.values()))[0] if isinstance(error, CheckpointException) else error


# ---------------------------------------------------------------- reading


def newest(folder: Path) -> Path | None:
    """Return the newest checkpoint of a training folder that is whole; only a damaged one gives way to the one
    before.
    """
    paths = [folder / NAME / str(step) for step in sorted(_steps(folder / NAME), reverse=True)]
    for path in paths:
        if _is_whole(path):
            return path
        logging.warning(f"{path}: is damaged; trying the one before")
    if paths:
        names = ", ".join(map(str, paths))
        raise ValueError(f"{folder}: no readable checkpoint among {names}. Delete them to start this training again.")
    if (folder / _OLD).exists():
        raise ValueError(
            f"{folder / _OLD}: an earlier version wrote this checkpoint, which this version cannot read (it keeps"
            f" its own in {folder / NAME}). Finish this training with that version, or delete the file to start"
            " again."
        )
    return None


def read_rest(path: Path) -> dict:
    """Return what a checkpoint holds besides tensors; ValueError says why it cannot be loaded, though it is whole."""
    try:
        return torch.load(path / REST, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types
        raise _unreadable(path, error) from None


def load_tensors(
    path: Path, model: torch.nn.Module, optimizers: Iterable[torch.optim.Optimizer] = (), group=None
) -> None:
    """Read tensors by name into model and optimizers, in place; of a sharded one each rank reads its part."""
    reader, optimizers = Reader(path), list(optimizers)
    for optimizer in optimizers:
        _make_states(optimizer)
    try:
        there, wanted = reader.read_metadata().state_dict_metadata, tensors_of(model, optimizers)
        _drop_states(
            model, optimizers, {name for name in wanted if name not in there and name.startswith("optimizer.")}
        )
        dcp.load({name: tensor for name, tensor in wanted.items() if name in there or name.startswith("model.")},
        storage_reader=reader,
            process_group=group, no_dist=group is None,
        )  # fmt: skip
    except CheckpointException as error:
        raise _unreadable(path, _first_failure(error)) from None
    except Exception as error:
        raise _unreadable(path, error) from None


def tensors_of(model: torch.nn.Module, optimizers: Iterable[torch.optim.Optimizer]) -> dict[str, torch.Tensor]:
    """Return the tensors of model and optimizers by name; one that has two names is listed under the first."""
    found, seen = {}, set()
    for name, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) not in seen:
            found[f"model.{name}"] = tensor.detach()
        seen.add(id(tensor))
    names = {parameter: name for name, parameter in model.named_parameters()}
    for optimizer in optimizers:
        for parameter, state in optimizer.state.items():
            found |= {f"optimizer.{names[parameter]}.{key}": value for key, value in state.items()}
    return found


@torch.no_grad()
def _make_states(optimizer: torch.optim.Optimizer) -> None:
    """Let an optimizer make its tensors, by a step that changes no parameter."""
    rates = [group["lr"] for group in optimizer.param_groups]
    for group in optimizer.param_groups:
        group["lr"] = 0.0
        for parameter in group["params"]:
            parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate


def _drop_states(model: torch.nn.Module, optimizers: list, names: set[str]) -> None:
    """Forget the state of parameters that had none when the checkpoint was written."""
    for name, parameter in model.named_parameters():
        for optimizer in optimizers:
            if any(f"optimizer.{name}.{key}" in names for key in optimizer.state.get(parameter, ())):
                del optimizer.state[parameter]


def _tell(unraisable) -> None:
    """Tell what no handler caught, but not that DCP closes a failed write's stream twice, which Python 3.13 tells."""
    if not (isinstance(unraisable.exc_value, ValueError) and "closed file" in str(unraisable.exc_value)):
        sys.__unraisablehook__(unraisable)


class Reader(dcp.FileSystemReader):
    """DCP's reader, for which a checkpoint holds no code: its .metadata is a pickle."""

    def read_metadata(self, *_args, **_kwargs) -> Metadata:
        """Return the description of the tensors, with nothing but DCP's own types in it."""
        metadata = _SafeUnpickler((Path(self.path) / META).open("rb")).load()
        metadata.storage_meta = metadata.storage_meta or StorageMeta()
        return metadata


class _SafeUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str):
        module = module.removesuffix("._local")  # where Python 3.13 has pathlib's classes
        if name not in SAFE.get(module, ()):
            raise pickle.UnpicklingError(f"it names {module}.{name}")
        return super().find_class(module, name)


def _steps(folder: Path) -> list[int]:
    return [int(path.name) for path in folder.glob("*") if path.name.isdecimal()]


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _is_whole(path: Path) -> bool:
    """Do the files hold what was written? Tensors have the checksums of torch.save, which torch.load does not check."""
    try:
        if any(_digest(path / name) != digest for name, digest in json.loads((path / WHOLE).read_text()).items()):
            return False
        parts = {
            (info.relative_path, info.offset, info.length)
            for info in Reader(path).read_metadata().storage_data.values()
        }
        with ThreadPoolExecutor(READERS) as pool:
            return all(pool.map(partial(_tensor_is_whole, path), parts))
    except (ValueError, EOFError, zipfile.BadZipFile, NotImplementedError, pickle.UnpicklingError, AttributeError):
        return False
    except OSError as error:
        if machine_error(error):
            raise _unreadable(path, error) from None
        return False


def _tensor_is_whole(path: Path, part: tuple[str, int, int]) -> bool:
    name, offset, length = part
    with (path / name).open("rb") as stream:
        stream.seek(offset)
        with zipfile.ZipFile(io.BytesIO(stream.read(length))) as archive:
            return archive.testzip() is None


def _unreadable(path: Path, error: BaseException) -> ValueError:
    message = (str(error).strip().splitlines() or [type(error).__name__])[0]
    reason = machine_error(error) or f"it is whole, but not a checkpoint of this training ({message})"
    return ValueError(f"{path}: cannot be loaded: {reason}. {_ADVICE}")
