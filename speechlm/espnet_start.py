"""Import ESPnet within `quick_imports()`: it keeps ESPnet's start short (30 s to 5 s, measured) and silent.

* `espnet2` imports `g2p_en` (English spelling to phonemes) and `tacotron_cleaner` (English numbers in words) with every
  task. The first looks for a download, and prints errors on a machine without a network; the second takes 3 s. Here
  each is imported when ESPnet first asks for something in it.
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

WAITING = ("g2p_en", "tacotron_cleaner", "tacotron_cleaner.cleaners")  # imported on use


@contextmanager
def quick_imports() -> Iterator[None]:
    """Import ESPnet's modules in this block without what they don't need."""
    import typeguard

    checked = typeguard.typechecked
    added = {name: _on_use(name) for name in WAITING if name not in sys.modules}
    sys.modules.update(added)
    typeguard.typechecked = _all_but_espnet(checked)
    try:
        with warnings.catch_warnings():
            _ignore_warnings()
            yield
    finally:
        typeguard.typechecked = checked
        for name in added:
            sys.modules.pop(name, None)


def be_silent() -> None:
    """Leave out warnings about ESPnet's code, for the rest of this process."""
    _ignore_warnings()
    logging.getLogger().addFilter(lambda record: "Flash Attention" not in record.getMessage())


def _ignore_warnings() -> None:
    warnings.filterwarnings("ignore", category=SyntaxWarning)
    warnings.filterwarnings("ignore", category=FutureWarning, module="espnet")


def _on_use(path: str) -> types.ModuleType:
    """Return a module in place of another, which becomes the real one when something in it is asked for."""
    module = types.ModuleType(path)
    module.__spec__ = ModuleSpec(path, None)

    def get(name: str):
        if name.startswith("__") or sys.modules.get(path) is module:
            raise AttributeError(name)
        return getattr(importlib.import_module(path), name)

    module.__getattr__ = get
    return module


def _all_but_espnet(checked):
    """Return a decorator that leaves ESPnet's functions alone and does what `checked` does to others."""

    def typechecked(target=None, **options):
        if target is None:
            return lambda given: typechecked(given, **options)
        return target if target.__module__.startswith("espnet") else checked(target, **options)

    return typechecked
