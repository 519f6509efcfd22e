"""What decides the result of a training, by role and content; and what happens to an earlier training in the same
folder.

settings.json    {"settings", "inputs"} of the training that the checkpoints beside it are of, and where it started from
.old/            the weights and checkpoints of the previous one, until this one is finished
"""

import json
import shutil
from pathlib import Path

from speechlm.data.files import FORMAT, Known, atomic_write, differences, digests_of
from speechlm.data.settings import read_json
from speechlm.tasks import TOKEN_TASKS
from speechlm.tokens.patterns import PATTERN
from speechlm.tokens.text import find_llm

# Options that do not change the weights, or whose content is compared instead: sets, models, the codec.
NEUTRAL = frozenset(
    """
    config overlay output_dir dump train_sets dev_set init_from init_param llm codec version resume required
    ngpu num_workers local_rank nproc nodes multiprocessing_distributed dist_backend
    log_level log_interval use_tensorboard use_matplotlib use_wandb wandb_project wandb_id wandb_entity wandb_name
    eval_interval eval_examples save_interval keep_steps max_restarts dist_timeout_min max_loss_ratio max_left_out
    gradient_checkpointing compile sharding dry_run llm_model_config gpu mfu codec_shape
    """.split()
)
LLM_FILES = ("config.json", "*.safetensors", "vocab.json", "tokenizer.model", "tokenizer.json")
OF_A_RUN = (
    "checkpoints",
    "checkpoint.pth",
    "checkpoint.prev.pth",
    "train.jsonl",
    "model.safetensors",
    "bad_batch.json",
    "cost.json",
    "steps",
    "adapter",
)
OLD = ".old"
USUAL = {"pattern": PATTERN, "tasks": TOKEN_TASKS}  # if none is named


def result_settings(args, world: int) -> dict:
    """Return the settings that decide the result, as JSON values. A step's batches count, not in which process each is.

    Skipped steps are not among them: a checkpoint says itself which it skipped.
    """
    settings = {k: v for k, v in vars(args).items() if k not in NEUTRAL | {"skip_steps"}} | {
        "accum_grad": args.accum_grad * world
    }
    settings |= {name: usual for name, usual in USUAL.items() if settings.get(name, usual) is None}
    return json.loads(json.dumps(settings | {"codec_fingerprint": codec_of(args)}, default=str))


def codec_of(args) -> str:
    """Return the fingerprint of the codec of the training sets; its name, if they do not say."""
    for name in args.train_sets:
        path = Path(args.dump) / name / "codec.json"
        if path.is_file():
            return read_json(path)["fingerprint"]
    return args.codec


def input_files(args, dev: bool = False) -> dict[str, Path]:
    """Return {role: file} of what decides the result: the sets' manifests in their order, the weights to start from;
    `dev`: of those sets too.

    The files of an LLM with a hub name are those of its snapshot. ValueError if it cannot be had.
    """
    sets = [("train", args.train_sets), *([("dev", args.dev_set)] if dev else [])]
    named = [(f"{kind} {i}", name) for kind, names in sets for i, name in enumerate(names, 1)]
    files = {f"{role}/manifest.jsonl": Path(args.dump) / name / "manifest.jsonl" for role, name in named}
    if args.init_from:
        files |= _files_of("init", Path(args.init_from), LLM_FILES)
    elif args.llm:
        files |= _files_of(
            "llm", find_llm(args.llm), [name for name in LLM_FILES if not args.llm_random or "safetensors" not in name]
        )
    return files | {f"init_param {i}": Path(spec.partition(":")[0]) for i, spec in enumerate(args.init_param or [], 1)}


def _files_of(role: str, folder: Path, patterns) -> dict[str, Path]:
    return {f"{role}/{path.name}": path for pattern in patterns for path in sorted(folder.glob(pattern))}


def known_settings(parser, args) -> Known:
    """Return what an older record does not say: defaults of the options that it does not know, and and the codec, which
    it names.
    """
    defaults = {action.dest: action.default for action in parser._actions}
    return Known(json.loads(json.dumps(defaults, default=str)) | USUAL | {"codec_fingerprint": codec_of(args)}, NEUTRAL)


def start_from(args) -> dict[str, str]:
    """Return, for a person to read, which model a training started from; a hub name with the revision that was
    found.
    """
    if args.init_from or not args.llm:
        return {"init_from": args.init_from} if args.init_from else {}
    folder = find_llm(args.llm)
    return {"llm": args.llm if Path(args.llm).is_dir() else f"{args.llm.partition('@')[0]}@{folder.name}"}


def prepare_folder(folder: Path, args, settings: dict, inputs: dict[str, Path], known: Known) -> None:
    """Write settings.json; what was trained with other settings or inputs is moved to `.old`, saying which they are.

    A training of which only `max_steps` was raised stays, to be continued from its last checkpoint.
    """
    path, now = folder / "settings.json", {"format": FORMAT, "settings": settings, "inputs": digests_of(inputs)}
    there = [name for name in OF_A_RUN if (folder / name).exists()]
    before = _read_record(path)
    changed = differences(before, now, known) if before else ["settings that are not known"]
    if changed and there and not _continues(folder, before, changed, settings):
        print(f"{folder}: starts again, because of {'; '.join(changed)}. {_put_aside(folder, there)}", flush=True)
    with atomic_write(path) as stream:
        json.dump(now | {"start": start_from(args)}, stream, indent=1, sort_keys=True)


def remove_old(folder: Path) -> None:
    """Remove what `prepare_folder` put aside: the new model stands."""
    shutil.rmtree(folder / OLD, ignore_errors=True)


def _read_record(path: Path) -> dict:
    """Return settings.json; one of an earlier version held settings, and digests under "input <path>"."""
    found = read_json(path) if path.is_file() else {}
    if not found or found.get("format") == FORMAT:
        return found
    inputs = {key.removeprefix("input "): value for key, value in found.items() if key.startswith("input ")}
    return {"settings": {key: value for key, value in found.items() if not key.startswith("input ")}, "inputs": inputs}


def _continues(folder: Path, before: dict, changed: list[str], settings: dict) -> bool:
    """Say that a training goes on to a later last step, if that is all that changed."""
    old, new = before.get("settings", {}).get("max_steps"), settings["max_steps"]
    only_longer = old and old < new and all(change.startswith("setting max_steps ") for change in changed)
    if not only_longer or not (folder / "checkpoints").exists():
        return False
    print(
        f"{folder}: max_steps was raised from {old} to {new}: it goes on from its last checkpoint, with the learning"
        f" rates of a training of {new} steps from there on. (To train from the start instead, delete {folder}.)",
        flush=True,
    )
    return True


def _put_aside(folder: Path, names: list[str]) -> str:
    """Move a run's files to `.old`, unless a finished one is kept there and this one is not; return what became of
    them.
    """
    old = folder / OLD
    if (old / "model.safetensors").exists() and "model.safetensors" not in names:
        for name in names:
            _remove(folder / name)
        return f"{old} still holds the finished model from before"
    shutil.rmtree(old, ignore_errors=True)
    old.mkdir()
    for name in names:
        (folder / name).rename(old / name)
    return f"What was trained before is kept in {old} until the new training is finished"


def _remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()
