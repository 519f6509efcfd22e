"""The package as a library: what it imports of ESPnet leaves the rest of the process as it was."""

import sys
import types

import typeguard

import speechlm.espnet  # noqa: F401
from speechlm.espnet_start import quick_imports


def test_typeguard_and_g2p_en_are_as_they_were(monkeypatch):
    assert typeguard.typechecked.__module__.startswith("typeguard")
    assert not hasattr(sys.modules.get("g2p_en"), "__getattr__")
    monkeypatch.delitem(sys.modules, "g2p_en", raising=False)
    before = typeguard.typechecked
    with quick_imports():
        import g2p_en as for_espnet

        assert typeguard.typechecked is not before
    assert typeguard.typechecked is before and "g2p_en" not in sys.modules
    monkeypatch.setitem(sys.modules, "g2p_en", types.SimpleNamespace(G2p="the real one"))
    assert for_espnet.G2p == "the real one"


def test_no_part_of_espnet_that_training_needs_waits_for_g2p_en():
    """It looks for a download, and takes 4 s of a core."""
    import espnet2.text.phoneme_tokenizer as tokenizer

    import speechlm.espnet.task  # noqa: F401

    assert not hasattr(tokenizer.g2p_en, "__path__")


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
