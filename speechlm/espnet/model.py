"""The training model: SpeechLM behind ESPnet's model interface."""

from espnet2.torch_utils.device_funcs import force_gatherable
from espnet2.train.abs_espnet_model import AbsESPnetModel
from torch import Tensor

from speechlm.model.speechlm import SpeechLM, packed_attention_mask, stream_losses


class SpeechLMTrainingModel(AbsESPnetModel):
    """Token-weighted loss of a packed batch.

    `stream_weights`: weight of the loss of each codebook; text and special tokens weigh `text_weight`.
    """

    def __init__(self, speechlm: SpeechLM, stream_weights: list[float], text_weight: float):
        super().__init__()
        if len(stream_weights) != speechlm.vocab.num_codebooks:
            raise ValueError(
                f"stream_weights has {len(stream_weights)} values, the codec has {speechlm.vocab.num_codebooks} codebooks: expected one each"
            )
        self.speechlm, self.stream_weights, self.text_weight = speechlm, stream_weights, text_weight

    def forward(
        self, ids_BLK: Tensor, position_BL: Tensor, segment_BL: Tensor, loss_BL: Tensor, **_unused
    ) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """Return (loss per weighted row, stats, sum of the rows' weights [1]). `stats` are weighted means, in nats."""
        hidden_BLD = self.speechlm.hidden(ids_BLK, packed_attention_mask(segment_BL), position_BL)
        losses = stream_losses(self.speechlm, hidden_BLD, ids_BLK, loss_BL)
        rows = loss_BL[:, 1:].sum().clamp(min=1e-6)
        scales = {"text": self.text_weight} | {f"code{k}": scale for k, scale in enumerate(self.stream_weights)}
        loss = sum(scales[name] * (nats * weight).sum() for name, (nats, weight) in losses.items()) / rows
        stats = {"loss": loss.detach()} | {name: _mean(nats, weight) for name, (nats, weight) in losses.items()}
        return force_gatherable((loss, stats, rows.to(loss.dtype)), loss.device)

    def collect_feats(self, **batch) -> dict[str, Tensor]:
        """ESPnet's statistics stage has nothing to do: lengths are known from the manifests."""
        return {}


def _mean(nats: Tensor, weight: Tensor) -> Tensor | None:
    return (nats.detach() * weight).sum() / weight.sum() if len(nats) else None
