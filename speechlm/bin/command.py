"""How every command ends: a mistake of the user's is one plain message and exit status 1, not a traceback."""

import shutil
import sys
from pathlib import Path
from typing import Callable

from speechlm.data.files import STORAGE_ERRORS

GIB = 2**30


def run_main(main: Callable[[], None]) -> None:
    """Call `main`; print a ValueError as `error: ...` and exit with 1, likewise a disk that is full or cannot be
    written to.

    Other exceptions are bugs and keep their traceback.
    """
    try:
        main()
    except ValueError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        if error.errno not in STORAGE_ERRORS:
            raise
        sys.exit(f"error: {describe(error)}")


def describe(error: OSError) -> str:
    """Say which file, how full its disk is, and what to do."""
    fix = f"{STORAGE_ERRORS[error.errno]}, and run the same command again: what is complete is kept."
    if not error.filename:
        return f"{error.strerror}. {fix}"
    path = Path(error.filename).absolute()
    folder = next(parent for parent in [path, *path.parents] if parent.is_dir())
    disk = shutil.disk_usage(folder)
    room = f"The disk of {folder} has {disk.free / GIB:.2f} of {disk.total / GIB:.2f} GiB free"
    return f"{error.filename}: {error.strerror}. {room}. {fix}"
