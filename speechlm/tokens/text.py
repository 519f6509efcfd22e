"""Text tokenizers: the LLM's own, either a sentencepiece model or a Hugging Face tokenizer."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

LLM_FILES = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]  # of a hub model; no pickled weights


CLEAN_UP_OFF = {
    "clean_up_tokenization_spaces": False
}  # on, as with Llama 3, it takes spaces before punctuation out of decoded text
BLANK_MARK = "\u2581"  # sentencepiece's own sign of a blank


class TextTokenizer(Protocol):
    """Ids are below `size`; `bos_id` is None where the LLM has no such token."""

    size: int
    bos_id: int | None
    eos_id: int
    fingerprint: str
    key: str  # a digest of all that decides the ids of a text: the fingerprint is of the names of the tokens

    def encode(self, text: str) -> list[int]: ...
    def encode_all(self, texts: list[str]) -> list[list[int]]: ...
    def decode(self, ids: list[int]) -> str: ...


class SentencePieceTokenizer:
    """A sentencepiece model file, such as the embedded LLM's `tokenizer.model`."""

    def __init__(self, path: Path):
        import sentencepiece

        self._model = sentencepiece.SentencePieceProcessor(model_file=str(path))
        self.size = self._model.get_piece_size()
        self.bos_id, self.eos_id = (None if i < 0 else i for i in (self._model.bos_id(), self._model.eos_id()))
        if self.eos_id is None:
            raise ValueError(f"{path}: it has no end-of-sequence token. Expected a causal LM's tokenizer.")
        self.fingerprint = self.key = hashlib.sha256(path.read_bytes()).hexdigest()[:16]

    def encode_all(self, texts: list[str]) -> list[list[int]]:
        return [self.encode(text) for text in texts]

    def encode(self, text: str) -> list[int]:
        if BLANK_MARK not in text:
            return self._model.encode(text)
        stand_in = next(
            character for character in map(chr, range(0xE000, 0xF900)) if character not in text
        )  # of private use
        ids = self._model.encode(text.replace(BLANK_MARK, stand_in))
        mark, found = self._bytes(BLANK_MARK), self._bytes(stand_in)
        starts = [i for i in range(len(ids)) if ids[i : i + len(found)] == found]
        for i in starts:
            ids[i : i + len(mark)] = mark
        return ids

    def _bytes(self, character: str) -> list[int]:
        return [self._model.piece_to_id(f"<0x{byte:02X}>") for byte in character.encode()]

    def decode(self, ids: list[int]) -> str:
        return self._model.decode(ids)


class HuggingFaceTokenizer:
    """The tokenizer in the folder of a Hugging Face model.

    The words of a text are never read as a special token ("</s>" in a corpus is four characters), so `size` need not
    count them: Gemma 3's tokenizer has one more (for images) than its text models have embeddings.
    """

    def __init__(self, folder: Path):
        from transformers import AutoTokenizer

        with llm_errors(str(folder)):
            self._tokenizer = AutoTokenizer.from_pretrained(folder, **CLEAN_UP_OFF)
        self.bos_id, self.eos_id = self._tokenizer.bos_token_id, self._tokenizer.eos_token_id
        if self.eos_id is None:
            raise ValueError(f"{folder}: its tokenizer has no end-of-sequence token. Expected a causal LM's tokenizer.")
        vocab = self._tokenizer.get_vocab()
        special = {i for i, token in self._tokenizer.added_tokens_decoder.items() if token.special}
        self.size = 1 + max(self.eos_id, self.bos_id or 0, *(i for i in vocab.values() if i not in special))
        self.fingerprint = hashlib.sha256(repr(sorted(vocab.items(), key=lambda item: item[1])).encode()).hexdigest()[
            :16
        ]

    @property
    def key(self) -> str:
        fast = getattr(self._tokenizer, "backend_tokenizer", None)
        pieces = getattr(self._tokenizer, "vocab_file", None)
        rules = fast.to_str().encode() if fast is not None else Path(pieces).read_bytes() if pieces else b""
        kind = f"{type(self._tokenizer).__name__} {version('transformers')} {self.fingerprint} "
        return hashlib.sha256(kind.encode() + rules).hexdigest()[:16]

    def encode_all(self, texts: list[str]) -> list[list[int]]:
        return self._tokenizer(texts, add_special_tokens=False, split_special_tokens=True)["input_ids"] if texts else []

    def encode(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)

    def decode(self, ids: list[int]) -> str:
        return self._tokenizer.decode(ids, skip_special_tokens=True, **CLEAN_UP_OFF)


@contextmanager
def llm_errors(name: str) -> Iterator[None]:
    """Turn whatever goes wrong in loading an LLM or its tokenizer into one line that says how to get the files."""
    try:
        yield
    except Exception as error:  # of transformers, the hub, tokenizers, safetensors: each its own
        reason = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'no message'}"
        if Path(name).is_dir():
            fix = (
                "Expected config.json, *.safetensors and the tokenizer's files, all of one model: copy the folder again"
            )
        else:
            fix = (
                f"On a machine with network access: hf download {name} --local-dir FOLDER; copy FOLDER here and"
                " write --llm"
                " FOLDER"
            )
        raise ValueError(f"--llm {name}: cannot be loaded ({reason}). {fix}") from None


def find_llm(name: str) -> Path:
    """Return an LLM's folder; for a hub name (owner/name, or owner/name@revision) it is fetched, or completed, if there
    is network access.
    """
    if Path(name).is_dir():
        return Path(name)
    hub, _, revision = name.partition("@")
    if name.count("/") != 1 or name.startswith(("/", ".")):
        raise ValueError(
            f"--llm {name}: no such folder, and not a hub name (owner/name). "
            "Expected a folder with config.json and a tokenizer; the recipe's llm stage writes one."
        )
    from huggingface_hub import snapshot_download

    with llm_errors(name):
        return Path(
            snapshot_download(hub, revision=revision or None, allow_patterns=LLM_FILES, ignore_patterns="original/*")
        )


def load_text_tokenizer(name: str) -> TextTokenizer:
    """Load the tokenizer of an LLM given by hub name or folder."""
    folder = find_llm(name)
    if (folder / "tokenizer.model").exists() and not (folder / "tokenizer.json").exists():
        return SentencePieceTokenizer(folder / "tokenizer.model")
    return HuggingFaceTokenizer(folder)
