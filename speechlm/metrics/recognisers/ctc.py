"""CTC recognisers of transformers: wav2vec 2.0, HuBERT, WavLM and their kin, greedy."""

from functools import cached_property
from itertools import groupby

import numpy as np
import torch

from speechlm.data.weights import find_weights
from speechlm.metrics.recognisers.base import hear, require_greedy

BATCH_SEC = 120  # of padded audio
SHORTEST_SEC = 0.1  # shorter recordings are padded to this: the first layers need 25 ms


class CTCRecogniser:
    """ctc:MODEL[@REVISION] or ctc:FOLDER, for instance ctc:facebook/wav2vec2-large-960h-lv60-self.

    A model that was trained with an attention mask (its feature extractor says so) gets padded batches with one; one
    that was trained without gets batches of equal length, since padding would change what it hears.
    """

    languages = ()  # which one, its name says; nothing in the files does

    def __init__(self, model: str, beam: int = 1, device: str = "cpu"):
        require_greedy("ctc", beam)
        self.folder, name = find_weights(model, "ctc:")
        self.device = device
        self.signature = f"ctc:{name}|decoding:greedy"

    @cached_property
    def processor(self):
        from transformers import AutoProcessor

        return AutoProcessor.from_pretrained(self.folder)

    @cached_property
    def network(self) -> torch.nn.Module:
        from transformers import AutoModelForCTC

        return AutoModelForCTC.from_pretrained(self.folder).to(self.device).eval()

    def transcribe(self, paths: list[str], lang: str) -> list[str]:
        rate_hz, texts = self.processor.feature_extractor.sampling_rate, [""] * len(paths)
        waves = [(i, hear(path, rate_hz)) for i, path in enumerate(paths)]
        shortest = round(SHORTEST_SEC * rate_hz)
        waves = [(i, np.pad(wav_T, (0, max(0, shortest - len(wav_T))))) for i, wav_T in waves if len(wav_T)]
        for batch in self._batches(waves, round(BATCH_SEC * rate_hz)):
            for (i, _), text in zip(batch, self._spell([wav_T for _, wav_T in batch]), strict=True):
                texts[i] = text
        return texts

    def _batches(self, waves: list[tuple[int, np.ndarray]], most: int) -> list[list[tuple[int, np.ndarray]]]:
        """Return batches of similar (without a mask: of equal) length, of at most `most` padded samples."""
        masked = self.processor.feature_extractor.return_attention_mask
        batches = []
        for _, group in groupby(
            sorted(waves, key=lambda wave: (len(wave[1]), wave[0])), key=lambda wave: 0 if masked else len(wave[1])
        ):
            batch = []
            for wave in group:  # in order of length: the last is the longest
                if batch and (len(batch) + 1) * len(wave[1]) > most:
                    batches.append(batch)
                    batch = []
                batch.append(wave)
            batches.append(batch)
        return batches

    @torch.inference_mode()
    def _spell(self, waves: list[np.ndarray]) -> list[str]:
        extractor = self.processor.feature_extractor
        inputs = extractor(waves, sampling_rate=extractor.sampling_rate, padding=True, return_tensors="pt").to(
            self.device
        )
        best_BT = self.network(**inputs).logits.argmax(dim=-1)
        frames_B = self.network._get_feat_extract_output_lengths(torch.tensor([len(wav_T) for wav_T in waves])).tolist()
        return [" ".join(self.processor.decode(best_T[:n]).split()) for best_T, n in zip(best_BT.cpu(), frames_B)]
