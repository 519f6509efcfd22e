"""Long work in parts: what is kept is used again for the same keys, and for no others."""

from speechlm.data.parts import in_parts


def test_parts_of_another_set_are_not_taken_for_this_one(tmp_path):
    """Interrupted after the first batch; then the set has an utterance more, which moves all batches."""
    made = []

    def work(keys: list[str]) -> list[str]:
        made.append(keys)
        if keys == ["c", "d"] and len(made) == 2:
            raise KeyboardInterrupt
        return [key.upper() for key in keys]

    try:
        in_parts([["a", "b"], ["c", "d"]], work, tmp_path, "decoded")
    except KeyboardInterrupt:
        pass
    found = in_parts([["a", "aa"], ["b", "c"], ["d"]], work, tmp_path, "decoded")
    assert found == {"a": "A", "aa": "AA", "b": "B", "c": "C", "d": "D"}
    made.clear()
    assert in_parts([["a", "aa"], ["b", "c"], ["d"]], work, tmp_path, "decoded") == found and made == []
    (tmp_path / "1.json").write_text('{"b": ')
    assert in_parts([["a", "aa"], ["b", "c"], ["d"]], work, tmp_path, "decoded") == found and made == [["b", "c"]]
