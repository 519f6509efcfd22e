"""The codec-based speech LLM: a textual causal LM with tables and heads for codec streams (arXiv 2502.16897).

Letters in shapes: B rows, L positions, K codebooks, D model width, C codes of a codebook, N positions that count.
Input: the embeddings of the K ids of a row are summed (a text token has one). Output: K parallel heads; head 0 also
covers text and special tokens. The LLM keeps its own text embeddings and text head.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechlm.tokens.vocabulary import Vocabulary


class SpeechLM(nn.Module):
    """`llm` is any Hugging Face causal LM; `vocab.text_size` must be the number of rows of its embedding table."""

    def __init__(self, llm: nn.Module, vocab: Vocabulary):
        super().__init__()
        rows, width = llm.get_input_embeddings().weight.shape
        if rows != vocab.text_size:
            raise ValueError(f"the LLM has {rows} text embeddings, the vocabulary {vocab.text_size}: they don't belong together")
        self.llm, self.vocab = llm, vocab
        new = vocab.size - vocab.text_size  # special tokens, then the codebooks
        self.new_embedding = nn.Embedding(new, width, padding_idx=vocab.pad_id - vocab.text_size)
        self.new_head = nn.Linear(width, new, bias=False)
        self._init_new(llm.get_input_embeddings().weight)

    @torch.no_grad()
    def _init_new(self, text_embedding_VD: Tensor) -> None:
        """New rows start random, at the scale of the text embeddings; a frame's sum too (hence the root of K)."""
        std = text_embedding_VD.float().std().item()
        nn.init.normal_(self.new_embedding.weight, std=std)
        self.new_embedding.weight[self.vocab.codes_start - self.vocab.text_size :] /= self.vocab.num_codebooks**0.5
        self.new_embedding.weight[self.new_embedding.padding_idx] = 0
        nn.init.normal_(self.new_head.weight, std=0.02)

    @torch.no_grad()
    def init_codes(self, codebooks_KCE: Tensor) -> None:
        """Start the code tables as one random projection of the codec's own codebook vectors.

        A frame's embedding is then a projection of its quantised latent: sounds that are alike start alike, and the
        later codebooks, which add detail, start small. The scale of a frame stays that of a text embedding.
        """
        K, C, E = codebooks_KCE.shape
        vectors_KCE = codebooks_KCE - codebooks_KCE.mean(dim=1, keepdim=True)
        projected_KCD = vectors_KCE @ torch.randn(E, self.new_embedding.embedding_dim)
        frame_std = projected_KCD.var(dim=1).sum(dim=0).mean().sqrt()
        text_std = self.llm.get_input_embeddings().weight.float().std()
        start = self.vocab.codes_start - self.vocab.text_size
        self.new_embedding.weight[start : start + K * C] = (projected_KCD * text_std / frame_std).flatten(0, 1)

    def embed(self, ids_BLK: Tensor) -> Tensor:
        """Return embeddings_BLD: the sum of the embeddings of each row's ids."""
        first_BL = ids_BLK[..., 0]
        is_text_BL1 = (first_BL < self.vocab.text_size).unsqueeze(-1)
        text_BLD = self.llm.get_input_embeddings()(first_BL.clamp(max=self.vocab.text_size - 1))
        # The clamp maps text to the padding row (its index is 0), so text adds nothing to the sum.
        new_NK = (ids_BLK - self.vocab.text_size).clamp(min=0).flatten(0, 1)
        new_ND = F.embedding_bag(new_NK, self.new_embedding.weight, mode="sum", padding_idx=self.new_embedding.padding_idx)
        return text_BLD * is_text_BL1 + new_ND.view_as(text_BLD)

    def hidden(self, ids_BLK: Tensor, attention_mask: Tensor, position_BL: Tensor, cache=None) -> Tensor:
        """Run the backbone; return hidden_BLD. `cache` is a transformers Cache, extended in place."""
        out = self.llm.base_model(
            inputs_embeds=self.embed(ids_BLK),
            attention_mask=attention_mask,
            position_ids=position_BL,
            past_key_values=cache,
            use_cache=cache is not None,
        )
        return out.last_hidden_state

    def first_logits(self, hidden_ND: Tensor) -> Tensor:
        """Return logits over text, special tokens and codebook 0: the head of column 0."""
        end = self.vocab.codes_start - self.vocab.text_size + self.vocab.codebook_sizes[0]
        new = F.linear(hidden_ND, self.new_head.weight[:end])
        return torch.cat([self.llm.get_output_embeddings()(hidden_ND), new], dim=-1)

    def code_logits(self, hidden_ND: Tensor) -> list[Tensor]:
        """Return the logits_NC of codebooks 1..K-1."""
        starts = [start - self.vocab.text_size for start in self.vocab.codebook_starts[1:]]
        sizes = self.vocab.codebook_sizes[1:]
        if not sizes:
            return []
        logits = F.linear(hidden_ND, self.new_head.weight[starts[0] : starts[-1] + sizes[-1]])
        return list(logits.split(sizes, dim=-1))


def packed_attention_mask(segment_BL: Tensor) -> Tensor:
    """Return mask_B1LL (bool): a position sees itself and what comes before it in its own example, nothing else."""
    same_BLL = segment_BL.unsqueeze(2) == segment_BL.unsqueeze(1)
    return (same_BLL & torch.ones_like(same_BLL).tril()).unsqueeze(1)


def stream_losses(model: SpeechLM, hidden_BLD: Tensor, ids_BLK: Tensor, loss_BL: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """Return (cross-entropies in nats, weights) of every token that counts: row t is predicted from row t - 1.

    Keys: `text` (text and special tokens), and `code<k>` over the rows that hold a code of codebook k. `loss_BL` is the
    weight of each row; rows of weight 0 are left out.
    """
    counts_BL = loss_BL[:, 1:] > 0
    weight_N = loss_BL[:, 1:][counts_BL]
    hidden_ND, target_NK = hidden_BLD[:, :-1][counts_BL], ids_BLK[:, 1:][counts_BL]
    is_code_N = target_NK[:, 0] >= model.vocab.codes_start
    first_N = F.cross_entropy(model.first_logits(hidden_ND).float(), target_NK[:, 0], reduction="none")
    losses = {"text": (first_N[~is_code_N], weight_N[~is_code_N]), "code0": (first_N[is_code_N], weight_N[is_code_N])}
    holds_N = (target_NK[:, 1:] != model.vocab.pad_id).any(dim=1)  # rows that hold a code in a later codebook
    for k, logits_NC in enumerate(model.code_logits(hidden_ND[holds_N]), start=1):
        target_N = target_NK[holds_N, k]
        here_N = target_N != model.vocab.pad_id
        loss_N = F.cross_entropy(logits_NC[here_N].float(), target_N[here_N] - model.vocab.codebook_starts[k], reduction="none")
        losses[f"code{k}"] = loss_N, weight_N[holds_N][here_N]
    return losses
