"""Import this before ESPnet: it keeps ESPnet's start short (30 s to 8 s, measured) and silent.

* `espnet2` imports `g2p_en` (English spelling to phonemes) with every task; that looks for a download, and prints errors
  on a machine without a network. Nothing here turns spelling into phonemes: an empty module serves.
* `typeguard` compiles every decorated function a second time at import. ESPnet's signatures are checked by ESPnet's own
  tests; here the decorator does nothing.
"""

import logging
import sys
import types
import warnings
from importlib.machinery import ModuleSpec

import typeguard


def _unchanged(target=None, **_options):
    return target if target is not None else _unchanged


_EMPTY = types.ModuleType("g2p_en")
_EMPTY.__spec__ = ModuleSpec("g2p_en", None)
sys.modules.setdefault("g2p_en", _EMPTY)
typeguard.typechecked = _unchanged
warnings.filterwarnings("ignore", category=SyntaxWarning)
warnings.filterwarnings("ignore", category=FutureWarning, module="espnet")
logging.getLogger().addFilter(lambda record: "Flash Attention" not in record.getMessage())
