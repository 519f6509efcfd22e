"""ESPnet's own recognisers (espnet2.bin.asr_inference), from a folder of a training or a model on the hub."""

from contextlib import chdir
from functools import cached_property

from speechlm.data.settings import read_yaml
from speechlm.data.weights import find_espnet_files, find_weights
from speechlm.espnet_start import quick_imports
from speechlm.metrics.recognisers.base import hear


class ESPnetRecogniser:
    """espnet:MODEL[@REVISION] or espnet:FOLDER.

    A hub model's meta.yaml names its files; an own folder has config.yaml and one .pth. Paths in the configuration
    (tokenizer, statistics) are relative to the folder. Attention and CTC count as ESPnet's defaults; no language model.
    """

    languages = ()

    def __init__(self, model: str, beam: int = 1, device: str = "cpu"):
        self.folder, name = find_weights(model, "espnet:")
        self.config, self.weights = find_espnet_files(self.folder, "asr_train_config", "asr_model_file")
        self.beam, self.device = beam, device
        self.signature = f"espnet:{name}|decoding:beam{beam}"

    @cached_property
    def network(self):
        with quick_imports():
            from espnet2.bin.asr_inference import Speech2Text

        with chdir(self.folder):
            return Speech2Text(str(self.config), str(self.weights), beam_size=self.beam, device=self.device)

    @cached_property
    def rate_hz(self) -> int:
        return rate_of(read_yaml(self.folder / self.config))

    def transcribe(self, paths: list[str], lang: str) -> list[str]:
        return [self._write(path) for path in paths]

    def _write(self, path: str) -> str:
        wav_T = hear(path, self.rate_hz)
        return " ".join((self.network(wav_T)[0][0] or "").split()) if len(wav_T) else ""


def rate_of(config: dict) -> int:
    """Return what the frontend's fs says (16000 or "16k"); ESPnet's default is 16 kHz."""
    fs = str((config.get("frontend_conf") or {}).get("fs", 16000))
    return round(float(fs[:-1]) * 1000) if fs.endswith("k") else int(fs)
