"""Sets of a corpus against what was published of them."""

import numpy as np
import pytest
import soundfile

from speechlm.data.corpus import CorpusInfo, Expected, Found, check_sets, measure
from speechlm.data.kaldi import write_data_dir


def test_a_set_is_measured_by_its_headers_and_nothing_is_dropped(tmp_path):
    for key, seconds in {"a": 36, "b": 18, "long": 301}.items():
        soundfile.write(tmp_path / f"{key}.flac", np.zeros(seconds * 1000, np.int16), 1000)
    (tmp_path / "empty.flac").touch()
    scp = {key: str(tmp_path / f"{key}.flac") for key in ("a", "b", "empty", "long", "missing")}
    write_data_dir(tmp_path / "data", {"wav.scp": scp, "utt2spk": dict.fromkeys(scp, "s")})
    found = measure(tmp_path / "data", "en")
    assert (found.utterances, found.broken, found.long) == (5, ("empty", "missing"), ("long",))
    assert found.hours == pytest.approx((36 + 18 + 301) / 3600)


def test_sets_that_differ_are_all_named(capsys):
    published = {"train": Expected(10, 100.6), "dev": Expected(3, 5.4), "test": Expected(2)}
    check_sets(
        published,
        {"train": Found(10, 100.2), "dev": Found(3, 5.36), "test": Found(2, 1.0), "own": Found(1, 1.0)},
        full=True,
    )
    assert "  train: 10 (10), 100.20 (100.6)\n" in capsys.readouterr().out
    found = {"train": Found(9, 90.0, broken=("u1",)), "dev": Found(3, 5.4)}
    with pytest.raises(ValueError) as error:
        check_sets(published, found, full=True)
    assert "3 figure(s) differ" in str(error.value) and "--partial true" in str(error.value)
    assert "train: 9 utterances, published 10 (-1)" in str(
        error.value
    ) and "train: 90.00 hours, published 100.6" in str(error.value)
    assert "test: the set is missing" in str(error.value)
    check_sets(published, found, full=False)
    assert "train: 9 (10), 90.00 (100.6); 1 broken or empty (u1)  <- differs" in capsys.readouterr().out


def test_what_a_user_must_know_is_said_first(capsys):
    CorpusInfo("LibriX", "CC BY 4.0", 60_000_000_000, by_hand="the clips").announce()
    assert (
        capsys.readouterr().out
        == "LibriX\n  licence: CC BY 4.0\n  on disk: about 60.0 GB\n  to fetch by hand: the clips\n"
    )
