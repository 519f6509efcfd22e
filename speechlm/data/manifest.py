"""The manifest: one JSON line per utterance, all that training and decoding need to know about it.

    {"id": "v1-0007", "speaker": "v1", "text": {"en": "...", "es": "..."}, "codes": {"en": ["codes.en.0.ark:1234", 55],
    ...}}

`codes` names, per language, where in which Kaldi archive (beside the manifest) the codes_TK begin, and T.
A text-only set has "codes": {} . Lines are sorted by id. An utterance that the set's `prompts` lists has "prompt", the
id of the utterance whose voice it is to be synthesised in. Lines are parsed when they are asked for; what concerns all
of them stands in the index beside the file (`speechlm.data.index`).
"""

import hashlib
import json
import os
import zlib
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import accumulate, pairwise
from pathlib import Path

import kaldiio.matio
import numpy as np

from speechlm.data.files import atomic_write
from speechlm.data.index import IndexBuilder, make_index, read_index, write_index
from speechlm.data.items import LEFT_OUT, group, ids_of, read_items, shorten
from speechlm.data.kaldi import DataDir, read_prompts, read_table, scan_data_dir
from speechlm.data.tokens import Encoder, load_tokens

EXTRACT = "python -m speechlm.bin.extract_codes"


@dataclass(frozen=True)
class CodesRef:
    """Where the codes of one side are: a byte offset into an archive, and their length."""

    ark: Path
    offset: int
    frames: int


@dataclass(frozen=True)
class Record:
    """One utterance: its transcripts and codes by language. `speaker` is "" in a text-only set, `prompt` unless the set
    lists prompts.
    """

    id: str
    speaker: str
    text: dict[str, str]
    codes: dict[str, CodesRef]
    prompt: str = ""
    ids: dict[str, np.ndarray] = field(default_factory=dict, compare=False)  # of the texts, where they are stored


