"""ESPnet's trainer: it builds everything and calls `run`, which trains by steps (`speechlm.train.loop`)."""

from dataclasses import dataclass

from speechlm.espnet.imports import Trainer, TrainerOptions, build_dataclass
from speechlm.train.loop import Run


@dataclass
class SpeechLMTrainerOptions(TrainerOptions):
    """ESPnet's options and ours. Steps are optimizer steps; `dtype` is the autocast type of the forward pass."""

    max_steps: int
    warmup_steps: int
    final_lr_ratio: float
    save_interval: int
    eval_interval: int
    dtype: str
    compile: str
    max_loss_ratio: float
    skip_steps: list
    keep_steps: list
    dist_timeout_min: float


class SpeechLMTrainer(Trainer):
    """`run` is called by ESPnet's task with everything built."""

    @classmethod
    def build_options(cls, args) -> SpeechLMTrainerOptions:
        return build_dataclass(SpeechLMTrainerOptions, args)

    @classmethod
    def run(  # noqa: PLR0913  (ESPnet calls it so)
        cls,
        model,
        optimizers,
        schedulers,
        train_iter_factory,
        valid_iter_factory,
        plot_attention_iter_factory,
        trainer_options,
        distributed_option,
    ):
        Run(model, optimizers, train_iter_factory, valid_iter_factory, trainer_options, distributed_option).train()
