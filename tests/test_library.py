"""The package as a library: what it imports of ESPnet leaves the rest of the process as it was."""

import importlib
import sys
import types

import pytest
import typeguard

import speechlm.espnet.imports  # noqa: F401
from speechlm.espnet_start import WAITING, quick_imports


@pytest.mark.parametrize("name", WAITING)
def test_typeguard_and_what_waits_are_as_they_were(monkeypatch, name):
    assert typeguard.typechecked.__module__.startswith("typeguard")
    assert not hasattr(sys.modules.get(name), "__getattr__")
    for each in WAITING:
        monkeypatch.delitem(sys.modules, each, raising=False)
    before = typeguard.typechecked
    with quick_imports():
        for_espnet = importlib.import_module(name)
        assert typeguard.typechecked is not before
    assert typeguard.typechecked is before and not sys.modules.keys() & set(WAITING)
    monkeypatch.setitem(sys.modules, name, types.SimpleNamespace(used="the real one"))
    assert for_espnet.used == "the real one"


def test_no_part_of_espnet_that_training_needs_waits_for_spelling():
    """`g2p_en` looks for a download and takes 4 s of a core, `tacotron_cleaner` 3 s."""
    import espnet2.text.cleaner as cleaner
    import espnet2.text.phoneme_tokenizer as tokenizer

    import speechlm.espnet.task  # noqa: F401

    assert not hasattr(tokenizer.g2p_en, "__path__") and not hasattr(cleaner.tacotron_cleaner, "__path__")


def test_functions_of_others_are_still_checked():
    with quick_imports():

        @typeguard.typechecked
        def double(number: int) -> int:
            return 2 * number

    try:
        double("a")
    except typeguard.TypeCheckError:
        return
    raise AssertionError("not checked")
