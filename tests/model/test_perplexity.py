"""Text scores of a model against figures computed by hand."""

import math

import pytest
import torch

from speechlm.model.perplexity import final_word, text_perplexity
from tests.model.tiny import tiny_model


class Letters:
    """A tokenizer of the letters a to j, and a blank."""

    size, bos_id, eos_id, fingerprint = 20, 1, 2, "t"

    def encode(self, text):
        return [4 + "abcdefghij ".index(letter) for letter in text]


def log_probabilities(model, ids):
    """Return logp_LV of each next token, of one sequence alone."""
    grid = torch.full((1, len(ids), 3), model.vocab.pad_id)
    grid[0, :, 0] = torch.tensor(ids)
    hidden = model.hidden(grid, torch.ones(1, len(ids), dtype=torch.long), torch.arange(len(ids)).unsqueeze(0))
    return model.first_logits(hidden[0, :-1]).float()[:, : model.vocab.text_size].log_softmax(dim=-1)


@torch.inference_mode()
def test_last_words_and_whole_texts_in_a_batch_as_alone():
    model, text = tiny_model(), Letters()
    sentences = ["ab cd", "a bcdefghij a", "jj i"]
    nats, right, whole, tokens = [], [], 0.0, 0
    for sentence in sentences:
        ids, target = [1, *text.encode(sentence)], text.encode(" " + sentence.split()[-1])
        logp = log_probabilities(model, ids)[-len(target) :]
        nats.append(-sum(logp[i, token].item() for i, token in enumerate(target)))
        right.append(logp.argmax(dim=-1).tolist() == target)
        logp = log_probabilities(model, [*ids, 2])
        whole -= sum(logp[i, token].item() for i, token in enumerate([*ids[1:], 2]))
        tokens += len(ids)
    accuracy, perplexity = final_word(model, text, sentences, batch_size=2)
    assert accuracy == pytest.approx(100 * sum(right) / 3) and perplexity == pytest.approx(
        math.exp(sum(nats) / 3), rel=1e-4
    )
    assert text_perplexity(model, text, sentences, masked=True, batch_size=2) == pytest.approx(
        math.exp(whole / tokens), rel=1e-4
    )


def test_a_text_of_one_word_is_refused():
    with pytest.raises(ValueError, match="has one word"):
        final_word(tiny_model(), Letters(), ["ab"])


@torch.inference_mode()
def test_a_model_without_knowledge_has_the_perplexity_of_its_vocabulary():
    model = tiny_model()
    model.llm.get_output_embeddings().weight.zero_()
    assert text_perplexity(model, Letters(), ["ab cd"], masked=True) == pytest.approx(20)
    assert final_word(model, Letters(), ["ab cd"])[1] == pytest.approx(20**3)
