"""The loss: equal to one that makes all logits at once; means of streams and tasks each by its own weight, however rows
are spread over batches.
"""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from speechlm.model.speechlm import SpeechLM, is_speech
from speechlm.tokens.patterns import PATTERNS
from speechlm.tokens.sequence import (
    hide_frames,
    join,
    plain_text_segment,
    special_segment,
    speech_segment,
    text_segment,
)
from speechlm.train import loss as of_loss
from speechlm.train.iterator import pack
from speechlm.train.loss import TrainingModel
from speechlm.train.meter import Meter
from tests.model.tiny import random_codes, tiny_model

WEIGHTS = [1.0, 0.7, 0.5]


def batch_of(vocab) -> dict:
    """Rows of asr, tts with hidden frames, and text, of weights 1, 0.5 and 0, with padding."""
    start = special_segment(["<asr>", "<en>"], vocab)
    asr = join(
        [start, *speech_segment(random_codes(7), vocab), *text_segment([3, 4, 5], vocab, target=True)], 0.5, "asr"
    )
    tts = join(
        [
            special_segment(["<tts>"], vocab),
            *text_segment([6], vocab),
            *speech_segment(random_codes(5, 1), vocab, target=True),
        ],
        0.0,
        "tts",
    )
    tts = hide_frames(tts, 0.5, vocab, np.random.default_rng(1))
    assert 0 < tts.hidden_T.sum() < len(tts) - 6
    text = join([plain_text_segment([3, 9, 8], vocab)], 1.0, "lm")
    return pack([[asr, text], [tts]], 64, vocab.pad_id, vocab.num_columns)


def dense_total(model: SpeechLM, batch: dict, text_weight: float) -> torch.Tensor:
    """Return the weighted sum of all cross-entropies, from the logits of every position over every id."""
    vocab, ids_BLK = model.vocab, batch["ids_BLK"]
    shown_BLK = torch.where(batch["hidden_BL"][..., None], vocab.pad_id, ids_BLK)
    hidden_BLD = model.hidden(shown_BLK, None, batch["position_BL"])
    counts_BL = batch["loss_BL"][:, 1:] > 0
    hidden_ND, target_NK, weight_N = (
        hidden_BLD[:, :-1][counts_BL],
        ids_BLK[:, 1:][counts_BL],
        batch["loss_BL"][:, 1:][counts_BL],
    )
    logits_NV, first_N = model.first_logits(hidden_ND).float(), target_NK[:, 0]
    stream_N = torch.bucketize(first_N.contiguous(), torch.tensor(vocab.codebook_starts), right=True)
    scale_N = torch.tensor([text_weight, *WEIGHTS])[stream_N]
    if not text_weight:
        within_N = is_speech(vocab, first_N)
        scale_N = torch.where(within_N, torch.tensor([WEIGHTS[0], *WEIGHTS])[stream_N], 0)
        logits_NV = torch.where(
            within_N[:, None], logits_NV.masked_fill(~is_speech(vocab, torch.arange(model.first_size)), -torch.inf), 0.0
        )
    total = (F.cross_entropy(logits_NV, first_N, reduction="none") * scale_N * weight_N).sum()
    holds_N = (target_NK[:, 1:] != vocab.pad_id).any(dim=1)
    if vocab.num_columns == 1 or not holds_N.any():
        return total
    codes_NK = target_NK[holds_N]
    if model.depth is None:
        logits = (hidden_ND[holds_N] @ model.new_head.weight[vocab.codebook_starts[1] - vocab.text_size :].T).split(
            8, dim=1
        )
    else:
        own_NJW = model.depth(hidden_ND[holds_N], model.new_embedding(codes_NK[:, :-1] - vocab.text_size))
        logits = [own_NJW[:, j] @ table_CW.T for j, table_CW in enumerate(model.depth.head.weight.split(8))]
    for k, logits_NC in enumerate(logits, start=1):
        here_N = codes_NK[:, k] != vocab.pad_id
        nats_N = F.cross_entropy(
            logits_NC[here_N].float(), codes_NK[here_N, k] - vocab.codebook_starts[k], reduction="none"
        )
        total = total + (nats_N * weight_N[holds_N][here_N]).sum() * WEIGHTS[k]
    return total


