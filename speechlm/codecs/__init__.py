"""Neural codecs: waveform <-> integer codes, behind one small protocol (`speechlm.codecs.base.Codec`)."""

import re
from functools import partial
from pathlib import Path
from typing import Callable

from speechlm.codecs.base import Codec, Shape
from speechlm.data.settings import read_json
from speechlm.data.weights import find_espnet_files, find_weights

ASSETS = Path(__file__).parent.parent / "assets"

# Pretrained codecs by short name: where they are on the hub, and their numbers with the streams that they have if none
# are asked for. Sources: Defossez et al. 2024, arXiv 2410.00037, section 3.3 (mimi);
# github.com/descriptinc/descript-audio-codec, conf/final/*.yml (dac).
HUB: dict[str, tuple[str, Shape]] = {
    "mimi": ("kyutai/mimi", Shape(24000, 1920, 8, 2048)),
    "dac_16khz": ("descript/dac_16khz", Shape(16000, 320, 12, 1024)),
    "dac_24khz": ("descript/dac_24khz", Shape(24000, 320, 32, 1024)),
    "dac_44khz": ("descript/dac_44khz", Shape(44100, 512, 9, 1024)),
}
HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


def load_codec(spec: str) -> Codec:
    """Load a codec by its spec, `WHAT[:OPTION]`:

        codec_16k               shipped, for the small synthetic world: 16 kHz, 12.5 Hz, 8 codebooks of 256
        codec_natural           shipped, for natural voices and real speech: 16 kHz, 12.5 Hz, 12 codebooks of 256
        codec_natural:4         its first four codebooks, with a decoder of their own; or as many as you like
        encodec_24khz:6         the pretrained EnCodec at 6 kbit/s, or its downloaded checkpoint: FILE.th:6
        mimi:8  dac_44khz:9     pretrained, with so many streams; of the hub
        FOLDER:8  OWNER/NAME:8  a folder, or a hub name, of one of: transformers (Mimi, DAC), ESPnet's codec task, our
                                train_codec
        exp/x/train.pth:8       one of the checkpoints of an ESPnet training

    Raises ValueError for anything else, and for a codec that cannot be loaded, saying how to get it.
    """
    what, option = _split(spec)
    if what in LOADERS:
        return LOADERS[what](option)
    if _is(Path.is_file, what):
        return load_file(Path(what), option)
    if _is(Path.is_dir, what):
        return load_folder(Path(what), option)
    if what in HUB:
        return load_named(what, option)
    if HUB_NAME.fullmatch(what):
        return load_folder(find_weights(what, "--codec ")[0], option, what)
    raise ValueError(
        f"codec {spec!r}: neither one of {', '.join([*LOADERS, *HUB])}, nor a folder or file, nor a hub name"
        " (OWNER/NAME)"
    )


def load_named(name: str, option: str) -> Codec:
    """Load a codec of `HUB`; ValueError if the hub has something other than the published model."""
    source, expected = HUB[name]
    codec = load_folder(find_weights(source, "--codec ")[0], option, name)
    if (codec.sample_rate_hz, codec.frame_rate_hz, codec.codebook_size) != (
        expected.sample_rate_hz,
        expected.frame_rate_hz,
        expected.codebook_size,
    ):
        raise ValueError(
            f"--codec {name}: {source} is at {codec.sample_rate_hz} Hz, {codec.frame_rate_hz:g} frames a second;"
            f" expected {expected.sample_rate_hz} Hz, {expected.frame_rate_hz:g}. Fetch the published model to a folder"
            " and give --codec FOLDER"
        )
    return codec


def load_file(path: Path, option: str) -> Codec:
    """Load a checkpoint of an ESPnet training (its config.yaml lies beside it), or EnCodec's published one."""
    if path.suffix == ".pth":
        from speechlm.codecs.espnet import load_espnet

        return load_espnet(path.parent / "config.yaml", path, option)
    from speechlm.codecs.encodec import load_pretrained_24khz

    return load_pretrained_24khz(option, path)


def load_folder(folder: Path, option: str, name: str = "") -> Codec:
    """Load the codec of a folder, of whichever kind its files say."""
    if (folder / "config.yaml").is_file() or (folder / "meta.yaml").is_file():
        from speechlm.codecs.espnet import load_espnet

        config, weights = find_espnet_files(folder, "train_config", "model_file")
        return load_espnet(folder / config, folder / weights, option, name)
    config = read_json(folder / "config.json") if (folder / "config.json").is_file() else {}
    kind = config.get("model_type") if isinstance(config, dict) else None
    if kind == "mimi":
        from speechlm.codecs.mimi import load_mimi

        return load_mimi(folder, option, name)
    if kind == "dac":
        from speechlm.codecs.dac import load_dac

        return load_dac(folder, option, name)
    from speechlm.codecs import encodec

    return encodec.load_folder(folder, name, option)


def _split(spec: str) -> tuple[str, str]:
    """Return (what, option). A path may have a colon of its own."""
    what, _, option = spec.rpartition(":")
    return (spec, "") if not what or _is(Path.exists, spec) else (what, option)


def _is(test: Callable[[Path], bool], path: str) -> bool:
    try:
        return test(Path(path))
    except (OSError, ValueError):  # a name that no file can have
        return False


def _load_shipped(name: str, option: str) -> Codec:
    from speechlm.codecs import encodec

    return encodec.load_folder(ASSETS / name, name, option)


def _load_encodec_24khz(option: str) -> Codec:
    from speechlm.codecs.encodec import load_pretrained_24khz

    return load_pretrained_24khz(option)


LOADERS: dict[str, Callable[[str], Codec]] = {
    **{name: partial(_load_shipped, name) for name in ("codec_16k", "codec_natural")},
    "encodec_24khz": _load_encodec_24khz,
}
