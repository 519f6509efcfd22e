"""The judge's network, from ESPnet's own parts: log-mel frontend, mean normalisation, encoder, CTC over characters."""

import io
import logging
import warnings
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict, dataclass, field
from typing import Any, Iterator

from speechlm.espnet_start import quick_imports

BLANK, UNKNOWN, SPACE, END = "<blank>", "<unk>", "<space>", "<sos/eos>"
LETTERS = {"en": "abcdefghijklmnopqrstuvwxyz'", "es": "abcdefghijklmnopqrstuvwxyzáéíóúüñ"}


@dataclass(frozen=True)
class JudgeConfig:
    """What `config.json` of a judge holds; `encoder` and the `_conf` dicts are ESPnet's."""

    language: str
    sample_rate_hz: int
    token_list: list[str]
    frontend_conf: dict[str, Any]
    encoder: str
    encoder_conf: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def token_list(language: str) -> list[str]:
    """Return the judge's tokens: blank first, as ESPnet's CTC wants it."""
    if language not in LETTERS:
        raise ValueError(f"--lang {language}: no alphabet; expected one of {', '.join(LETTERS)} (add it to {__name__})")
    return [BLANK, UNKNOWN, *LETTERS[language], SPACE, END]


def build_network(config: JudgeConfig):
    """Return an ESPnet ASR model (CTC only, no specaug), randomly initialised, in evaluation mode.

    The parts are imported here and not through ESPnet's ASR task, whose import takes half a minute.
    """
    with quiet(), quick_imports():
        return _build_network(config)


def _build_network(config: JudgeConfig):
    from espnet2.asr.ctc import CTC
    from espnet2.asr.encoder.conformer_encoder import ConformerEncoder
    from espnet2.asr.encoder.e_branchformer_encoder import EBranchformerEncoder
    from espnet2.asr.encoder.transformer_encoder import TransformerEncoder
    from espnet2.asr.espnet_model import ESPnetASRModel
    from espnet2.asr.frontend.default import DefaultFrontend
    from espnet2.layers.utterance_mvn import UtteranceMVN

    encoders = {
        "transformer": TransformerEncoder,
        "conformer": ConformerEncoder,
        "e_branchformer": EBranchformerEncoder,
    }
    frontend = DefaultFrontend(**config.frontend_conf)
    encoder = encoders[config.encoder](input_size=frontend.output_size(), **config.encoder_conf)
    absent = dict.fromkeys(("specaug", "preencoder", "postencoder", "decoder", "joint_network"))
    model = ESPnetASRModel(
        vocab_size=len(config.token_list),
        token_list=config.token_list,
        frontend=frontend,
        normalize=UtteranceMVN(),
        encoder=encoder,
        ctc=CTC(odim=len(config.token_list), encoder_output_size=encoder.output_size()),
        ctc_weight=1.0,
        **absent,
    )
    return model.eval()


@contextmanager
def quiet() -> Iterator[None]:
    """Keep ESPnet's remarks (no flash attention, no decoder, deprecated autocast) out of the scoring commands'
    output.
    """
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    root.setLevel(logging.ERROR)
    try:
        with redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        root.setLevel(level)
        root.handlers[:] = handlers  # a first warning installs one, and a trainer could no longer install its own
