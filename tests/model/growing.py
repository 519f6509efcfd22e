"""Decoding as it was before the engine, which is compared with it: a batch from first to last row, with a cache and
masks that grow.
"""

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache

from speechlm.model.generate import DecodeOptions
from speechlm.model.speechlm import SpeechLM
from speechlm.tokens.patterns import get_pattern
from speechlm.tokens.sequence import grid_to_codes
from speechlm.tokens.vocabulary import SPEECH_END, TEXT_END


class GrowingState:
    """Prefixes, padded on the left and run through the model; then one row at a time."""

    def __init__(self, model: SpeechLM, prefixes: list[np.ndarray]):
        self.model, self.cache = model, DynamicCache()
        device = model.new_head.weight.device
        longest = max(map(len, prefixes))
        ids_BSK = torch.full((len(prefixes), longest, prefixes[0].shape[1]), model.vocab.pad_id, device=device)
        self.mask_BS = torch.zeros(len(prefixes), longest, dtype=torch.long, device=device)
        for b, prefix in enumerate(prefixes):
            ids_BSK[b, longest - len(prefix) :] = torch.from_numpy(prefix)
            self.mask_BS[b, longest - len(prefix) :] = 1
        position_BS = (self.mask_BS.cumsum(dim=1) - 1).clamp(min=0)
        self.hidden_BD = model.hidden(ids_BSK, self.mask_BS, position_BS, self.cache)[:, -1]

    def advance(self, row_BK: Tensor) -> None:
        """Append one row and compute the hidden state that predicts the next."""
        self.mask_BS = torch.cat([self.mask_BS, self.mask_BS.new_ones(len(row_BK), 1)], dim=1)
        position_B1 = self.mask_BS.sum(dim=1, keepdim=True) - 1
        self.hidden_BD = self.model.hidden(row_BK.unsqueeze(1), self.mask_BS, position_B1, self.cache)[:, -1]

    def select(self, index_B: Tensor) -> None:
        """Keep these examples (or beams), in this order."""
        self.cache.batch_select_indices(index_B)
        self.mask_BS, self.hidden_BD = self.mask_BS[index_B], self.hidden_BD[index_B]


@torch.inference_mode()
def generate_text(model: SpeechLM, prefixes: list[np.ndarray], options: DecodeOptions) -> list[list[int]]:
    """Return the text ids that follow each prefix (which ends with <text>), by beam search (beam 1: greedy).

    Scores are log-probabilities over text and </text>, divided by length ** length_penalty.
    """
    vocab, W, B = model.vocab, options.beam, len(prefixes)
    end = vocab.special_id(TEXT_END)
    state = GrowingState(model, prefixes)
    state.select(torch.arange(B, device=state.mask_BS.device).repeat_interleave(W))
    score_BW = torch.full((B, W), -torch.inf, device=state.mask_BS.device)
    score_BW[:, 0] = 0
    beams: list[list[list[int]]] = [[[] for _ in range(W)] for _ in range(B)]
    finished: list[list[tuple[float, list[int]]]] = [[] for _ in range(B)]
    for step in range(options.max_rows):
        logp_BWV = _text_log_probs(model, state.hidden_BD, end).view(B, W, -1)
        total_BWV = score_BW.unsqueeze(2) + logp_BWV
        best, flat = total_BWV.view(B, -1).topk(min(2 * W, total_BWV[0].numel()), dim=1)
        rows, tokens = flat // logp_BWV.shape[2], flat % logp_BWV.shape[2]
        keep, keep_tokens, keep_scores = [], [], []
        for b in range(B):
            chosen = _advance_beams(
                beams[b],
                finished[b],
                best[b].tolist(),
                rows[b].tolist(),
                tokens[b].tolist(),
                (W, vocab.text_size, options.length_penalty),
            )
            beams[b] = [ids for ids, _, _ in chosen]
            keep += [b * W + row for _, row, _ in chosen]
            keep_tokens += [ids[-1] for ids, _, _ in chosen]
            keep_scores.append([score for _, _, score in chosen])
        if all(_is_done(finished[b], keep_scores[b][0], step + 1, options) for b in range(B)):
            break
        index = torch.tensor(keep, device=state.mask_BS.device)
        if W > 1:
            state.select(index)
        score_BW = torch.tensor(keep_scores, device=state.mask_BS.device)
        row_BK = torch.full((B * W, vocab.num_columns), vocab.pad_id, device=state.mask_BS.device)
        row_BK[:, 0] = torch.tensor(keep_tokens, device=state.mask_BS.device)
        state.advance(row_BK)
    return [max(finished[b] or [(0.0, beams[b][0])], key=lambda pair: pair[0])[1] for b in range(B)]


