"""Text perplexity by the text-only path of a model: what CPT made the model forget, measured by the same code before
and after.
"""

import math
from typing import Iterator

import torch

from speechlm.model.speechlm import SpeechLM
from speechlm.tokens.sequence import plain_text_segment
from speechlm.tokens.text import TextTokenizer


def text_perplexity(
    model: SpeechLM, text: TextTokenizer, sentences: list[str], masked: bool, batch_size: int = 64
) -> float:
    """Return exp(mean nats per token) of `<bos> sentence <eos>`, every token but the first counted."""
    nats, tokens = zip(*text_nats(model, text, sentences, masked, batch_size))
    return math.exp(sum(nats) / sum(tokens))


@torch.inference_mode()
def text_nats(
    model: SpeechLM, text: TextTokenizer, sentences: list[str], masked: bool, batch_size: int = 64
) -> list[tuple[float, int]]:
    """Return (nats, tokens counted) of each sentence.

    masked: the probabilities are over text tokens alone; otherwise over text, special tokens and codes of column 0.
    """
    found = []
    start = [] if text.bos_id is None else [text.bos_id]
    examples = [[*start, *text.encode(sentence), text.eos_id] for sentence in sentences]
    for i in range(0, len(examples), batch_size):
        for logits_LV, ids in _next_token_logits(model, examples[i : i + batch_size], masked):
            target_L = torch.tensor(ids[1:], device=logits_LV.device)
            found.append(
                (torch.nn.functional.cross_entropy(logits_LV, target_L, reduction="sum").item(), len(target_L))
            )
    return found


@torch.inference_mode()
def final_word(model: SpeechLM, text: TextTokenizer, sentences: list[str], batch_size: int = 64) -> tuple[float, float]:
    """Return (accuracy in percent, perplexity per word) of the last word of each text, given what comes before it.

    Right is a word all of whose tokens are the likeliest ones (over text tokens). As LAMBADA is scored: Paperno et al.
    2016, Radford et al. 2019.
    """
    start = [] if text.bos_id is None else [text.bos_id]
    right, nats, tasks = 0, 0.0, []
    for sentence in sentences:
        context, _, word = sentence.rpartition(" ")
        if not context:
            raise ValueError(f"final word: {sentence!r} has one word; expected a text and its last word")
        target = text.encode(f" {word}")
        tasks.append(([*start, *text.encode(context), *target], len(target)))
    for i in range(0, len(tasks), batch_size):
        batch = tasks[i : i + batch_size]
        for (logits_LV, ids), (_, length) in zip(
            _next_token_logits(model, [ids for ids, _ in batch], masked=True), batch
        ):
            target_L, logp_LV = (
                torch.tensor(ids[-length:], device=logits_LV.device),
                logits_LV[-length:].log_softmax(dim=-1),
            )
            right += bool((logp_LV.argmax(dim=-1) == target_L).all())
            nats -= logp_LV.gather(1, target_L.unsqueeze(1)).sum().item()
    return 100 * right / len(tasks), math.exp(nats / len(tasks))


def _next_token_logits(
    model: SpeechLM, batch: list[list[int]], masked: bool
) -> Iterator[tuple[torch.Tensor, list[int]]]:
    """Yield, for each sequence of ids, logits_LV of every id but the first, and the ids."""
    longest = max(map(len, batch))
    ids_BLK = torch.stack([_padded(ids, longest, model) for ids in batch])
    mask_BL = torch.tensor([[1] * len(ids) + [0] * (longest - len(ids)) for ids in batch], device=ids_BLK.device)
    position_BL = torch.arange(longest, device=ids_BLK.device).expand(len(batch), -1)
    hidden_BLD = model.hidden(ids_BLK, mask_BL, position_BL)
    for hidden_LD, ids in zip(hidden_BLD, batch):
        logits_LV = model.first_logits(hidden_LD[: len(ids) - 1]).float()
        yield (logits_LV[:, : model.vocab.text_size] if masked else logits_LV), ids


def _padded(ids: list[int], length: int, model: SpeechLM) -> torch.Tensor:
    rows = torch.full((length, model.vocab.num_columns), model.vocab.pad_id, device=model.new_head.weight.device)
    rows[: len(ids)] = torch.from_numpy(plain_text_segment(ids, model.vocab).ids_TK)
    return rows
