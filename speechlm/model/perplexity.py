"""Text perplexity by the text-only path of a model: what CPT made it forget, measured by the same code before and after."""

import math

import torch

from speechlm.model.speechlm import SpeechLM
from speechlm.tokens.sequence import plain_text_segment
from speechlm.tokens.text import TextTokenizer


@torch.inference_mode()
def text_perplexity(model: SpeechLM, text: TextTokenizer, sentences: list[str], masked: bool, batch_size: int = 64) -> float:
    """Return exp(mean nats per token) of `<bos> sentence <eos>`, every token but the first counted.

    masked: the probabilities are over text tokens alone; otherwise over text, special tokens and codes of column 0.
    """
    nats, count = 0.0, 0
    start = [] if text.bos_id is None else [text.bos_id]
    examples = [[*start, *text.encode(sentence), text.eos_id] for sentence in sentences]
    for i in range(0, len(examples), batch_size):
        batch = examples[i : i + batch_size]
        longest = max(map(len, batch))
        ids_BLK = torch.stack([_padded(ids, longest, model) for ids in batch])
        mask_BL = torch.tensor([[1] * len(ids) + [0] * (longest - len(ids)) for ids in batch], device=ids_BLK.device)
        position_BL = torch.arange(longest, device=ids_BLK.device).expand(len(batch), -1)
        counts_BL = mask_BL[:, 1:].bool()
        hidden_ND = model.hidden(ids_BLK, mask_BL, position_BL)[:, :-1][counts_BL]
        target_N = ids_BLK[:, 1:, 0][counts_BL]
        logits_NV = model.first_logits(hidden_ND).float()
        if masked:
            logits_NV = logits_NV[:, : model.vocab.text_size]
        nats += torch.nn.functional.cross_entropy(logits_NV, target_N, reduction="sum").item()
        count += len(target_N)
    return math.exp(nats / count)


def _padded(ids: list[int], length: int, model: SpeechLM) -> torch.Tensor:
    rows = torch.full((length, model.vocab.num_codebooks), model.vocab.pad_id, device=model.new_head.weight.device)
    rows[: len(ids)] = torch.from_numpy(plain_text_segment(ids, model.vocab).ids_TK)
    return rows
