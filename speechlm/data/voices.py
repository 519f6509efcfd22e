"""Who speaks a synthetic corpus: a YAML file of speakers, for SVOX Pico or for espeak-ng.

synthesizer: pico
train: [{name: alba, pitch_hz: 185, formant_percent: 104}]
unheard: [{name: elena}]
"""

from pathlib import Path

from speechlm.data import espeak, pico
from speechlm.data.espeak import Cast
from speechlm.data.settings import fill, read_yaml

CASTS = {"espeak-ng": espeak.Cast, "pico": pico.Cast}
AnyVoice = espeak.Voice | pico.Speaker


def read_cast(path: str | Path) -> Cast:
    """Return the voices of a file; raise ValueError naming what is wrong. The synthesizer is espeak-ng if the file
    names none.
    """
    groups = read_yaml(path)
    name = groups.pop("synthesizer", "espeak-ng") if isinstance(groups, dict) else "espeak-ng"
    if name not in CASTS:
        raise ValueError(f"{path}: synthesizer is {name!r}; expected one of {', '.join(CASTS)}")
    if name == "pico" and not pico.is_installed():
        print(
            f"{path}: the package py-nanotts is not installed (it has no wheel for every system): espeak-ng speaks"
            " instead, less clearly"
        )
    return fill(CASTS[name], groups, str(path))
