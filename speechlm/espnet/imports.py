"""What the training uses of ESPnet, imported quickly and silently. It takes seconds: `--help` does without it."""

import io
from contextlib import redirect_stdout

from speechlm.espnet_start import quick_imports

with quick_imports(), redirect_stdout(io.StringIO()):  # ESPnet says what it could not import
    from espnet2.tasks.abs_task import AbsTask
    from espnet2.torch_utils.set_all_random_seed import set_all_random_seed
    from espnet2.train.abs_espnet_model import AbsESPnetModel
    from espnet2.train.collate_fn import CommonCollateFn
    from espnet2.train.trainer import Trainer, TrainerOptions
    from espnet2.utils.build_dataclass import build_dataclass

__all__ = [
    "AbsESPnetModel",
    "AbsTask",
    "CommonCollateFn",
    "Trainer",
    "TrainerOptions",
    "build_dataclass",
    "set_all_random_seed",
]