class _Manifest:
    """One manifest: its index, and its lines by number."""

    def __init__(self, path: Path, encoder: Encoder | None = None):
        if not path.is_file():
            raise ValueError(
                f"{path}: no such file. Write it: python -m speechlm.bin.manifest --data data/<set> --codes"
                f" {path.parent}"
            )
        self.path, self._file = path, open(path, "rb", buffering=0)
        self.index = read_index(path)
        if self.index is None:
            with _mend(path):
                self.index = make_index(path, self._count)
        self.offsets = self.index["offset"]
        self.tokens = load_tokens(path, self, self.index, encoder) if encoder else {}
        self._ids = {
            name.removeprefix("ids."): values for name, values in self.tokens.items() if name.startswith("ids.")
        }

    def _count(self, builder: IndexBuilder, number: int, line: bytes) -> None:
        record = _parse(f"{self.path}:{number}", line, self.path.parent)
        builder.add(
            line, record.id, record.speaker, record.text, {lang: ref.frames for lang, ref in record.codes.items()}
        )

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, number: int) -> Record:
        start, end = self.offsets[number : number + 2].tolist()
        line = os.pread(
            self._file.fileno(), end - start, start
        )  # also in forked processes, and not counted as their memory
        record = _parse(f"{self.path}:{number + 1}", line, self.path.parent)
        if not self._ids:
            return record
        bounds = {lang: self.tokens[f"start.{lang}"][number : number + 2] for lang in record.text}
        return replace(record, ids={lang: self._ids[lang][start:end] for lang, (start, end) in bounds.items()})

    def __iter__(self) -> Iterator[Record]:
        with open(self.path, "rb") as stream:
            for number, line in enumerate(stream, start=1):
                yield _parse(f"{self.path}:{number}", line, self.path.parent)

    def has(self, kind: str, lang: str) -> np.ndarray:
        """Tell of each utterance whether it has the `kind` (text or codes) in `lang`: bool [N]."""
        found = self.index.get(f"{'text' if kind == 'text' else 'frames'}.{lang}")
        if found is None:
            return np.zeros(len(self), bool)
        return found if kind == "text" else found >= 0

    def sizes(self, kind: str, lang: str, number_M: np.ndarray) -> np.ndarray:
        """Return the tokens of the texts or the frames of the codes of some utterances, which have them."""
        if kind != "text":
            return self.index[f"frames.{lang}"][number_M]
        start = self.tokens[f"start.{lang}"]
        return start[number_M + 1] - start[number_M]

    def bounds(self, lang: str, speaker_M: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return where the utterances of some speakers (digests) begin and end among those with codes in `lang`."""
        voice, starts = self.tokens["voice"], self.index.get(f"voice_start.{lang}")
        if starts is None:
            return np.zeros((2, len(speaker_M)), np.int64)
        place_M = np.minimum(np.searchsorted(voice, speaker_M), len(voice) - 1)
        rank_M = self.tokens["voice_rank"][place_M]
        return np.where(voice[place_M] == speaker_M, np.stack([starts[rank_M], starts[rank_M + 1]]), 0)

    def of_voice(self, speaker: str, lang: str) -> np.ndarray:
        """Return the numbers of a speaker's utterances with codes in `lang`."""
        if f"voice.{lang}" not in self.index:
            return np.zeros(0, np.int32)
        names, starts = self.index["name"], self.index["name_start"]
        wanted, bounds = speaker.encode("utf-8", "surrogatepass"), self.index[f"voice_start.{lang}"]
        place = bisect_left(range(len(starts) - 1), wanted, key=lambda i: names[starts[i] : starts[i + 1]].tobytes())
        if place == len(starts) - 1 or names[starts[place] : starts[place + 1]].tobytes() != wanted:
            return np.zeros(0, np.int32)
        return self.index[f"voice.{lang}"][bounds[place] : bounds[place + 1]]

    def voices(self, lang: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the numbers of the utterances with codes in `lang`, and the voice of each: a number that stands for
        the speaker's name.
        """
        if f"voice.{lang}" not in self.index:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        names, starts = self.index["name"].tobytes(), self.index["name_start"].tolist()
        voice = np.array([hash(names[start:end]) for start, end in pairwise(starts)], np.int64)
        return self.index[f"voice.{lang}"].astype(np.int64), np.repeat(
            voice, np.diff(self.index[f"voice_start.{lang}"])
        )


class Records(Sequence[Record]):
    """The utterances of several manifests, one after the other; each is parsed when it is asked for."""

    def __init__(self, manifests: list[_Manifest]):
        self._manifests = manifests
        self._starts = [0, *accumulate(map(len, manifests))]
        self._complete: dict[frozenset, Sequence[int]] = {}

    def __len__(self) -> int:
        return self._starts[-1]

    def __getitem__(self, number: int) -> Record:
        if not 0 <= number < len(self):
            raise IndexError(number)
        which = bisect_right(self._starts, number) - 1
        return self._manifests[which][number - self._starts[which]]

    def __iter__(self) -> Iterator[Record]:
        for manifest in self._manifests:
            yield from manifest

    def complete(self, parts: Iterable[tuple[str, str]]) -> Sequence[int]:
        """Return the numbers of the utterances that have all parts: (text or codes, language). Four bytes each, none if
        all have them.
        """
        wanted = frozenset(parts)
        if wanted not in self._complete:
            has = np.concatenate([np.logical_and.reduce([m.has(*part) for part in wanted]) for m in self._manifests])
            self._complete[wanted] = range(len(self)) if has.all() else np.flatnonzero(has).astype(np.int32)
        return self._complete[wanted]

    def parts(self, number_M: np.ndarray) -> Iterator[tuple[_Manifest, np.ndarray, np.ndarray]]:
        """Yield, of the manifests that hold some utterances: the manifest, which of the M it holds, and their numbers
        there.
        """
        if len(self._manifests) == 1:
            yield self._manifests[0], np.arange(len(number_M)), number_M
            return
        which_M = np.searchsorted(self._starts, number_M, side="right") - 1
        for which in np.unique(which_M):
            here_P = np.flatnonzero(which_M == which)
            yield self._manifests[which], here_P, number_M[here_P] - self._starts[which]

    def sizes(self, kind: str, lang: str, number_M: np.ndarray) -> np.ndarray:
        """Return the tokens of the texts or the frames of the codes of some utterances, which have them; the tokens
        must be stored.
        """
        found_M = np.zeros(len(number_M), np.int64)
        for manifest, here_P, own_P in self.parts(number_M):
            found_M[here_P] = manifest.sizes(kind, lang, own_P)
        return found_M

    def digests(self, number_M: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return what stands for the ids and the speakers of some utterances."""
        found_2M = np.zeros((2, len(number_M)), np.int64)
        for manifest, here_P, own_P in self.parts(number_M):
            found_2M[:, here_P] = manifest.tokens["id"][own_P], manifest.tokens["speaker"][own_P]
        return tuple(found_2M)

    def other_frames(self, id_M: np.ndarray, speaker_M: np.ndarray, lang: str, turn_M: np.ndarray) -> np.ndarray:
        """Return the frames in `lang` of the `turn`-th utterance (modulo) of each speaker, or of the next that is not
        `id`; -1 if there is none.
        """
        bounds_W2M = np.stack([manifest.bounds(lang, speaker_M) for manifest in self._manifests])
        starts_WM, sizes_WM = bounds_W2M[:, 0], bounds_W2M[:, 1] - bounds_W2M[:, 0]
        count_M, found_M, left_M, turned = (
            sizes_WM.sum(axis=0),
            np.full(len(id_M), -1, np.int64),
            np.arange(len(id_M)),
            0,
        )
        while len(left_M := left_M[turned < count_M[left_M]]):
            place_P = (turn_M[left_M] + turned) % count_M[left_M]
            frames_P, other_P = self._of_voices(lang, starts_WM[:, left_M], sizes_WM[:, left_M], place_P)
            is_other_P = other_P != id_M[left_M]
            found_M[left_M[is_other_P]] = frames_P[is_other_P]
            left_M, turned = left_M[~is_other_P], turned + 1
        return found_M

    def _of_voices(self, lang: str, starts_WP: np.ndarray, sizes_WP: np.ndarray, place_P: np.ndarray) -> np.ndarray:
        """Return frames and digests of ids [2, P] at places in the utterances of speakers, which begin at `starts` in
        each of the W manifests.
        """
        found_2P, ends_WP = np.zeros(starts_WP[0].shape, np.int64)[None].repeat(2, 0), sizes_WP.cumsum(axis=0)
        for manifest, start_P, size_P, end_P in zip(self._manifests, starts_WP, sizes_WP, ends_WP):
            here_P = np.flatnonzero((place_P >= end_P - size_P) & (place_P < end_P))
            if len(here_P):
                number_P = manifest.index[f"voice.{lang}"][(start_P + place_P - end_P + size_P)[here_P]]
                found_2P[:, here_P] = manifest.index[f"frames.{lang}"][number_P], manifest.tokens["id"][number_P]
        return found_2P

    def frames(self) -> int:
        """Return how many frames of codes there are in all."""
        lengths = [values for m in self._manifests for name, values in m.index.items() if name.startswith("frames.")]
        return sum(int(values[values > 0].sum(dtype=np.int64)) for values in lengths)

    def of_voice(self, speaker: str, lang: str) -> "Voice":
        """Return the utterances of a speaker with codes in `lang`."""
        return Voice(self._manifests, [manifest.of_voice(speaker, lang) for manifest in self._manifests])

    def voices(self, lang: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the numbers of the utterances with codes in `lang`, and the voice of each, as numbers that are equal
        for one speaker.
        """
        found = [manifest.voices(lang) for manifest in self._manifests]
        numbers = [start + numbers for start, (numbers, _) in zip(self._starts, found)]
        return np.concatenate(numbers), np.concatenate([voice for _, voice in found])


@dataclass
class Voice(Sequence[Record]):
    """The utterances of one speaker: their numbers in each manifest."""

    manifests: list[_Manifest]
    numbers: list[np.ndarray]

    def __len__(self) -> int:
        return sum(map(len, self.numbers))

    def __getitem__(self, place: int) -> Record:
        for manifest, numbers in zip(self.manifests, self.numbers, strict=True):
            if place < len(numbers):
                return manifest[int(numbers[place])]
            place -= len(numbers)
        raise IndexError(place)


def load_manifest(*paths: str | Path, encoder: Encoder | None = None) -> Records:
    """Return the records of one or more manifests in file order; with `encoder`, with the stored token ids of their
    texts.

    A manifest without its index is read once, and ValueError names the line that is wrong; one that has it is opened at
    once. The same holds for its tokens.
    """
    return Records([_Manifest(Path(path), encoder) for path in paths])


@contextmanager
def _mend(path: Path) -> Iterator[None]:
    """Add to an error about a whole manifest its path, and the command that fixes it."""
    try:
        yield
    except ValueError as error:
        if str(error).startswith(str(path)):
            raise
        raise ValueError(f"{path}: {error}. Delete it and run: python -m speechlm.bin.manifest") from None


def _parse(where: str, line: bytes, folder: Path) -> Record:
    try:
        fields = json.loads(line)
        codes = {side: _parse_ref(folder, place, frames) for side, (place, frames) in fields["codes"].items()}
        record = Record(fields["id"], fields["speaker"], dict(fields["text"]), codes, fields.get("prompt", ""))
        if not all(
            isinstance(value, str) for value in (record.id, record.speaker, record.prompt, *record.text.values())
        ):
            raise TypeError("id, speaker, prompt and texts must be strings")
        return record
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"{where}: not a manifest line ({error}). Delete the file and run: python -m speechlm.bin.manifest"
        ) from None


def _parse_ref(folder: Path, place: str, frames: int) -> CodesRef:
    ark, _, offset = place.rpartition(":")
    if not isinstance(frames, int) or not 0 <= frames < 2**31 or not (offset.isascii() and offset.isdigit()):
        raise ValueError(f"place {place!r} and length {frames!r} are not name:offset and a whole number")
    return CodesRef(_beside(folder, ark), int(offset), frames)


@lru_cache(1 << 16)  # archives
def _beside(folder: Path, ark: str) -> Path:
    if not ark or Path(ark).name != ark:
        raise ValueError(f"archive {ark!r} is not beside the manifest")
    return folder / ark


def read_codes(ref: CodesRef) -> np.ndarray:
    """Return codes_TK (int32 [T frames, K codebooks]); raise ValueError if they are not what the manifest says."""
    codes_TK = read_matrix(ref.ark, ref.offset)
    if len(codes_TK) != ref.frames:
        raise ValueError(
            f"{ref.ark}:{ref.offset}: {len(codes_TK)} frames, the manifest says {ref.frames}. Write it again: ./run.sh"
            " --stage 2 --stop_stage 3"
        )
    return codes_TK


def read_matrix(ark: str | Path, offset: int) -> np.ndarray:
    """Return the integer matrix (int32 [T, K]) at a byte offset of a Kaldi archive (numpy or float entries).

    Pickled entries, which kaldiio would execute, are refused.
    """
    fix = f"Delete the archive and code its set again: ./run.sh --stage 2 ({EXTRACT})"
    try:
        with open(ark, "rb") as stream, np.errstate(invalid="ignore"):
            stream.seek(offset)
            if (flag := stream.read(3)) != b"NPY" and (flag[:2] != b"\0B" or flag == b"\0B\4"):
                raise ValueError(f"neither a numpy nor a binary Kaldi matrix ({flag!r})")
            stream.seek(offset)
            found = kaldiio.matio.read_kaldi(stream)
            codes_TK = found.astype(np.int32)
    except Exception as error:  # kaldiio and numpy raise many types for a damaged entry, MemoryError among them
        raise ValueError(f"{ark}:{offset}: {error or type(error).__name__}. {fix}") from None
    if codes_TK.ndim != 2 or not codes_TK.size or (codes_TK != found).any():
        raise ValueError(
            f"{ark}:{offset}: a {found.dtype} array of shape {found.shape}; expected whole numbers [T, K]. {fix}"
        )
    return codes_TK


class CodesDigest:
    """A digest of the codes that a manifest names, in its order: other codes of the same lengths make another one."""

    def __init__(self):
        self._sha256, self._any = hashlib.sha256(), False

    def add(self, codes_TK: np.ndarray) -> None:
        self._any = True
        self._sha256.update(b"%d %d;" % (codes_TK.shape[1], zlib.crc32(np.ascontiguousarray(codes_TK))))

    def hexdigest(self) -> str:
        """Return 16 hex digits; "" if there are no codes."""
        return self._sha256.hexdigest()[:16] if self._any else ""


def build_manifest(
    data_dir: str | Path, codes_dir: str | Path, lang: str | None = None, digest: CodesDigest | None = None
) -> Iterator[dict]:
    """Give the manifest's lines (dicts) of a data directory whose codes, if it has audio, are in `codes_dir`, one after
    the other.

    The codes are added to `digest` meanwhile.

    What stands in `codes_dir/left_out.tsv` is not in it. Raises ValueError naming all other utterances that are bad or
    have no codes: none is skipped silently.
    """
    data, codes_dir = scan_data_dir(data_dir, lang), Path(codes_dir)
    left_out = ids_of(read_items(codes_dir / LEFT_OUT))
    if problems := data.problems + group(item for item in data.bad if item.id not in left_out):
        raise ValueError(
            "\n".join(map(str, problems)) + "\nThen code the set again: python -m speechlm.bin.extract_codes"
        )
    codes = {side: read_table(p) for side in data.sides if (p := codes_dir / f"codes.{side}.scp").is_file()}
    ids = [key for key in data.ids if key not in left_out]
    for side, table in codes.items():
        _require_all(codes_dir / f"codes.{side}.scp", ids, table)
    _require_codes(data, codes_dir, codes)
    prompts = _prompts(data, set(ids))
    return (
        {
            "id": key,
            "speaker": data.speakers.get(key, ""),
            "text": {side: texts[key] for side, texts in data.texts.items()},
            "codes": {
                side: _locate(codes_dir / f"codes.{side}.scp", table[key], digest) for side, table in codes.items()
            },
        }
        | ({"prompt": prompts[key]} if key in prompts else {})
        for key in ids
    )


def _prompts(data: DataDir, ids: set[str]) -> dict[str, str]:
    """Return what `prompts` lists; raise ValueError if it names utterances that the set does not have, or of another
    speaker.
    """
    prompts = read_prompts(data.path)
    unknown = [key for pair in prompts.items() for key in pair if key not in ids]
    if unknown:
        raise ValueError(
            f"{data.path / 'prompts'}: {len(unknown)} ids that are not utterances of the set ({shorten(unknown)})."
            " Write"
            " it again: stage 1."
        )
    if strange := [key for key, other in prompts.items() if data.speakers[key] != data.speakers[other]]:
        raise ValueError(
            f"{data.path / 'prompts'}: {len(strange)} utterances have a prompt of another speaker ({shorten(strange)})."
            " Correct it."
        )
    if 0 < (own := sum(key == other for key, other in prompts.items())) < len(prompts):
        raise ValueError(
            f"{data.path / 'prompts'}: {own} of {len(prompts)} utterances are their own prompt, which is to be"
            " continued, and the others have another utterance as their prompt. Split them into two sets: a"
            " single figure over both would mean nothing."
        )
    return prompts


def _require_all(path: Path, ids: list[str], table: dict[str, str]) -> None:
    missing = [key for key in ids if key not in table]
    if missing:
        raise ValueError(
            f"{path}: {len(missing)} of {len(ids)} utterances missing ({shorten(missing)}). Run: {EXTRACT} (again)"
        )


def _require_codes(data: DataDir, codes_dir: Path, codes: dict) -> None:
    if without := [f"codes.{side}.scp" for side in data.audio if side not in codes]:
        sets = f"--data {data.path.parent} --train_sets {data.path.name} --dump {codes_dir.parent}"
        raise ValueError(f"{codes_dir}: no {', '.join(without)}. Run: {EXTRACT} {sets} --codec CODEC")


def _locate(scp: Path, place: str, digest: CodesDigest | None) -> list:
    """Turn a value of codes.<side>.scp (path:offset) into the manifest's [name:offset, T]."""
    ark, _, offset = place.rpartition(":")
    if not (offset.isascii() and offset.isdigit()):
        raise ValueError(
            f"{scp}: found the place {place!r}; expected ARCHIVE:OFFSET. Delete the file and run: {EXTRACT}"
        )
    name = Path(ark).name
    try:
        codes_TK = read_matrix(scp.parent / name, int(offset))
    except ValueError as error:
        raise ValueError(f"{scp}: {error}") from None
    if digest is not None:
        digest.add(codes_TK)
    return [f"{name}:{offset}", len(codes_TK)]


def write_manifest(path: str | Path, lines: Iterable[dict], digest: CodesDigest | None = None) -> None:
    """Write manifest lines, whole or not at all, and the index beside them; the lines may be more than fit into memory.

    `digest`, complete when all lines are given, is kept in the index, where `file_digest` finds it.
    """
    path, builder = Path(path), IndexBuilder()
    with _mend(path):
        with atomic_write(path, "wb") as stream:
            for fields in lines:
                line = json.dumps(fields, ensure_ascii=False).encode() + b"\n"
                frames = {lang: length for lang, (_, length) in fields["codes"].items()}
                builder.add(line, fields["id"], fields["speaker"], fields["text"], frames)
                stream.write(line)
            arrays = builder.arrays()
        write_index(path, arrays, builder.sha256.hexdigest(), digest.hexdigest() if digest else "")
