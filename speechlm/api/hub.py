"""The Hugging Face hub, or another at $HF_ENDPOINT: models fetched from it and pushed to it."""

import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from speechlm.api.sources import EXPECTED

if TYPE_CHECKING:
    from speechlm.api import SpeechLM

NAME = re.compile(r"([\w-][\w.-]*/[\w-][\w.-]*)(?:@([\w./-]+))?")
FILES = ["*.json", "*.yaml", "*.safetensors", "*.model", "*.txt", "*.jinja", "*.md", "codec/*"]


def fetch(name: str) -> Path:
    """Return the folder of a hub model, OWNER/NAME[@REVISION], fetched or completed; the cached copy if there is no
    network.

    ValueError if it can't be fetched, saying how to fetch it elsewhere.
    """
    found = NAME.fullmatch(name)
    if not found or ".." in name:
        raise ValueError(f"{name[:200]!r}: no such folder, and not a hub name. {EXPECTED}.")
    repo, revision = found[1], found[2] or "main"
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(repo, revision=revision, allow_patterns=FILES))
    except Exception as error:  # no network, no such name, no access: each its own exception
        raise ValueError(
            f"{name}: no such folder, and it cannot be fetched from the hub ({_first_line(error)}). On a machine"
            f" with network access: hf download {repo} --revision {revision} --local-dir FOLDER; copy FOLDER here"
            " and give FOLDER."
        ) from None


def push(lm: "SpeechLM", name: str, private: bool, token: str | None) -> str:
    """Save the model to a temporary folder and upload it; return its address. ValueError if it is not a hub name, or
    the hub refuses.
    """
    found = NAME.fullmatch(name)
    if not found or found[2]:
        raise ValueError(f"{name[:200]!r}: not a hub name. Expected OWNER/NAME.")
    from huggingface_hub import HfApi

    hub = HfApi(token=token)
    with tempfile.TemporaryDirectory() as folder:
        saved = lm.save_pretrained(Path(folder) / "model")
        try:
            hub.create_repo(name, private=private, exist_ok=True)
            hub.upload_folder(repo_id=name, folder_path=saved, commit_message="Upload with speechlm")
        except Exception as error:  # no network, no token, no right to write: each its own exception
            raise ValueError(
                f"{name}: cannot be pushed to the hub ({_first_line(error)}). Log in (hf auth login) with a token that"
                " may write there; or write it with save_pretrained(FOLDER), and from a machine with network"
                " access: hf upload " + f"{name} FOLDER"
            ) from None
    return f"{hub.endpoint}/{name}"


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or ["no message"]
    return f"{type(error).__name__}: {lines[0][:200]}"
