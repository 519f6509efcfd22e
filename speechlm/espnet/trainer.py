"""ESPnet's trainer: it builds everything and calls `run`, which trains by steps (`speechlm.train.loop`)."""

from espnet2.train.trainer import Trainer
from espnet2.utils.build_dataclass import build_dataclass

from speechlm.espnet.options import SpeechLMTrainerOptions
from speechlm.train.loop import Run


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