def gradients(model: SpeechLM, total: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    (total / 7).backward()
    return {name: torch.zeros_like(p) if p.grad is None else p.grad.clone() for name, p in model.named_parameters()}


def with_head(model: SpeechLM, kind: str) -> SpeechLM:
    """Bound the logits as Gemma 2 does, or give the text head a bias."""
    if kind == "bounded":
        model.llm.config.final_logit_softcapping = 0.5
    if kind == "biased":
        model.llm.lm_head.bias = nn.Parameter(torch.randn(len(model.llm.lm_head.weight)))
    return model


@pytest.mark.parametrize("head", ["untied", "tied", "bounded", "biased"])
@pytest.mark.parametrize("text_weight", [2.0, 0.0])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_loss_and_gradients_are_those_of_all_logits_at_once(pattern, text_weight, head, monkeypatch):
    monkeypatch.setitem(of_loss.CHUNK_LOGITS, "cpu", 200)  # several chunks, the last one shorter
    model = with_head(tiny_model(pattern, tied=head == "tied"), head)
    training, batch = TrainingModel(model, WEIGHTS, text_weight).eval(), batch_of(model.vocab)
    total, table_S2 = training(**batch)
    expected = dense_total(model, batch, text_weight)
    torch.testing.assert_close(total, expected, rtol=1e-5, atol=1e-5)
    assert table_S2[0].tolist() == pytest.approx([total.item(), batch["loss_BL"].sum().item()])
    theirs, ours = gradients(model, expected), gradients(model, total)
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert all(theirs[name].any() for name in theirs if "norm" in name or "new_" in name)
    for name in theirs.keys() - frozen:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_loss_and_gradients_without_padding_are_those_of_rows(pattern):
    """As the CPU trains: all examples in one row, attended to by segments."""
    model = tiny_model(pattern)
    training, batch = TrainingModel(model, WEIGHTS, 2.0, tasks=["asr", "tts"]).eval(), batch_of(model.vocab)
    total, table_S2 = training(**batch)
    of_rows = gradients(model, total)
    training.prepare("cpu", "auto")
    assert training.by_segments
    again, its_table_S2 = training(**batch)
    torch.testing.assert_close((again, its_table_S2), (total, table_S2), rtol=1e-6, atol=1e-5)
    for name, gradient in gradients(model, again).items():
        torch.testing.assert_close(gradient, of_rows[name], rtol=1e-4, atol=1e-6, msg=name)


def test_a_compiled_loss_pads_its_last_chunk_and_is_the_same(monkeypatch):
    monkeypatch.setattr(of_loss, "compiled_chunk", lambda: of_loss.chunk)  # compiling takes a minute
    model = tiny_model()
    training, batch = TrainingModel(model, WEIGHTS, 2.0).eval(), batch_of(model.vocab)
    total, table_S2 = training(**batch)
    plain = gradients(model, total)
    training.compiled = True
    again, its_table_S2 = training(**batch)
    torch.testing.assert_close((again, its_table_S2), (total, table_S2))
    for name, gradient in gradients(model, again).items():
        torch.testing.assert_close(gradient, plain[name], msg=name)


def test_means_do_not_depend_on_how_rows_are_spread_over_batches():
    """A batch of one row of text and 29 of speech weighs 1 in the mean of text, beside one of 12 rows of text."""
    model = tiny_model()
    training = TrainingModel(model, WEIGHTS, 2.0, tasks=["lm", "tts"]).eval()
    spoken = join(
        [special_segment(["<tts>"], model.vocab), *speech_segment(random_codes(29), model.vocab, target=True)],
        0.0,
        "tts",
    )
    texts = [join([plain_text_segment([3, *range(3, 3 + n)], model.vocab)], 1.0, "lm") for n in (1, 12)]
    spread, together = Meter(training.figures), Meter(training.figures)
    for meter, batches in ((spread, [[[spoken, texts[0]]], [[texts[1]]]]), (together, [[[spoken, *texts]]])):
        for rows in batches:
            _, table_S2 = training(**pack(rows, 60, model.vocab.pad_id, model.vocab.num_columns))
            meter.add(table_S2)
    means, expected = spread.means(), together.means()
    assert (means.pop("positions"), expected.pop("positions")) == (23.5, 47)
    assert means == {name: pytest.approx(mean, rel=1e-5) for name, mean in expected.items()}
    assert {"loss", "text", "code0", "task.lm", "task.tts"} <= means.keys()
