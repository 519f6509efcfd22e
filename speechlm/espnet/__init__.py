"""The plug into ESPnet's trainer: the only folder, besides the judge, that imports it."""

import io
from contextlib import redirect_stdout

from speechlm.espnet_start import quick_imports

with quick_imports(), redirect_stdout(io.StringIO()):  # ESPnet says what it could not import
    import espnet2.tasks.abs_task  # noqa: F401
    import espnet2.train.collate_fn  # noqa: F401
