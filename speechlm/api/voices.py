"""Voices that come with a model: short stretches of codes, of a saved folder's `voices.json` or of the sets that the
model was validated on.
"""

from pathlib import Path

import numpy as np

from speechlm.api.sources import VOICES, Source, held_out_manifests
from speechlm.data.codes import require_codec
from speechlm.data.manifest import load_manifest, read_codes
from speechlm.data.settings import read_json

MOST_VOICES = 8  # taken from held-out sets
Voices = dict[str, dict[str, list[list[int]]]]  # name -> language -> codes [frames, codebooks]


def read_voices(source: Source, codec_fingerprint: str) -> Voices:
    """Return the voices of a source; none if it has none. The voices of a training are the first speakers of its
    held-out sets.
    """
    path = source.folder / VOICES
    if path.is_file():
        return _check(path, read_json(path))
    found: Voices = {}
    frames = max(model.prompt_frames for model in source.models)
    for manifest in held_out_manifests(source):
        require_codec(manifest.parent, codec_fingerprint)
        _collect(manifest, frames, found)
    return found


def _collect(manifest: Path, frames: int, found: Voices) -> None:
    """Add the first utterance of each speaker, in each language, as long as there are few voices."""
    for record in load_manifest(manifest):
        if record.speaker not in found and len(found) == MOST_VOICES:
            return
        for lang, ref in record.codes.items():
            voice = found.setdefault(record.speaker, {})
            if lang not in voice:
                voice[lang] = read_codes(ref)[:frames].tolist()


def _check(path: Path, content: object) -> Voices:
    try:
        for voice in content.values():
            for rows in voice.values():
                if np.asarray(rows).dtype.kind != "i" or np.asarray(rows).ndim != 2:
                    raise ValueError("codes are whole numbers, [frames, codebooks]")
    except (AttributeError, ValueError, TypeError) as error:
        raise ValueError(
            f"{path}: no voices ({error}). Expected what save_pretrained wrote: save or fetch it again."
        ) from None
    return content


def choose_voice(voices: Voices, name: str | None, lang: str) -> np.ndarray:
    """Return codes_TK of a voice by name, by default the first that speaks `lang`; ValueError lists those there are."""
    speaking = {key: voice for key, voice in voices.items() if lang in voice}
    if not speaking:
        raise ValueError(
            f"this model comes without a voice for {lang}: give voice=RECORDING, a second or two of someone who"
            f" speaks {lang}."
        )
    if name is not None and name not in speaking:
        raise ValueError(
            f"voice {name!r}: no such file, and no voice of this model. For {lang} it has {', '.join(speaking)}."
        )
    chosen = speaking[name] if name is not None else next(iter(speaking.values()))
    return np.asarray(chosen[lang], np.int32)
