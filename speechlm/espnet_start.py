"""Import ESPnet within `quick_imports()`: it keeps ESPnet's start short (30 s to 8 s, measured) and silent.

* `espnet2` imports `g2p_en` (English spelling to phonemes) with every task; that looks for a download, and prints
errors
  on a machine without a network. Here it is imported when ESPnet first asks for something in it.
* `typeguard` compiles every decorated function a second time at import. ESPnet's signatures are checked by ESPnet's own
  tests; here the decorator leaves ESPnet's functions as they are.

Both are as before when the block ends, for programs that use this package as a library. `be_silent` is for our commands
alone.
"""

import importlib
import logging
import sys
import types
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec


@contextmanager
def quick_imports() -> Iterator[None]:
    """Import ESPnet's modules in this block without what they don't need."""
    import typeguard

    checked, spelling = typeguard.typechecked, _spelling()
    added = sys.modules.setdefault("g2p_en", spelling) is spelling
    typeguard.typechecked = _all_but_espnet(checked)
    try:
        with warnings.catch_warnings():
            _ignore_warnings()
            yield
    finally:
        typeguard.typechecked = checked
        if added:
            del sys.modules["g2p_en"]


def be_silent() -> None:
    """Leave out warnings about ESPnet's code, for the rest of this process."""
    _ignore_warnings()
    logging.getLogger().addFilter(lambda record: "Flash Attention" not in record.getMessage())


def _ignore_warnings() -> None:
    warnings.filterwarnings("ignore", category=SyntaxWarning)
    warnings.filterwarnings("ignore", category=FutureWarning, module="espnet")


def _spelling() -> types.ModuleType:
    """Return a module in place of `g2p_en`, which becomes the real one when something in it is asked for."""
    module = types.ModuleType("g2p_en")
    module.__spec__ = ModuleSpec("g2p_en", None)

    def get(name: str):
        if name.startswith("__") or sys.modules.get("g2p_en") is module:
            raise AttributeError(name)
        return getattr(importlib.import_module("g2p_en"), name)

    module.__getattr__ = get
    return module


def _all_but_espnet(checked):
    """Return a decorator that leaves ESPnet's functions alone and does what `checked` does to others."""

    def typechecked(target=None, **options):
        if target is None:
            return lambda given: typechecked(given, **options)
        return target if target.__module__.startswith("espnet") else checked(target, **options)

    return typechecked
