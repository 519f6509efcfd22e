"""Decoding, the one engine of recipe, API and page: greedy, by sampling, and for text by beam search; whole or as a
stream.

generate_text, generate_speech     outputs of prefixes, in their order
generate                           the same, as they end
stream_speech                      frames of one example while they are made
compile_steps                      makes a model's steps quicker on a GPU, after half a minute
"""

from collections.abc import Iterator

import numpy as np

from speechlm.model.generate.compiled import compile_steps
from speechlm.model.generate.engine import Engine
from speechlm.model.generate.options import DecodeOptions, Generated, read_decode_config
from speechlm.model.generate.rules import make_rule
from speechlm.model.speechlm import SpeechLM

__all__ = [
    "DecodeOptions",
    "Engine",
    "Generated",
    "compile_steps",
    "generate",
    "generate_speech",
    "generate_text",
    "make_rule",
    "read_decode_config",
    "stream_speech",
]


def generate(
    model: SpeechLM, speaks: bool, prefixes: list[np.ndarray], options: DecodeOptions, numbers: list[int] | None = None
) -> Iterator[tuple[int, Generated]]:
    """Yield (place in `prefixes`, what follows it) as they end; a prefix ends with <speech> or <text>, or with frames
    to go on from.

    `numbers` (the places) are what samples depend on: the same number and seed give the same sample in any batch.
    """
    rule = make_rule(model, speaks, options)
    engine = Engine(rule, min(options.batch_size, len(prefixes)), max(map(len, prefixes), default=1) + rule.rows)
    for place in sorted(range(len(prefixes)), key=lambda place: -len(prefixes[place])):
        engine.add(place, prefixes[place], numbers[place] if numbers else place)
    return engine.run()


def generate_text(model: SpeechLM, prefixes: list[np.ndarray], options: DecodeOptions) -> list[Generated]:
    """Return the text ids that follow each prefix (which ends with <text>)."""
    found = dict(generate(model, False, prefixes, options))
    return [found[place] for place in range(len(prefixes))]


def generate_speech(model: SpeechLM, prefixes: list[np.ndarray], options: DecodeOptions) -> list[Generated]:
    """Return the codes_TK (int32) that follow each prefix (which ends with <speech>)."""
    found = dict(generate(model, True, prefixes, options))
    return [found[place] for place in range(len(prefixes))]


def stream_speech(model: SpeechLM, prefix: np.ndarray, options: DecodeOptions, number: int = 0) -> Iterator[np.ndarray]:
    """Yield codes_TK of new frames as soon as they are whole; joined they are those of `generate_speech`."""
    rule = make_rule(model, True, options)
    engine = Engine(rule, 1, len(prefix) + rule.rows)
    engine.add(0, prefix, number)
    given = 0
    for _, generated in engine.run(partial=True):
        if len(generated.output) > given:
            yield generated.output[given:]
            given = len(generated.output)