def _text_log_probs(model: SpeechLM, hidden_BD: Tensor, end: int) -> Tensor:
    """Return log-probabilities [B, text_size + 1]: the text tokens, and last the end of the text."""
    logits_BV = model.first_logits(hidden_BD).float()
    allowed = torch.cat([logits_BV[:, : model.vocab.text_size], logits_BV[:, end : end + 1]], dim=1)
    return allowed.log_softmax(dim=1)


def _advance_beams(beams, finished, scores, rows, tokens, settings) -> list[tuple[list[int], int, float]]:
    """Sort candidates (best first) into finished ones and the next beams: (ids, row they come from, score)."""
    width, end_token, penalty = settings
    chosen = []
    for score, row, token in zip(scores, rows, tokens, strict=True):
        if len(chosen) == width:
            break
        if token == end_token:
            finished.append((score / (len(beams[row]) + 1) ** penalty, beams[row]))
        else:
            chosen.append(([*beams[row], token], row, score))
    while len(chosen) < width:  # only when the vocabulary is smaller than the beam
        chosen.append((chosen[0][0], chosen[0][1], -1e9))
    return chosen


def _is_done(finished, best_open: float, length: int, options: DecodeOptions) -> bool:
    """No open beam can beat the finished ones (scores only fall)."""
    if not finished:
        return False
    return max(score for score, _ in finished) >= best_open / length**options.length_penalty


@torch.inference_mode()
def generate_speech(model: SpeechLM, prefixes: list[np.ndarray], options: DecodeOptions) -> list[np.ndarray]:
    """Return codes_TK (int32) that follow each prefix (which ends with <speech>).

    Where column 0 ends first (delay), its end is padding, and the other columns then finish.
    """
    vocab, pattern, B = model.vocab, get_pattern(model.vocab.pattern), len(prefixes)
    K = vocab.num_codebooks
    end = vocab.pad_id if pattern.COLUMN_0_ENDS_FIRST else vocab.special_id(SPEECH_END)
    state = GrowingState(model, prefixes)
    device = state.mask_BS.device
    length_B = torch.full((B,), options.max_rows, device=device)  # frames, once known
    rows: list[Tensor] = []
    for step in range(pattern.rows(options.max_rows, K)):
        frame, k = pattern.cell(step, 0, K)
        first_B, ends_B = _choose_first(model, state.hidden_BD, (k, end))
        length_B = torch.where(ends_B & (length_B > frame), frame, length_B)
        row_BC = torch.full((B, vocab.num_columns), vocab.pad_id, device=device)
        row_BC[:, 0] = torch.where(length_B > frame, first_B, vocab.pad_id)
        later_BJ = model.generate_codes(state.hidden_BD, row_BC[:, 0], lambda logits, column: logits.argmax(dim=-1))
        for column, ids_B in enumerate(
            (later_BJ + torch.tensor(vocab.codebook_starts)[1 : 1 + later_BJ.shape[1]]).T, start=1
        ):
            frame, _ = pattern.cell(step, column, K)
            row_BC[:, column] = torch.where((frame >= 0) & (frame < length_B), ids_B, vocab.pad_id)
        rows.append(row_BC)
        if step + 1 >= pattern.rows(int(length_B.max()), K):
            break
        state.advance(row_BC)
    grid_BSC = torch.stack(rows, dim=1).cpu().numpy()
    return [grid_to_codes(grid_BSC[b, : pattern.rows(int(length_B[b]), K)], vocab) for b in range(B)]


def _choose_first(model: SpeechLM, hidden_BD: Tensor, among: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Choose column 0 `among` (codebook, end): its codes, and at the start of a frame `end`; return (ids, did it choose
    the end?).
    """
    k, end = among
    start, size = model.vocab.codebook_starts[k], model.vocab.codebook_sizes[k]
    logits_BV = model.first_logits(hidden_BD).float()
    allowed = logits_BV[:, start : start + size]
    if k == 0:
        allowed = torch.cat([allowed, logits_BV[:, end : end + 1]], dim=1)
    choice_B = allowed.argmax(dim=1)
    return choice_B.clamp(max=size - 1) + start, choice_B == size
