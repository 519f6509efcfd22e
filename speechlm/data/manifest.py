"""The manifest: one JSON line per utterance, all that training and decoding need to know about it.

    {"id": "v1-0007", "speaker": "v1", "text": {"en": "...", "es": "..."}, "codes": {"en": ["codes.en.0.ark:1234", 55], ...}}

`codes` names, per language, where in which Kaldi archive (beside the manifest) the codes_TK begin, and T.
A text-only set has "codes": {} . Lines are sorted by id.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import kaldiio.matio
import numpy as np

from speechlm.data.files import atomic_write
from speechlm.data.kaldi import list_sides, read_speakers, read_table, read_text, side_path


@dataclass(frozen=True)
class CodesRef:
    """Where the codes of one side are: a byte offset into an archive, and their length."""

    ark: Path
    offset: int
    frames: int


@dataclass(frozen=True)
class Record:
    """One utterance: its transcripts and codes by language. `speaker` is "" in a text-only set."""

    id: str
    speaker: str
    text: dict[str, str]
    codes: dict[str, CodesRef]


def load_manifest(path: str | Path) -> list[Record]:
    """Return the records of a manifest in file order; raise ValueError naming the line that is wrong."""
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such file. Write it: python -m speechlm.bin.manifest --data data/<set> --codes {path.parent}")
    lines = path.read_text(encoding="utf-8").splitlines()
    records = [_parse(f"{path}:{number}", line, path.parent) for number, line in enumerate(lines, start=1)]
    if not records:
        raise ValueError(f"{path}: no utterances. Delete it and run: python -m speechlm.bin.manifest")
    if len({r.id for r in records}) < len(records):
        raise ValueError(f"{path}: an id occurs twice. Delete it and run: python -m speechlm.bin.manifest")
    return records


def _parse(where: str, line: str, folder: Path) -> Record:
    try:
        fields = json.loads(line)
        codes = {side: _parse_ref(folder, place, frames) for side, (place, frames) in fields["codes"].items()}
        return Record(fields["id"], fields["speaker"], dict(fields["text"]), codes)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{where}: not a manifest line ({error}). Delete the file and run: python -m speechlm.bin.manifest") from None


def _parse_ref(folder: Path, place: str, frames: int) -> CodesRef:
    ark, _, offset = place.rpartition(":")
    if Path(ark).name != ark:
        raise ValueError(f"archive {ark!r} is not beside the manifest")
    return CodesRef(folder / ark, int(offset), int(frames))


def read_codes(ref: CodesRef) -> np.ndarray:
    """Return codes_TK (int32 [T frames, K codebooks]); raise ValueError if they are not what the manifest says."""
    codes_TK = read_matrix(ref.ark, ref.offset)
    if len(codes_TK) != ref.frames:
        raise ValueError(
            f"{ref.ark}:{ref.offset}: {len(codes_TK)} frames, the manifest says {ref.frames}. Run: python -m speechlm.bin.manifest"
        )
    return codes_TK


def read_matrix(ark: str | Path, offset: int) -> np.ndarray:
    """Return the integer matrix (int32 [T, K]) at a byte offset of a Kaldi archive (numpy or float entries).

    Pickled entries, which kaldiio would execute, are refused.
    """
    mend = "Delete the archive and extract the codes again: python -m speechlm.bin.extract_codes"
    try:
        with open(ark, "rb") as stream:
            stream.seek(offset)
            if (flag := stream.read(3)) != b"NPY" and flag[:2] != b"\0B":
                raise ValueError(f"neither a numpy nor a binary Kaldi entry ({flag!r})")
            stream.seek(offset)
            found = kaldiio.matio.read_kaldi(stream)
    except (OSError, ValueError, EOFError, AssertionError) as error:
        raise ValueError(f"{ark}:{offset}: {error}. {mend}") from None
    codes_TK = found.astype(np.int32)
    if codes_TK.ndim != 2 or not codes_TK.size or (codes_TK != found).any():
        raise ValueError(f"{ark}:{offset}: a {found.dtype} array of shape {found.shape}; expected whole numbers [T, K]. {mend}")
    return codes_TK


def build_manifest(data_dir: str | Path, codes_dir: str | Path, lang: str | None = None) -> list[dict]:
    """Return the manifest's lines (dicts) of a data directory whose codes, if it has audio, are in `codes_dir`.

    Raises ValueError naming the utterances whose codes are missing: none is skipped silently.
    """
    sides = list_sides(data_dir, lang)
    texts = {side: read_text(data_dir, side) for side in sides if side_path(data_dir, "text", side).is_file()}
    speakers = read_speakers(data_dir)
    codes = {side: read_table(p) for side in sides if (p := Path(codes_dir) / f"codes.{side}.scp").is_file()}
    ids = sorted(speakers or set().union(*texts.values()))
    for name, table in [(f"codes.{s}.scp", t) for s, t in codes.items()] + [(f"text.{s}", t) for s, t in texts.items()]:
        _require_all(Path(codes_dir) / name if name.startswith("codes") else Path(data_dir) / name, ids, table)
    _require_codes(data_dir, codes_dir, sides, codes)
    return [
        {
            "id": key,
            "speaker": speakers.get(key, ""),
            "text": {side: texts[side][key] for side in texts},
            "codes": {side: _locate(Path(codes_dir), table[key]) for side, table in codes.items()},
        }
        for key in ids
    ]


def _require_all(path: Path, ids: list[str], table: dict[str, str]) -> None:
    missing = [key for key in ids if key not in table]
    if missing:
        mend = "python -m speechlm.bin.extract_codes" if path.name.startswith("codes") else "python -m speechlm.bin.validate_data"
        raise ValueError(f"{path}: {len(missing)} of {len(ids)} utterances missing (first: {', '.join(missing[:5])}). Run: {mend} (again)")


def _require_codes(data_dir: str | Path, codes_dir: str | Path, sides: list[str], codes: dict) -> None:
    without = [side for side in sides if side_path(data_dir, "wav.scp", side).is_file() and side not in codes]
    if without:
        names = ", ".join(f"codes.{side}.scp" for side in without)
        raise ValueError(
            f"{codes_dir}: no {names}. Run: python -m speechlm.bin.extract_codes --data {data_dir} --out {codes_dir} --codec CODEC"
        )


def _locate(codes_dir: Path, place: str) -> list:
    """Turn a codes.scp value (path:offset) into the manifest's [name:offset, T]."""
    ark, _, offset = place.rpartition(":")
    name = Path(ark).name
    return [f"{name}:{offset}", len(read_matrix(codes_dir / name, int(offset)))]


def write_manifest(path: str | Path, lines: list[dict]) -> None:
    """Write manifest lines, whole or not at all."""
    with atomic_write(path) as stream:
        for line in lines:
            stream.write(json.dumps(line, ensure_ascii=False) + "\n")
