"""The training model: SpeechLM behind ESPnet's model interface."""

from collections.abc import Iterable

import torch
from espnet2.torch_utils.device_funcs import force_gatherable
from espnet2.train.abs_espnet_model import AbsESPnetModel
from torch import Tensor

from speechlm.model.speechlm import SpeechLM, is_speech, packed_attention_mask, stream_losses
from speechlm.tasks import TASK_NUMBERS


class SpeechLMTrainingModel(AbsESPnetModel):
    """Token-weighted loss of a packed batch.

    `stream_weights`: weight of the loss of each codebook; text and special tokens weigh `text_weight`. With a text_weight
    of 0 only speech is learned: the text head stands still, and the ends of speech weigh as its codes. The losses of
    `tasks` are reported one by one.
    """

    def __init__(self, speechlm: SpeechLM, stream_weights: list[float], text_weight: float, tasks: Iterable[str] = ()):
        super().__init__()
        if len(stream_weights) != speechlm.vocab.num_codebooks:
            raise ValueError(
                f"stream_weights has {len(stream_weights)} values, the codec has {speechlm.vocab.num_codebooks} codebooks: expected one each"
            )
        self.speechlm, self.tasks = speechlm, sorted(tasks)
        self.scales = {"text": text_weight} | {f"code{k}": scale for k, scale in enumerate(stream_weights)}
        self.learn_text = text_weight > 0
        if not self.learn_text:
            self.scales["end"] = stream_weights[0]
            freeze_text_head(speechlm.llm)

    @property
    def first_choices(self) -> int:
        """Among how many ids a code of column 0 is predicted."""
        first = self.speechlm.first_size
        return first if self.learn_text else int(is_speech(self.speechlm.vocab, torch.arange(first)).sum())

    def forward(
        self, ids_BLK: Tensor, position_BL: Tensor, segment_BL: Tensor, loss_BL: Tensor, task_BL: Tensor, **_unused
    ) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """Return (loss per weighted row, stats, sum of the rows' weights [1]).

        `stats`: name -> [weighted sum in nats, sum of weights].
        """
        hidden_BLD = self.speechlm.hidden(ids_BLK, packed_attention_mask(segment_BL), position_BL)
        losses = stream_losses(self.speechlm, hidden_BLD, ids_BLK, loss_BL, self.learn_text)
        rows = loss_BL[:, 1:].sum().clamp(min=1e-6)
        loss = sum(self.scales[name] * (nats * weight).sum() for name, (nats, weight, _) in losses.items()) / rows
        stats = {"loss": _pair(loss.detach() * rows, rows)}
        stats |= {name: _pair((nats.detach() * weight).sum(), weight.sum()) for name, (nats, weight, _) in losses.items()}
        stats |= self.task_losses(losses, task_BL[:, 1:][loss_BL[:, 1:] > 0])
        return force_gatherable((loss, stats, rows.to(loss.dtype)), loss.device)

    @torch.no_grad()
    def task_losses(self, losses: dict[str, tuple[Tensor, Tensor, Tensor]], task_N: Tensor) -> dict[str, Tensor]:
        """Return `task.<name>`, its loss and the weight of its rows; `task_N` are the tasks of the rows that count."""
        loss_N, weight_N = torch.zeros((2, len(task_N)), device=task_N.device)
        for name, (nats, weight, row) in losses.items():
            loss_N.index_add_(0, row, self.scales[name] * (nats * weight).float())
            weight_N[row] = weight
        here = {name: task_N == TASK_NUMBERS[name] for name in self.tasks}
        return {f"task.{name}": _pair(loss_N[here_N].sum(), weight_N[here_N].sum()) for name, here_N in here.items()}

    def collect_feats(self, **batch) -> dict[str, Tensor]:
        """ESPnet's statistics stage has nothing to do: lengths are known from the manifests."""
        return {}


def freeze_text_head(llm: torch.nn.Module) -> None:
    """Leave the text head out of the training; where it is the embedding, texts that are read still train it."""
    head = llm.get_output_embeddings()
    if head.weight is not llm.get_input_embeddings().weight:
        head.requires_grad_(False)


def _pair(total: Tensor, weight: Tensor) -> Tensor:
    return torch.stack([total.double(), weight.double()])
