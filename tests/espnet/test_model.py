"""Means of streams and tasks: each by its own weight, however the rows are spread over batches."""

import pytest

from speechlm.espnet.model import SpeechLMTrainingModel
from speechlm.tokens.sequence import join, plain_text_segment, special_segment, speech_segment
from speechlm.train.iterator import pack
from speechlm.train.meter import Meter
from tests.model.tiny import random_codes, tiny_model


def test_means_do_not_depend_on_how_rows_are_spread_over_batches():
    """A batch of one row of text and 29 of speech weighs 1 in the mean of text, beside one of 12 rows of text."""
    model = tiny_model()
    training = SpeechLMTrainingModel(model, [1.0, 0.7, 0.5], 2.0, tasks=["lm", "tts"]).eval()
    spoken = join([special_segment(["<tts>"], model.vocab), *speech_segment(random_codes(29), model.vocab, target=True)], 0.0, "tts")
    texts = [join([plain_text_segment([3, *range(3, 3 + n)], model.vocab)], 1.0, "lm") for n in (1, 12)]
    spread, together = Meter(), Meter()
    for meter, batches in ((spread, [[[spoken, texts[0]]], [[texts[1]]]]), (together, [[[spoken, *texts]]])):
        for rows in batches:
            _, stats, _ = training(**pack(rows, 60, model.vocab.pad_id, model.vocab.num_columns))
            meter.add(stats)
    assert spread.means() == {name: pytest.approx(mean, rel=1e-5) for name, mean in together.means().items()}
    assert {"loss", "text", "code0", "task.lm", "task.tts"} <= spread.means().keys()
