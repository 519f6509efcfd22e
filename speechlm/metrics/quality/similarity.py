"""Speaker similarity: the cosine of two recordings' speaker embeddings."""

from importlib.metadata import version

import numpy as np
import torch

from speechlm.data.weights import find_weights
from speechlm.metrics.quality.base import need


def cosine(a_D: np.ndarray, b_D: np.ndarray) -> float:
    """Return the cosine of two vectors; 0 if one of them is zero."""
    length = np.linalg.norm(a_D) * np.linalg.norm(b_D)
    return float(a_D @ b_D / length) if length else 0.0


class Resemblyzer:
    """The generalised end-to-end encoder whose weights the package Resemblyzer carries; values lie between 0 and 1."""

    names = ("SIM-resemblyzer",)
    against, rate_hz, lowest = "speaker", 16000, 0.0

    def __init__(self, model: str = "", device: str = "cpu"):
        self.package = need("resemblyzer", "speaker similarity by Resemblyzer")
        self.encoder = self.package.VoiceEncoder(device, verbose=False)
        self.signature = f"sim:resemblyzer-{version('resemblyzer')}|against:another recording of the speaker"

    def measure(self, made_T: np.ndarray, other_T: np.ndarray, rate_hz: int) -> dict[str, float]:
        return {"SIM-resemblyzer": cosine(self.embed(made_T), self.embed(other_T))}

    def embed(self, wav_T: np.ndarray) -> np.ndarray:
        """Return the embedding of the voiced parts; zero if there are none."""
        voiced_T = self.package.preprocess_wav(wav_T)
        return self.encoder.embed_utterance(voiced_T) if len(voiced_T) else np.zeros(1)


class WavLM:
    """A WavLM x-vector model of transformers, by default microsoft/wavlm-base-plus-sv; values lie between -1 and 1.

    Papers often use another one, WavLM-large with a verification head that is not on the hub in this form: do not
    compare.
    """

    names = ("SIM-wavlm",)
    against, rate_hz, lowest = "speaker", 16000, 0.0

    def __init__(self, model: str = "", device: str = "cpu"):
        from transformers import AutoFeatureExtractor, AutoModelForAudioXVector

        folder, name = find_weights(model or "microsoft/wavlm-base-plus-sv", "sim-wavlm:")
        self.device = device
        self.features = AutoFeatureExtractor.from_pretrained(folder)
        self.network = AutoModelForAudioXVector.from_pretrained(folder).to(device).eval()
        self.signature = f"sim:wavlm:{name}|against:another recording of the speaker"

    def measure(self, made_T: np.ndarray, other_T: np.ndarray, rate_hz: int) -> dict[str, float]:
        return {"SIM-wavlm": cosine(self.embed(made_T), self.embed(other_T))}

    @torch.inference_mode()
    def embed(self, wav_T: np.ndarray) -> np.ndarray:
        inputs = self.features(wav_T, sampling_rate=self.rate_hz, return_tensors="pt").to(self.device)
        return self.network(**inputs).embeddings[0].cpu().numpy()
