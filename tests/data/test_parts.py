"""Long work in parts: what is kept is used again for the same keys, and for no others."""

from concurrent.futures import ThreadPoolExecutor

from speechlm.data.parts import as_they_end, in_parts


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


def test_a_pool_does_the_batches_that_are_missing(tmp_path):
    in_parts([["a", "b"]], lambda keys: [key.upper() for key in keys], tmp_path, "decoded")
    batches, made = [["a", "b"], ["c"], ["e", "d"]], []

    def work(keys: list[str]) -> list[str]:
        made.extend(keys)
        return [key.upper() for key in keys]

    with ThreadPoolExecutor(2) as pool:
        found = in_parts(batches, work, tmp_path, "decoded", pool)
    assert list(found.items()) == [("a", "A"), ("b", "B"), ("c", "C"), ("e", "E"), ("d", "D")] and sorted(made) == [
        "c",
        "d",
        "e",
    ]


def test_what_has_ended_is_kept_whatever_is_asked_for_next(tmp_path):
    """Each process of several has a folder of its own; then another number of them goes on."""
    work = lambda keys: ((key, key.upper()) for key in keys)  # noqa: E731
    as_they_end(["a", "b", "c"], work, tmp_path / "0", "decoded", 2)
    as_they_end(["d"], work, tmp_path / "1", "decoded", 2)
    as_they_end(["e", "f", "g"], work, tmp_path / "0", "decoded", 2)
    asked = []
    found = as_they_end(list("abcdefgh"), lambda keys: work(asked.extend(keys) or keys), tmp_path, "decoded", 2)
    assert found == {key: key.upper() for key in "abcdefgh"} and asked == ["h"]
