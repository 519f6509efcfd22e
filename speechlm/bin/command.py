"""How every command ends: a mistake of the user's is one plain message and exit status 1, not a traceback."""

import sys
from typing import Callable


def run_main(main: Callable[[], None]) -> None:
    """Call `main`; print a ValueError as `error: ...` and exit with 1. Other exceptions are bugs and keep their traceback."""
    try:
        main()
    except ValueError as error:
        sys.exit(f"error: {error}")
