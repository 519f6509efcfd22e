"""Measures of the sound itself, one file each: how good it is, how like the speaker, how like the original.

A measure is named NAME or NAME:MODEL. Keys of values are VERSA's where it has one for the same thing (dnsmos_overall,
pesq, stoi, utmos); a speaker similarity carries the name of its model, since two models' values are not comparable.
"""

from importlib import import_module

from speechlm.metrics.quality.base import Measure

MEASURES = {  # name -> (module, class)
    "dnsmos": ("dnsmos", "DNSMOS"),
    "utmos": ("utmos", "UTMOS"),
    "sim-resemblyzer": ("similarity", "Resemblyzer"),
    "sim-wavlm": ("similarity", "WavLM"),
    "pesq": ("codec", "PESQ"),
    "stoi": ("codec", "STOI"),
    "mel": ("codec", "MelDistance"),
    "mstft": ("codec", "STFTDistance"),
}


def load_measure(spec: str, device: str = "cpu") -> Measure:
    """Return a measure; raise ValueError if no measure has that name, or its package or model is missing."""
    name, _, model = spec.partition(":")
    if name not in MEASURES:
        raise ValueError(
            f"quality measure {spec!r}: expected one of {', '.join(MEASURES)} (with :MODEL where there is a choice)"
        )
    module, kind = MEASURES[name]
    return getattr(import_module(f"{__name__}.{module}"), kind)(model, device)


__all__ = ["Measure", "load_measure"]
