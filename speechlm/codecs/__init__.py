"""Neural codecs: waveform <-> integer codes, behind one small protocol (`speechlm.codecs.base.Codec`)."""

import os
from pathlib import Path
from typing import Callable

from speechlm.codecs.base import Codec

ASSETS = Path(__file__).parent.parent / "assets"


def load_codec(spec: str, path: str | Path | None = None) -> Codec:
    """Load a codec by its spec.

    `NAME[:OPTION]` of `LOADERS`, or a folder that `speechlm.bin.train_codec` wrote:
        codec_16k            the shipped one: 16 kHz, 12.5 Hz, 8 codebooks of 256
        encodec_24khz:6      the pretrained EnCodec at 6 kbit/s; `path` is its downloaded checkpoint
        exp/codec            config.json and model.safetensors
    Raises ValueError for anything else.
    """
    name, _, option = spec.partition(":")
    if name in LOADERS:
        return LOADERS[name](option, path)
    if os.path.isdir(spec):  # False for a name that no file can have
        from speechlm.codecs.encodec import load_folder

        return load_folder(Path(spec))
    raise ValueError(f"codec {spec!r}: neither one of {sorted(LOADERS)} nor a folder")


def _load_shipped(option: str, path: str | Path | None) -> Codec:
    from speechlm.codecs.encodec import load_folder

    if option:
        raise ValueError(f"codec_16k takes no option, found {option!r}")
    return load_folder(Path(path) if path else ASSETS / "codec_16k", name="codec_16k")


def _load_encodec_24khz(option: str, path: str | Path | None) -> Codec:
    from speechlm.codecs.encodec import load_pretrained_24khz

    try:
        kbps = float(option or 6.0)
    except ValueError:
        raise ValueError(f"encodec_24khz:{option}: expected a bandwidth in kbit/s, for example encodec_24khz:6") from None
    return load_pretrained_24khz(kbps, Path(path) if path else None)


LOADERS: dict[str, Callable[[str, str | Path | None], Codec]] = {
    "codec_16k": _load_shipped,
    "encodec_24khz": _load_encodec_24khz,
}
