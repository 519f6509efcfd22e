"""A small transformer over the codes of one frame, for the pattern `depth`.

The backbone's hidden state h of the row before predicts the frame's code 0 by its own head; this one predicts the
others, each from h and the codes to its left. Place j of its K - 1 places holds A h + B e(code j), and predicts code j
+ 1; e is the model's own table of codes:

    given      A h + B e(c0)    A h + B e(c1)    A h + B e(c2)
                    |                |                |            causal attention from left to right
    predicts       c1               c2               c3

All frames of a batch are one call: the time axis is the batch axis here. In decoding, K - 1 short steps share a cache
of their own. Letters in shapes: N frames, J = K - 1 places, D the backbone's width, W ours, C codes of a codebook.
Sources: Lee et al., RQ-Transformer, arXiv 2203.01941; Défossez et al., Moshi, arXiv 2410.00037 (h added at every
place).
"""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn
from transformers import DynamicCache, LlamaConfig, LlamaModel

LAYERS, HEAD_WIDTH = 2, 64


class DepthTransformer(nn.Module):
    """`width` is the backbone's, `sizes` are those of codebooks 1..K-1. Ours is half as wide."""

    def __init__(self, width: int, sizes: tuple[int, ...]):
        super().__init__()
        own = width // 2
        head_width = min(HEAD_WIDTH, own)
        config = LlamaConfig(
            vocab_size=1,  # it is given embeddings
            hidden_size=own,
            intermediate_size=own * 8 // 3,
            num_hidden_layers=LAYERS,
            num_attention_heads=max(1, own // head_width),
            head_dim=head_width,
            max_position_embeddings=max(1, len(sizes)),
        )
        self.sizes, self.body = sizes, LlamaModel(config)
        del self.body.embed_tokens
        self.hidden_in, self.code_in = nn.Linear(width, own, bias=False), nn.Linear(width, own, bias=False)
        self.head = nn.Linear(own, sum(sizes), bias=False)
        nn.init.normal_(self.head.weight, std=0.02)

    def forward(self, hidden_ND: Tensor, embedding_NJD: Tensor) -> Tensor:
        """Return own_NJW, which with `tables` give the logits of codebooks 1..K-1, of frames whose codes 0..K-2 have
        these embeddings.
        """
        return self._run(self.hidden_in(hidden_ND).unsqueeze(1) + self.code_in(embedding_NJD))

    @property
    def tables(self) -> tuple[Tensor, ...]:
        """The head of each codebook: table_CW."""
        return self.head.weight.split(self.sizes)

    def generate(
        self,
        hidden_ND: Tensor,
        first_ND: Tensor,
        choose: Callable[[Tensor, int], Tensor],
        embed: Callable[[int, Tensor], Tensor],
    ):
        """Yield the codes_N of codebooks 1..K-1, chosen from their logits by `choose`, which is told the codebook.

        `first_ND` embeds the codes of codebook 0, `embed(k, codes_N)` those of codebook k.
        """
        given_NW, embedding_ND, cache = self.hidden_in(hidden_ND), first_ND, DynamicCache()
        for j, head_CW in enumerate(self.tables):
            own_N1W = self._run((given_NW + self.code_in(embedding_ND)).unsqueeze(1), cache)
            codes_N = choose(F.linear(own_N1W[:, 0], head_CW), j + 1)
            yield codes_N
            embedding_ND = embed(j + 1, codes_N)

    def _run(self, given_NJW: Tensor, cache: DynamicCache | None = None) -> Tensor:
        return self.body(inputs_embeds=given_NJW, past_key_values=cache, use_cache=cache is not None).last_hidden_state
