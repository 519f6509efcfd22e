"""Whisper of transformers: greedy (or beam search), without fallback temperatures; recordings beyond 30 s are read in
sequence.
"""

from functools import cached_property

import numpy as np
import torch

from speechlm.data.weights import find_weights
from speechlm.metrics.recognisers.base import hear

BATCH = 16
WINDOW_SEC = 30


class WhisperRecogniser:
    """whisper:MODEL[@REVISION] or whisper:FOLDER, for instance whisper:openai/whisper-large-v3. It is told the
    language.
    """

    languages = ()

    def __init__(self, model: str, beam: int = 1, device: str = "cpu"):
        self.folder, name = find_weights(model, "whisper:")
        self.beam, self.device = beam, device
        self.signature = f"whisper:{name}|decoding:{'greedy' if beam == 1 else f'beam{beam}'}"

    @cached_property
    def processor(self):
        from transformers import WhisperProcessor

        return WhisperProcessor.from_pretrained(self.folder)

    @cached_property
    def network(self) -> torch.nn.Module:
        from transformers import WhisperForConditionalGeneration

        return WhisperForConditionalGeneration.from_pretrained(self.folder).to(self.device).eval()

    def transcribe(self, paths: list[str], lang: str) -> list[str]:
        rate_hz, texts = self.processor.feature_extractor.sampling_rate, [""] * len(paths)
        waves = [(i, wav_T) for i, path in enumerate(paths) if len(wav_T := hear(path, rate_hz))]
        short = [wave for wave in waves if len(wave[1]) <= WINDOW_SEC * rate_hz]
        batches = [short[i : i + BATCH] for i in range(0, len(short), BATCH)]
        for batch in batches + [[wave] for wave in waves if len(wave[1]) > WINDOW_SEC * rate_hz]:
            for (i, _), text in zip(batch, self._write([wav_T for _, wav_T in batch], lang), strict=True):
                texts[i] = " ".join(text.split())
        return texts

    @torch.inference_mode()
    def _write(self, waves: list[np.ndarray], lang: str) -> list[str]:
        """Each recording is padded to 30 s by itself, so the batch has no influence."""
        extractor = self.processor.feature_extractor
        rate_hz = extractor.sampling_rate
        long = len(waves[0]) > WINDOW_SEC * rate_hz
        how = {"truncation": False, "padding": "longest"} if long else {}
        inputs = extractor(waves, sampling_rate=rate_hz, return_attention_mask=True, return_tensors="pt", **how).to(
            self.device
        )
        named = (
            {"language": lang, "task": "transcribe"}
            if getattr(self.network.generation_config, "is_multilingual", False)
            else {}
        )
        timestamps = {"return_timestamps": True} if long else {}
        ids_BT = self.network.generate(**inputs, num_beams=self.beam, do_sample=False, **named, **timestamps)
        return self.processor.batch_decode(ids_BT, skip_special_tokens=True)
