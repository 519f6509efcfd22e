"""Starting a training takes no time or memory that grows with the corpus; tests/long/scale.py does it with ten million
utterances.
"""

from tests.long.scale import measured, prepare

UTTERANCES = 100_000


def test_a_training_on_a_large_corpus_starts_at_once(tmp_path):
    """Reading all lines took 4.2 s and 154 MB."""
    prepare(tmp_path, UTTERANCES)
    found = measured(tmp_path, 200)
    assert found["examples"]["lm"] == UTTERANCES
    assert found["first_batch_cpu_sec"] < 1.0 and found["more_memory_mb"] < 60, found
