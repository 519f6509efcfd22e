"""The manifest: one JSON line per utterance, all that training and decoding need to know about it.

    {"id": "v1-0007", "speaker": "v1", "text": {"en": "...", "es": "..."}, "codes": {"en": ["codes.en.0.ark:1234", 55], ...}}

`codes` names, per language, where in which Kaldi archive (beside the manifest) the codes_TK begin, and T.
A text-only set has "codes": {} . Lines are sorted by id. An utterance that the set's `prompts` lists has "prompt", the id of the utterance whose
voice it is to be synthesised in.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import kaldiio.matio
import numpy as np

from speechlm.data.files import atomic_write
from speechlm.data.items import LEFT_OUT, group, ids_of, read_items, shorten
from speechlm.data.kaldi import DataDir, read_prompts, read_table, scan_data_dir

EXTRACT = "python -m speechlm.bin.extract_codes"


@dataclass(frozen=True)
class CodesRef:
    """Where the codes of one side are: a byte offset into an archive, and their length."""

    ark: Path
    offset: int
    frames: int


@dataclass(frozen=True)
class Record:
    """One utterance: its transcripts and codes by language. `speaker` is "" in a text-only set, `prompt` unless the set lists prompts."""

    id: str
    speaker: str
    text: dict[str, str]
    codes: dict[str, CodesRef]
    prompt: str = ""


def load_manifest(path: str | Path) -> list[Record]:
    """Return the records of a manifest in file order; raise ValueError naming the line that is wrong."""
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such file. Write it: python -m speechlm.bin.manifest --data data/<set> --codes {path.parent}")
    lines = path.read_bytes().removesuffix(b"\n").split(b"\n")  # not splitlines, which also ends a line at U+2028 in a text
    records = [_parse(f"{path}:{number}", line, path.parent) for number, line in enumerate(lines, start=1) if lines != [b""]]
    if not records:
        raise ValueError(f"{path}: no utterances. Delete it and run: python -m speechlm.bin.manifest")
    if len({r.id for r in records}) < len(records):
        raise ValueError(f"{path}: an id occurs twice. Delete it and run: python -m speechlm.bin.manifest")
    return records


def _parse(where: str, line: bytes, folder: Path) -> Record:
    try:
        fields = json.loads(line)
        codes = {side: _parse_ref(folder, place, frames) for side, (place, frames) in fields["codes"].items()}
        record = Record(fields["id"], fields["speaker"], dict(fields["text"]), codes, fields.get("prompt", ""))
        if not all(isinstance(value, str) for value in (record.id, record.speaker, record.prompt, *record.text.values())):
            raise TypeError("id, speaker, prompt and texts must be strings")
        return record
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{where}: not a manifest line ({error}). Delete the file and run: python -m speechlm.bin.manifest") from None


def _parse_ref(folder: Path, place: str, frames: int) -> CodesRef:
    ark, _, offset = place.rpartition(":")
    if not ark or Path(ark).name != ark:
        raise ValueError(f"archive {ark!r} is not beside the manifest")
    if not isinstance(frames, int) or not (offset.isascii() and offset.isdigit()):
        raise ValueError(f"place {place!r} and length {frames!r} are not name:offset and a whole number")
    return CodesRef(folder / ark, int(offset), frames)


def read_codes(ref: CodesRef) -> np.ndarray:
    """Return codes_TK (int32 [T frames, K codebooks]); raise ValueError if they are not what the manifest says."""
    codes_TK = read_matrix(ref.ark, ref.offset)
    if len(codes_TK) != ref.frames:
        raise ValueError(
            f"{ref.ark}:{ref.offset}: {len(codes_TK)} frames, the manifest says {ref.frames}. Write it again: ./run.sh --stage 2 --stop_stage 3"
        )
    return codes_TK


def read_matrix(ark: str | Path, offset: int) -> np.ndarray:
    """Return the integer matrix (int32 [T, K]) at a byte offset of a Kaldi archive (numpy or float entries).

    Pickled entries, which kaldiio would execute, are refused.
    """
    mend = f"Delete the archive and code its set again: ./run.sh --stage 2 ({EXTRACT})"
    try:
        with open(ark, "rb") as stream, np.errstate(invalid="ignore"):
            stream.seek(offset)
            if (flag := stream.read(3)) != b"NPY" and (flag[:2] != b"\0B" or flag == b"\0B\4"):
                raise ValueError(f"neither a numpy nor a binary Kaldi matrix ({flag!r})")
            stream.seek(offset)
            found = kaldiio.matio.read_kaldi(stream)
            codes_TK = found.astype(np.int32)
    except Exception as error:  # kaldiio and numpy raise many types for a damaged entry, MemoryError among them
        raise ValueError(f"{ark}:{offset}: {error or type(error).__name__}. {mend}") from None
    if codes_TK.ndim != 2 or not codes_TK.size or (codes_TK != found).any():
        raise ValueError(f"{ark}:{offset}: a {found.dtype} array of shape {found.shape}; expected whole numbers [T, K]. {mend}")
    return codes_TK


def build_manifest(data_dir: str | Path, codes_dir: str | Path, lang: str | None = None) -> list[dict]:
    """Return the manifest's lines (dicts) of a data directory whose codes, if it has audio, are in `codes_dir`.

    What stands in `codes_dir/left_out.tsv` is not in it. Raises ValueError naming all other utterances that are bad or
    have no codes: none is skipped silently.
    """
    data, codes_dir = scan_data_dir(data_dir, lang), Path(codes_dir)
    left_out = ids_of(read_items(codes_dir / LEFT_OUT))
    if problems := data.problems + group(item for item in data.bad if item.id not in left_out):
        raise ValueError("\n".join(map(str, problems)) + "\nThen code the set again: python -m speechlm.bin.extract_codes")
    codes = {side: read_table(p) for side in data.sides if (p := codes_dir / f"codes.{side}.scp").is_file()}
    ids = [key for key in data.ids if key not in left_out]
    for side, table in codes.items():
        _require_all(codes_dir / f"codes.{side}.scp", ids, table)
    _require_codes(data, codes_dir, codes)
    prompts = _prompts(data, set(ids))
    return [
        {
            "id": key,
            "speaker": data.speakers.get(key, ""),
            "text": {side: texts[key] for side, texts in data.texts.items()},
            "codes": {side: _locate(codes_dir / f"codes.{side}.scp", table[key]) for side, table in codes.items()},
        }
        | ({"prompt": prompts[key]} if key in prompts else {})
        for key in ids
    ]


def _prompts(data: DataDir, ids: set[str]) -> dict[str, str]:
    """Return what `prompts` lists; raise ValueError if it names utterances that the set does not have, or of another speaker."""
    prompts = read_prompts(data.path)
    unknown = [key for pair in prompts.items() for key in pair if key not in ids]
    if unknown:
        raise ValueError(
            f"{data.path / 'prompts'}: {len(unknown)} ids that are no utterances of the set ({shorten(unknown)}). Write it again: stage 1."
        )
    if strange := [key for key, other in prompts.items() if data.speakers[key] != data.speakers[other]]:
        raise ValueError(
            f"{data.path / 'prompts'}: {len(strange)} utterances have a prompt of another speaker ({shorten(strange)}). Correct it."
        )
    return prompts


def _require_all(path: Path, ids: list[str], table: dict[str, str]) -> None:
    missing = [key for key in ids if key not in table]
    if missing:
        raise ValueError(f"{path}: {len(missing)} of {len(ids)} utterances missing ({shorten(missing)}). Run: {EXTRACT} (again)")


def _require_codes(data: DataDir, codes_dir: Path, codes: dict) -> None:
    if without := [f"codes.{side}.scp" for side in data.audio if side not in codes]:
        sets = f"--data {data.path.parent} --train_sets {data.path.name} --dump {codes_dir.parent}"
        raise ValueError(f"{codes_dir}: no {', '.join(without)}. Run: {EXTRACT} {sets} --codec CODEC")


def _locate(scp: Path, place: str) -> list:
    """Turn a value of codes.<side>.scp (path:offset) into the manifest's [name:offset, T]."""
    ark, _, offset = place.rpartition(":")
    if not (offset.isascii() and offset.isdigit()):
        raise ValueError(f"{scp}: found the place {place!r}; expected ARCHIVE:OFFSET. Delete the file and run: {EXTRACT}")
    name = Path(ark).name
    try:
        return [f"{name}:{offset}", len(read_matrix(scp.parent / name, int(offset)))]
    except ValueError as error:
        raise ValueError(f"{scp}: {error}") from None


def write_manifest(path: str | Path, lines: list[dict]) -> None:
    """Write manifest lines, whole or not at all."""
    with atomic_write(path) as stream:
        for line in lines:
            stream.write(json.dumps(line, ensure_ascii=False) + "\n")
