"""A trained model is a folder: `config.json`, `model.safetensors`, `vocab.json`, `llm/` (the LLM's architecture and
tokenizer).

Loading checks names, shapes and fingerprints: a checkpoint that does not fit is refused, not half-loaded.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from speechlm.data.files import share
from speechlm.data.settings import read_json
from speechlm.model.speechlm import SpeechLM, attention_of, make_llm
from speechlm.tasks import get_task
from speechlm.tokens.text import TextTokenizer, find_llm, llm_errors, load_text_tokenizer
from speechlm.tokens.vocabulary import Vocabulary

TOKENIZER_FILES = (
    "tokenizer.model",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.json",
    "merges.txt",
    "added_tokens.json",
)
EXAMPLES = "examples_train.json"  # what a training says of its examples


@dataclass(frozen=True)
class TrainedModel:
    """What a model folder holds."""

    model: SpeechLM
    vocab: Vocabulary
    text: TextTokenizer
    folder: Path


def load_llm(name: str, random_init: bool) -> torch.nn.Module:
    """Load a Hugging Face causal LM in float32, by hub name or folder; with `random_init` only its architecture.

    ValueError says how to get the files if they are missing, or that it is not a textual LLM.
    """
    folder = find_llm(name)
    require_own_tokenizer(folder)
    with llm_errors(name):
        config = AutoConfig.from_pretrained(folder)
    if config.get_text_config() is not config:
        raise ValueError(
            f"--llm {name}: a multimodal model ({config.model_type}). Expected a textual LLM, for example"
            " google/gemma-3-1b-pt."
        )
    with llm_errors(name):
        if random_init:
            return make_llm(config)
        llm, found = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, output_loading_info=True, **attention_of(config)
        )
    if found["missing_keys"]:  # transformers makes them up
        raise ValueError(
            f"--llm {name}: its files lack weights ({sorted(found['missing_keys'])[:3]}, ...). Fetch or copy all of its"
            " files again."
        )
    return llm


def require_own_tokenizer(llm: Path) -> None:
    """Raise ValueError if the tokenizer of an LLM in a trained model's folder (`<folder>/llm`) is not the one it was
    trained with.
    """
    path = llm.parent / "vocab.json"
    if llm.name != "llm" or not path.is_file():
        return
    found, trained = load_text_tokenizer(str(llm)).fingerprint, Vocabulary.load(path).text_fingerprint
    if found != trained:
        raise ValueError(
            f"{llm}: the text tokenizer has the fingerprint {found}, {path} says {trained}. Restore the tokenizer files"
            " that the model was trained with, or train it again."
        )


def copy_llm_files(source: str, config, target: Path) -> None:
    """Write the LLM's config and tokenizer files to `target`."""
    target.mkdir(parents=True, exist_ok=True)
    config.save_pretrained(target)
    folder = find_llm(source)
    for name in TOKENIZER_FILES:
        if (folder / name).exists():
            shutil.copyfile(folder / name, target / name)


def load_model(folder: str | Path, codec_fingerprint: str | None = None) -> TrainedModel:
    """Load a trained model folder; with `codec_fingerprint` given, refuse a model of another codec."""
    folder = Path(folder)
    if not (folder / "vocab.json").exists():
        raise ValueError(
            f"{folder}: no vocab.json, so this is not a trained model. Expected the --output_dir of a training"
            " stage; run that stage first."
        )
    vocab = Vocabulary.load(folder / "vocab.json")
    text = load_text_tokenizer(str(folder / "llm"))
    if codec_fingerprint is not None and codec_fingerprint != vocab.codec_fingerprint:
        raise ValueError(
            f"{folder}/vocab.json: the model speaks codec {vocab.codec_fingerprint[:16]}, but the one given is"
            f" {codec_fingerprint[:16]}. Give the --codec that the model was trained with, or train again."
        )
    require_own_tokenizer(folder / "llm")
    return TrainedModel(SpeechLM.from_pretrained(folder), vocab, text, folder)


def trained_with(folder: Path, setting: str):
    """Return a setting of the training that made a model (or whose step `steps/<n>` it is); None if the folder does not
    say.
    """
    return _of_training(folder, "settings.json").get("settings", {}).get(setting)


def longest_target(folder: Path, task: str) -> int | None:
    """Return the longest target of a task, in frames or tokens, that a model was trained on; for a task that it was not
    trained on, the longest of any task; None if unknown.
    """
    found = _of_training(folder, EXAMPLES).get("longest_target") or {}
    same_kind = [length for name, length in found.items() if get_task(name).speaks == get_task(task).speaks]
    return found.get(task, max(same_kind, default=None))


def longest_heard(folder: Path, task: str) -> int | None:
    """Return the longest sound, in frames, that a model was given in training for a task; None if unknown.

    For a task that it was not trained on, the longest of any task with speech input.
    """
    found = _of_training(folder, EXAMPLES).get("longest_heard") or {}
    return found.get(task, max((frames for name, frames in found.items() if get_task(name).hears), default=None))


def _of_training(folder: Path, name: str) -> dict:
    """Return what a file of the training that made a model says; {} if there is none. A kept step uses the files of its
    training.
    """
    training = folder.parent.parent if folder.parent.name == "steps" and not (folder / name).is_file() else folder
    return read_json(training / name) if (training / name).is_file() else {}


def usual_limit(folder: Path, task: str, otherwise: int = 200) -> int:
    """Return the most frames or tokens of an output, if no config says it: half as many again as the longest target in
    training.

    If the folder does not say it either, return `otherwise`.
    """
    longest = longest_target(folder, task)
    return otherwise if longest is None else longest * 3 // 2 + 8


def export_llm(trained: TrainedModel) -> None:
    """Complete `llm/` to a Hugging Face folder of the text-only LLM, to be used without this package."""
    save_llm(trained.model.llm, trained.folder / "llm")


def save_llm(llm: PreTrainedModel, folder: Path) -> None:
    """Write an LLM's weights and config, with the permissions of the umask."""
    llm.save_pretrained(folder)
    for path in folder.glob("*.safetensors"):
        share(path)
