"""Whisper by faster-whisper (CTranslate2): the same networks, several times as fast; their transcripts are not always
identical.
"""

from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from speechlm.data.weights import find_weights
from speechlm.metrics.recognisers.base import hear

RATE_HZ = 16000


class FasterWhisperRecogniser:
    """faster-whisper:MODEL[@REVISION] or a folder in CTranslate2's format, for instance
    faster-whisper:Systran/faster-whisper-large-v3. In 16 bits on a GPU, in 8 on the CPU; its signature says so.
    """

    languages = ()

    def __init__(self, model: str, beam: int = 1, device: str = "cpu"):
        try:
            installed = version("faster-whisper")
        except PackageNotFoundError:
            raise ValueError(
                f"faster-whisper:{model}: the package is not installed. Install it: pip install faster-whisper"
            ) from None
        self.folder, name = find_weights(model, "faster-whisper:")
        if not (Path(self.folder) / "model.bin").is_file():
            raise ValueError(
                f"{self.folder}: no model.bin, so not CTranslate2's format. Name a model that is, or use"
                f" whisper:{model}"
            )
        self.beam, self.device = beam, device
        self.signature = (
            f"faster-whisper:{name}|{installed}|{self._precision}|decoding:{'greedy' if beam == 1 else f'beam{beam}'}"
        )

    @property
    def _precision(self) -> str:
        return "float16" if self.device == "cuda" else "int8"

    @cached_property
    def network(self):
        from faster_whisper import WhisperModel

        return WhisperModel(str(self.folder), device=self.device, compute_type=self._precision)

    def transcribe(self, paths: list[str], lang: str) -> list[str]:
        return [self._write(path, lang) for path in paths]

    def _write(self, path: str, lang: str) -> str:
        wav_T = hear(path, RATE_HZ)
        if not len(wav_T):
            return ""
        segments, _ = self.network.transcribe(
            wav_T,
            language=lang,
            beam_size=self.beam,
            temperature=0.0,
            condition_on_previous_text=False,
            without_timestamps=False,
        )
        return " ".join(" ".join(segment.text for segment in segments).split())
