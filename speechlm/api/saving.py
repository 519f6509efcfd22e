"""`save_pretrained`: a folder with everything that `from_pretrained` needs, and a model card.

speechlm.json       models with their tasks and languages, codec, decoding options
<model>/            config.json, model.safetensors, vocab.json, llm/ (architecture and tokenizer) of each; of its
training
                    examples_train.json, if there is one
codec/              the codec's files, unless it is a published one, which is named
voices.json         voices to speak in         results.json, README.md: scores and the card
"""

import json
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from speechlm.api.card import model_card
from speechlm.api.sources import FORMAT, RESULTS, SAVED, VOICES, Model
from speechlm.data.files import storage_errors
from speechlm.data.weights import find_espnet_files
from speechlm.model.folder import EXAMPLES

if TYPE_CHECKING:
    from speechlm.api import SpeechLM

MODEL_FILES = ("model.safetensors", "vocab.json")


def save(lm: "SpeechLM", folder: Path) -> Path:
    """Write the folder, whole or not at all; one that was saved before is replaced. ValueError if `folder` holds
    something else.
    """
    if folder.exists() and not (folder / SAVED).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder}: holds something other than a saved model. Name a new folder, or empty it.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with storage_errors(folder), tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as made:
        write(lm, Path(made) / "new")
        if folder.exists():
            folder.rename(Path(made) / "old")
        (Path(made) / "new").rename(folder)
    return folder


def write(lm: "SpeechLM", folder: Path) -> None:
    """Write all files to a new folder."""
    source = lm.source
    models = list({model.folder: model for model in source.by_task().values()}.values())
    for model in models:
        _copy_model(model, folder / model.folder.name)
    content = {
        "format": FORMAT,
        "models": {
            model.folder.name: {"tasks": _own_tasks(lm, model), "prompt_frames": model.prompt_frames}
            for model in models
        },
        "codec": copy_codec(source.codec, folder),
        "decoding": {task: vars(options) for task, options in lm.options.items()},
    }
    _write_json(folder / SAVED, content)
    _write_json(folder / VOICES, lm.voices)
    if (source.folder / RESULTS).is_file():
        shutil.copyfile(source.folder / RESULTS, folder / RESULTS)
    (folder / "README.md").write_text(model_card(lm), encoding="utf-8")


def _own_tasks(lm: "SpeechLM", model: Model) -> dict:
    """Return the tasks that this model is used for, and not another."""
    used = lm.source.by_task()
    return {task: pairs for task, pairs in model.tasks.items() if used[task].folder == model.folder}


def _copy_model(model: Model, target: Path) -> None:
    """Copy a model; of its LLM the architecture and the tokenizer, since the weights are the model's own."""
    target.mkdir(parents=True)
    for name in MODEL_FILES:
        shutil.copyfile(model.folder / name, target / name)
    for name in (EXAMPLES, "config.json"):  # which models of earlier versions don't have
        if (model.folder / name).is_file():
            shutil.copyfile(model.folder / name, target / name)
    shutil.copytree(model.folder / "llm", target / "llm", ignore=shutil.ignore_patterns("*.safetensors*", ".*"))


def copy_codec(spec: str, folder: Path) -> str | dict[str, str]:
    """Copy a codec's files to `folder/codec`; return what speechlm.json says of it: the spec of a published one, else
    {file, option}.
    """
    what, option = (spec, "") if Path(spec).exists() else (spec.rpartition(":")[0], f":{spec.rpartition(':')[2]}")
    path = Path(what or spec)
    if not what or not path.exists():
        return spec
    if path.is_dir():
        shutil.copytree(path, folder / "codec", ignore=shutil.ignore_patterns(".*", "checkpoint*", "tensorboard"))
        return {"file": "codec", "option": option}
    (folder / "codec").mkdir()
    shutil.copyfile(path, folder / "codec" / path.name)
    if path.suffix == ".pth":
        shutil.copyfile(path.parent / "config.yaml", folder / "codec" / "config.yaml")
        find_espnet_files(folder / "codec", "train_config", "model_file")
        return {"file": "codec", "option": option}
    return {"file": f"codec/{path.name}", "option": option}


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
