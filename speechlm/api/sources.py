"""Where models come from: a recipe's experiment, one trained model's folder, or a folder that `save_pretrained` wrote.

All become a `Source`: which model does which task in which languages, the codec, and how to decode. A saved folder says
so in its `speechlm.json`; for a training it is in its `config.yaml`, and in the `decode.json` of what has been decoded
with it.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from speechlm.data.settings import read_json, read_yaml
from speechlm.tasks import TASKS, get_task

SAVED, VOICES, RESULTS = "speechlm.json", "voices.json", "results.json"
FORMAT = 1
SAFE_NAME = re.compile(r"[\w][\w.-]*")
EXPECTED = (
    "Expected a recipe's experiment (egs/NAME/exp), a trained model's folder, a folder that save_pretrained wrote, a"
    " file that pack wrote, or a hub name (OWNER/NAME)"
)


@dataclass(frozen=True)
class Model:
    """A trained model: `tasks` are those it was trained for, each with its (source, target) languages; the same twice
    if it has one.
    """

    folder: Path
    tasks: dict[str, list[tuple[str, str]]]
    prompt_frames: int
    config: dict = field(default_factory=dict)  # of its training; empty in a saved folder


@dataclass(frozen=True)
class Source:
    """Everything that `from_pretrained` was given. `decoding` holds options of each task, as far as they are known."""

    folder: Path
    models: tuple[Model, ...]
    codec: str
    decoding: dict[str, dict]

    def by_task(self) -> dict[str, Model]:
        """Return which model does each task: the one trained for it alone rather than one trained for many.

        ValueError if there are several such, and none is called sft_<task>.
        """
        found = defaultdict(list)
        for model in self.models:
            for task in model.tasks:
                found[task].append(model)
        return {task: _choose(task, found[task], self.folder) for task in TASKS if task in found}


def _choose(task: str, models: list[Model], folder: Path) -> Model:
    for model in models:
        if model.folder.name == f"sft_{task}":
            return model
    fewest = min(len(model.tasks) for model in models)
    best = [model for model in models if len(model.tasks) == fewest]
    if len(best) > 1:
        names = ", ".join(model.folder.name for model in best)
        raise ValueError(f"{folder}: several models for {task} ({names}). Give the folder of one of them instead.")
    return best[0]


def read_source(folder: Path) -> Source:
    """Read a folder of any of the three kinds; ValueError if it is none of them."""
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder. {EXPECTED}.")
    if (folder / SAVED).is_file():
        return _read_saved(folder)
    if (folder / "vocab.json").is_file():
        return _read_trainings(folder, [folder])
    models = [
        path
        for path in sorted(folder.iterdir())
        if path.name.startswith(("sft", "cpt")) and (path / "model.safetensors").is_file()
    ]
    if not models:
        raise ValueError(
            f"{folder}: no trained model in it (sft_*, cpt*, with model.safetensors). {EXPECTED}; a recipe's stages 6"
            " and 7 train."
        )
    return _read_trainings(folder, models)


def _read_trainings(folder: Path, paths: list[Path]) -> Source:
    models = tuple(_read_training(path) for path in paths)
    codecs = {model.config["codec"]: model for model in models}
    if len(codecs) > 1:
        raise ValueError(
            f"{folder}: its models speak several codecs ({', '.join(codecs)}). Give the folder of one model."
        )
    codec, model = next(iter(codecs.items()))
    return Source(folder, models, _find_codec(codec, model.folder), _read_decoding(paths))


def _read_training(folder: Path) -> Model:
    """Read what a training was for from its config.yaml."""
    config = read_yaml(folder / "config.yaml")
    try:
        tasks = {name: _pairs_of(name, config) for name in config["mixture"] if not get_task(name).plain}
        return Model(folder, tasks, int(config["prompt_frames"]), {"codec": str(config["codec"])} | config)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{folder}/config.yaml: no {error}; expected the settings that a training wrote. Copy the folder again."
        ) from None


def _pairs_of(task: str, config: dict) -> list[tuple[str, str]]:
    """Return the languages that a task was trained in, as the training's options say."""
    langs = config["langs"] or list(dict.fromkeys([config["src_lang"], config["tgt_lang"]]))
    if get_task(task).languages == "same":
        return [(lang, lang) for lang in config["task_langs"].get(task, langs)]
    return [tuple(direction.split("-")) for direction in config["directions"]] or [
        (config["src_lang"], config["tgt_lang"])
    ]


def _find_codec(codec: str, model: Path) -> str:
    """Return the codec's spec as it can be loaded here: of a folder given relative to the recipe, with its path."""
    what, colon, option = codec.rpartition(":")
    what, option = (what, colon + option) if what else (codec, "")
    for folder in model.resolve().parents:
        if (found := folder / what).exists() and "/" in what:
            return f"{found}{option}"
    return codec


def _read_decoding(models: list[Path]) -> dict[str, dict]:
    """Return the options that test sets were decoded with, for each task of which some have been."""
    decoding = {}
    for path in sorted(path for model in models for path in model.glob("decode_*/decode.json")):
        settings = read_json(path)
        decoding[settings["task"]] = settings["speech" if get_task(settings["task"]).speaks else "text"]
    return decoding


def _read_saved(folder: Path) -> Source:
    """Read speechlm.json. It may come from the hub: names in it lead nowhere else."""
    path = folder / SAVED
    content = read_json(path)
    try:
        if content["format"] != FORMAT:
            raise ValueError(
                f"{path}: format {content['format']!r}; expected {FORMAT}. Update speechlm, or save the model again."
            )
        models = tuple(
            Model(
                _inside(folder, name),
                {task: [tuple(pair) for pair in pairs] for task, pairs in model["tasks"].items()},
                model["prompt_frames"],
            )
            for name, model in content["models"].items()
        )
        codec = content["codec"]
        codec = f"{_inside(folder, codec['file'])}{codec['option']}" if isinstance(codec, dict) else codec
        return Source(folder, models, codec, content["decoding"])
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path}: damaged ({type(error).__name__}: {error}). Expected what save_pretrained wrote: save or fetch it"
            " again."
        ) from None


def _inside(folder: Path, name: str) -> Path:
    if not all(SAFE_NAME.fullmatch(part) for part in name.split("/")):
        raise ValueError(f"{folder / SAVED}: names {name!r}; expected a file or folder inside {folder}")
    return folder / name


def find_beside(path: str, start: Path) -> Path | None:
    """Return a path that a training was given, as found from the folder that it was started in: one above its own."""
    return next((folder / path for folder in start.resolve().parents if (folder / path).exists()), None)


def held_out_manifests(source: Source) -> Iterator[Path]:
    """Yield the manifests of the sets that the trainings were validated on, where they still are."""
    for model in source.models:
        for name in model.config.get("dev_set") or []:
            if found := find_beside(f"{model.config['dump']}/{name}/manifest.jsonl", model.folder):
                yield found
