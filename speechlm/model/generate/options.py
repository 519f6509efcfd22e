"""What decoding is told, and what it gives."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from speechlm.data.layers import read_layers
from speechlm.data.settings import Count, Positive, Weight, fill


@dataclass(frozen=True)
class DecodeOptions:
    """`temperature` 0 is greedy, above it samples; `beam` is for text only. `max_rows` bounds the output: tokens of
    text, frames of speech.

    `batch_size` is how many are decoded at once, and changes no output; nor does the order: a sample depends on `seed`
    and the number of its example.
    """

    beam: Positive = 1
    length_penalty: float = 1.0
    temperature: Weight = 0.0
    top_k: Count = 0
    max_rows: Positive = 200
    batch_size: Positive = 64
    seed: Count = 0

    def __post_init__(self):
        if self.beam > 1 and self.temperature > 0:
            raise ValueError(
                f"decoding options: beam {self.beam} and temperature {self.temperature}: expected a beam, or to sample,"
                " not both."
            )


@dataclass(frozen=True)
class Generated:
    """`output`: the text ids, or the codes_TK (int32); `ended`: did the model end it, or was it cut at `max_rows`?;
    `whole`: or does more follow?
    """

    output: list[int] | np.ndarray
    ended: bool
    whole: bool = True


@dataclass(frozen=True)
class DecodeConfig:
    """What conf/decode.yaml holds: the options of each kind of output, and the length of a voice prompt in codec
    frames.
    """

    prompt_frames: Positive | None = None
    text: DecodeOptions | None = None
    speech: DecodeOptions | None = None


def read_decode_config(paths: list[Path], kind: str, **defaults: int) -> tuple[DecodeOptions, int | None]:
    """Return the options of `kind` (text or speech) in these files, later ones over earlier ones and all over
    `defaults`, and prompt_frames; ValueError names the files and what is wrong.
    """
    values, source = read_layers(paths)
    config = fill(DecodeConfig, values, source)
    if getattr(config, kind) is None:
        raise ValueError(f"{source}: {kind} is missing or empty; expected options, such as {kind}: {{max_rows: 200}}")
    return fill(DecodeOptions, defaults | values[kind], f"{source}: {kind}"), config.prompt_frames
