"""Who speaks a synthetic corpus: a YAML file of speakers, for SVOX Pico or for espeak-ng.

synthesizer: pico
train:
  - {name: alba, pitch_hz: 185, formant_percent: 104}
"""

from pathlib import Path

from speechlm.data import espeak, pico
from speechlm.data.settings import fill, read_yaml

SYNTHESIZERS = {"espeak-ng": espeak.Voice, "pico": pico.Speaker}
AnyVoice = espeak.Voice | pico.Speaker


def read_voices(path: Path) -> dict[str, list[AnyVoice]]:
    """Return {group: its voices}; ValueError for a file that is not like that. The synthesizer is espeak-ng if the file names none."""
    groups = read_yaml(path)
    if not isinstance(groups, dict) or not all(isinstance(group, (list, str)) for group in groups.values()):
        raise ValueError(f"{path}: expected groups of voices, for example train: [{{name: alba}}]")
    name = groups.pop("synthesizer", "espeak-ng")
    if name not in SYNTHESIZERS:
        raise ValueError(f"{path}: synthesizer {name!r}; expected one of {', '.join(SYNTHESIZERS)}")
    if name == "pico" and not pico.is_installed():
        print(f"{path}: the package py-nanotts is not installed (it has no wheel for every system): espeak-ng speaks instead, less clearly")
    return {group: [fill(SYNTHESIZERS[name], voice, f"{path}, {group}") for voice in voices] for group, voices in groups.items()}
