"""Text tokenizers: the LLM's own, be it a sentencepiece model or a Hugging Face tokenizer."""

import hashlib
from pathlib import Path
from typing import Protocol


class TextTokenizer(Protocol):
    """`size` is the number of ids; `bos_id` is None where the LLM has no such token."""

    size: int
    bos_id: int | None
    eos_id: int
    fingerprint: str

    def encode(self, text: str) -> list[int]: ...
    def decode(self, ids: list[int]) -> str: ...


class SentencePieceTokenizer:
    """A sentencepiece model file, such as the embedded LLM's `tokenizer.model`."""

    def __init__(self, path: Path):
        import sentencepiece

        self._model = sentencepiece.SentencePieceProcessor(model_file=str(path))
        self.size = self._model.get_piece_size()
        self.bos_id, self.eos_id = self._model.bos_id(), self._model.eos_id()
        self.fingerprint = hashlib.sha256(path.read_bytes()).hexdigest()[:16]

    def encode(self, text: str) -> list[int]:
        return self._model.encode(text)

    def decode(self, ids: list[int]) -> str:
        return self._model.decode(ids)


class HuggingFaceTokenizer:
    """The tokenizer of a Hugging Face model, by hub name or local folder."""

    def __init__(self, name: str):
        from transformers import AutoTokenizer

        self._tokenizer = AutoTokenizer.from_pretrained(name)
        self.size = len(self._tokenizer)
        self.bos_id, self.eos_id = self._tokenizer.bos_token_id, self._tokenizer.eos_token_id
        if self.eos_id is None:
            raise ValueError(f"{name}: its tokenizer has no end-of-sequence token. Expected a causal LM's tokenizer.")
        pieces = sorted(self._tokenizer.get_vocab().items(), key=lambda item: item[1])
        self.fingerprint = hashlib.sha256(repr(pieces).encode()).hexdigest()[:16]

    def encode(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=False)

    def decode(self, ids: list[int]) -> str:
        return self._tokenizer.decode(ids, skip_special_tokens=True)


def load_text_tokenizer(name: str) -> TextTokenizer:
    """Load the tokenizer of an LLM given by hub name or folder."""
    folder = Path(name)
    if (folder / "tokenizer.model").exists() and not (folder / "tokenizer.json").exists():
        return SentencePieceTokenizer(folder / "tokenizer.model")
    if folder.exists() or name.count("/") == 1:
        return HuggingFaceTokenizer(name)
    raise ValueError(
        f"--llm {name}: no such folder, and not a hub name (owner/name). "
        "Expected a folder with config.json and a tokenizer; the recipe's llm stage writes one."
    )
