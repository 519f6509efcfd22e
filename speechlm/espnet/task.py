"""The ESPnet task: hands ESPnet what `speechlm.train.build` makes of the options."""

import argparse

import torch

from speechlm.espnet.imports import AbsESPnetModel, AbsTask, CommonCollateFn
from speechlm.espnet.options import add_arguments
from speechlm.espnet.trainer import SpeechLMTrainer
from speechlm.train.build import build_data, build_model, build_optimizers
from speechlm.train.loss import TrainingModel

AbsESPnetModel.register(TrainingModel)  # for ESPnet, which hands it to our trainer only


class SpeechLMTask(AbsTask):
    """Training of a codec-based speech LLM: LLM pre-training, CPT and SFT differ by their config only."""

    num_optimizers = 2  # AdamW, and Muon where asked for
    class_choices_list: list = []
    trainer = SpeechLMTrainer

    @classmethod
    def add_task_arguments(cls, parser: argparse.ArgumentParser) -> None:
        add_arguments(parser)
        parser.set_defaults(
            required=["output_dir", "dump", "codec", "dev_set"], iterator_type="task", num_att_plot=0, num_workers=0
        )
        parser.set_defaults(resume=True, use_matplotlib=False)

    @classmethod
    def build_collate_fn(cls, args, train):
        return CommonCollateFn(int_pad_value=0)

    @classmethod
    def build_preprocess_fn(cls, args, train):
        return None

    @classmethod
    def required_data_names(cls, train=True, inference=False):
        return ()

    @classmethod
    def optional_data_names(cls, train=True, inference=False):
        return ()

    @classmethod
    def build_model(cls, args: argparse.Namespace) -> TrainingModel:
        return build_model(args)

    @classmethod
    def build_optimizers(cls, args: argparse.Namespace, model: torch.nn.Module) -> list[torch.optim.Optimizer]:
        return build_optimizers(args, model)

    @classmethod
    def build_iter_factory(cls, args, distributed_option, mode, kwargs=None):
        return build_data(args, (distributed_option.dist_rank or 0, distributed_option.dist_world_size or 1), mode)
