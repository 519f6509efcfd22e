"""The codec-based speech LLM: a textual causal LM with tables and heads for codec streams (arXiv 2502.16897).

Letters in shapes: B rows, L positions, K columns of a row (the codebooks; with the pattern flatten, one), D model
width, C codes of a codebook, N positions that count. Input: the embeddings of the ids of a row are summed (a text token
has one). Output: a head for column 0, which also covers text and special tokens, and for the other columns parallel
heads, or with the pattern depth a small transformer. The LLM keeps its own text embeddings and text head.
"""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel
from transformers.integrations.accelerate import init_empty_weights

from speechlm.model.depth import DepthTransformer
from speechlm.model.weights import load_weights, save_weights
from speechlm.tokens.patterns import get_pattern
from speechlm.tokens.vocabulary import Vocabulary


class SpeechLMConfig(PretrainedConfig):
    """`config.json` of a model: the LLM's own config, and the vocabulary as in `vocab.json`."""

    model_type = "speechlm"

    def __init__(self, llm: dict | None = None, vocabulary: dict | None = None, **more):
        super().__init__(**more)
        self.llm, self.vocabulary = llm or {}, vocabulary or {}

    @classmethod
    def of_folder(cls, folder: Path) -> "SpeechLMConfig":
        """Read `config.json`; a folder of an earlier version has the LLM's config in `llm/` and the vocabulary in
        `vocab.json` only.
        """
        if (folder / "config.json").is_file():
            return cls.from_pretrained(folder)
        llm = AutoConfig.from_pretrained(folder / "llm")
        return cls(llm.to_dict(), asdict(Vocabulary.load(folder / "vocab.json")))

    @property
    def llm_config(self) -> PretrainedConfig:
        return AutoConfig.for_model(**self.llm)


class SpeechLM(nn.Module):
    """`llm` is any Hugging Face causal LM; `vocab.text_size` must be the number of rows of its embedding table."""

    def __init__(self, llm: nn.Module, vocab: Vocabulary):
        super().__init__()
        rows, width = llm.get_input_embeddings().weight.shape
        if rows != vocab.text_size:
            raise ValueError(
                f"the LLM has {rows} text embeddings, the vocabulary {vocab.text_size}: they don't belong together"
            )
        self.llm, self.vocab = llm, vocab
        new = vocab.size - vocab.text_size  # special tokens, then the codebooks
        self.first_size = (
            vocab.size if vocab.num_columns == 1 else vocab.codes_start + vocab.codebook_sizes[0]
        )  # ids of column 0
        deep = get_pattern(vocab.pattern).DEPTH
        self.new_embedding = nn.Embedding(new, width, padding_idx=vocab.pad_id - vocab.text_size)
        self.new_head = nn.Linear(width, self.first_size - vocab.text_size if deep else new, bias=False)
        self._init_new(llm.get_input_embeddings().weight)
        self.depth = DepthTransformer(width, vocab.codebook_sizes[1:]) if deep else None

    @classmethod
    def empty(cls, llm_config: PretrainedConfig, vocab: Vocabulary) -> "SpeechLM":
        """Return a model whose parameters take no memory (on the meta device), to be loaded."""
        with init_empty_weights():  # buffers have their values
            model = cls(make_llm(llm_config), vocab)
        model.llm.tie_weights()
        return model

    @classmethod
    def from_pretrained(cls, folder: str | Path, dtype: torch.dtype = torch.float32, device: str = "cpu") -> "SpeechLM":
        """Load what `save_pretrained` or a training wrote; ValueError if it does not fit together."""
        folder = Path(folder)
        config = SpeechLMConfig.of_folder(folder)
        model = cls.empty(config.llm_config, Vocabulary.load(folder / "vocab.json"))
        load_weights(model, folder / "model.safetensors", device, dtype)
        return model.to(device).eval()

    def save_pretrained(self, folder: str | Path) -> None:
        """Write `config.json`, `vocab.json` and `model.safetensors`."""
        self.save_config(Path(folder))
        save_weights(Path(folder) / "model.safetensors", self)

    def save_config(self, folder: Path) -> None:
        """Write what a model is, without its weights."""
        folder.mkdir(parents=True, exist_ok=True)
        SpeechLMConfig(self.llm.config.to_dict(), asdict(self.vocab), architectures=["SpeechLM"]).save_pretrained(
            folder
        )
        self.vocab.save(folder / "vocab.json")

    @torch.no_grad()
    def _init_new(self, text_embedding_VD: Tensor) -> None:
        """New rows start random, at the scale of the text embeddings; a frame's sum too (hence the root of K)."""
        if text_embedding_VD.is_meta:
            return
        std = text_embedding_VD.float().std().item()
        nn.init.normal_(self.new_embedding.weight, std=std)
        self.new_embedding.weight[self.vocab.codes_start - self.vocab.text_size :] /= self.vocab.num_columns**0.5
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
        variance_K11 = projected_KCD.var(dim=1).mean(dim=1).view(K, 1, 1)
        std = (variance_K11 if self.vocab.num_columns == 1 else variance_K11.sum()).sqrt()  # of what a row adds up
        text_std = self.llm.get_input_embeddings().weight.float().std()
        start = self.vocab.codes_start - self.vocab.text_size
        self.new_embedding.weight[start : start + K * C] = (projected_KCD * text_std / std).flatten(0, 1)

    def cast(self, dtype: torch.dtype) -> "SpeechLM":
        """Make the parameters of this type; buffers stay as they are (rounded frequencies would turn far positions by
        radians).
        """
        for parameter in self.parameters():
            parameter.data = parameter.data.to(dtype)
        return self

    def embed(self, ids_BLK: Tensor) -> Tensor:
        """Return embeddings_BLD: the sum of the embeddings of each row's ids."""
        first_BL = ids_BLK[..., 0]
        is_text_BL1 = (first_BL < self.vocab.text_size).unsqueeze(-1)
        text_BLD = self.llm.get_input_embeddings()(first_BL.clamp(max=self.vocab.text_size - 1))
        # The clamp maps text to the padding row (its index is 0), so text adds nothing to the sum.
        new_NK = (ids_BLK - self.vocab.text_size).clamp(min=0).flatten(0, 1)
        new_ND = F.embedding_bag(
            new_NK, self.new_embedding.weight, mode="sum", padding_idx=self.new_embedding.padding_idx
        )
        return text_BLD * is_text_BL1 + (new_ND.view_as(text_BLD) * self.embed_scale).to(text_BLD.dtype)

    @property
    def embed_scale(self) -> float | Tensor:
        """What the LLM's embedding module multiplies its table by (Gemma 3); Gemma 1 and 2 multiply later, new
        embeddings too.
        """
        return getattr(self.llm.get_input_embeddings(), "embed_scale", 1.0)

    def hidden(self, ids_BLK: Tensor, mask_BL: Tensor | None, position_BL: Tensor, cache=None) -> Tensor:
        """Run the backbone; return hidden_BLD. `cache` is a transformers Cache, extended in place.

        `mask_BL` says which positions of a padded batch are there. None, of packed rows: wherever the positions don't
        go on by one another
        example begins, and attention stays inside an example (transformers' masks, whichever attention the LLM has).
        """
        out = self.llm.get_decoder()(
            inputs_embeds=self.embed(ids_BLK),
            attention_mask=mask_BL,
            position_ids=position_BL,
            past_key_values=cache,
            use_cache=cache is not None,
        )
        return out.last_hidden_state

    def first_logits(self, hidden_ND: Tensor) -> Tensor:
        """Return logits over text, special tokens and the codes of column 0 (codebook 0, or with one column all of
        them).
        """
        return torch.cat([self.text_logits(hidden_ND), self.new_logits(hidden_ND)], dim=-1)

    def text_logits(self, hidden_ND: Tensor) -> Tensor:
        """Return the logits over text alone."""
        return self._bounded(self.llm.get_output_embeddings()(hidden_ND))

    def new_logits(self, hidden_ND: Tensor, only: int | None = None) -> Tensor:
        """Return the logits of column 0 over what follows text in the id space, or over one such id `only`."""
        start, end = (self.vocab.text_size, self.first_size) if only is None else (only, only + 1)
        rows = slice(start - self.vocab.text_size, end - self.vocab.text_size)
        return self._bounded(F.linear(hidden_ND, self.new_head.weight[rows]))

    def _bounded(self, logits: Tensor) -> Tensor:
        cap = self.logit_cap
        return logits if cap is None else cap * torch.tanh(logits / cap)

    @property
    def logit_cap(self) -> float | None:
        """What bounds the logits of column 0 (Gemma 2)."""
        return getattr(self.llm.config, "final_logit_softcapping", None)

    def first_table(self, hidden_ND: Tensor) -> tuple[Tensor, Tensor]:
        """Return (hidden_ND, table_VD) whose product are the logits of `first_logits`, unbounded; a bias is a column of
        the table.
        """
        head, new_VD = self.llm.get_output_embeddings(), self.new_head.weight[: self.first_size - self.vocab.text_size]
        table_VD = torch.cat([head.weight, new_VD])
        if head.bias is None:
            return hidden_ND, table_VD
        return F.pad(hidden_ND, (0, 1), value=1.0), torch.cat(
            [table_VD, F.pad(head.bias, (0, len(new_VD)))[:, None]], dim=1
        )

    def code_tables(self, hidden_ND: Tensor, ids_NK: Tensor) -> list[tuple[slice, Tensor, Tensor]]:
        """Return (later columns, hidden, table of their choices) whose products are the logits of columns 1..K-1 of the
        rows `ids_NK`.

        With `depth` the hidden states depend on the ids to the left, and each column has its own.
        """
        if self.vocab.num_columns == 1:
            return []
        if self.depth is None:
            return [(slice(None), hidden_ND, self._parallel_table)]
        own_NJW = self.depth(hidden_ND, self.new_embedding(ids_NK[:, :-1] - self.vocab.text_size))
        return [(slice(j, j + 1), own_NJW[:, j], table_CW) for j, table_CW in enumerate(self.depth.tables)]

    def generate_codes(self, hidden_ND: Tensor, first_N: Tensor, choose: Callable[[Tensor, int], Tensor]) -> Tensor:
        """Return codes_NJ of columns 1..K-1; `first_N` are the ids chosen for column 0.

        `choose` gets logits and the column they are of: logits_NC of one column after the other with `depth`, else
        logits_NJC of all of them.
        """
        if self.vocab.num_columns == 1:
            return first_N.new_zeros(len(first_N), 0)
        if self.depth is None:
            logits_NR = F.linear(hidden_ND, self._parallel_table)
            return choose(logits_NR.view(len(hidden_ND), self.vocab.num_codebooks - 1, -1), 1)
        starts = self.vocab.codebook_starts
        embedding = lambda ids_N: self.new_embedding(ids_N - self.vocab.text_size)  # noqa: E731
        embed = lambda k, codes_N: embedding(codes_N + starts[k])  # noqa: E731
        chosen = self.depth.generate(hidden_ND, embedding(first_N), choose, embed)
        return torch.stack(list(chosen), dim=1)

    @property
    def _parallel_table(self) -> Tensor:
        return self.new_head.weight[self.vocab.codebook_starts[1] - self.vocab.text_size :]


def make_llm(config: PretrainedConfig) -> PreTrainedModel:
    """Return an LLM of this architecture with random weights, in float32."""
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32, **attention_of(config))


def attention_of(config: PretrainedConfig) -> dict[str, str]:
    """Return the attention of an LLM: Gemma 2 bounds its scores, which only the eager one of transformers does (and
    FlexAttention).
    """
    return {"attn_implementation": "eager"} if getattr(config, "attn_logit_softcapping", None) else {}


def layer_masks(
    mask_B1QL: Tensor, config, age_B1QL: Tensor, added: torch.dtype | None = None
) -> Tensor | dict[str, Tensor]:
    """Return a boolean mask as the LLM's layers want it, which transformers passes on as it is.

    Sliding layers (Gemma 2 and 3; some Qwens) see their window only: what lies less than it before a row (`age`). With
    a type `added`, and for eager attention (Gemma 2), it is a mask to add to the scores instead of selecting by it.
    """
    kinds = getattr(config, "layer_types", None) or ()
    masks = {"full_attention": mask_B1QL}
    if "sliding_attention" in kinds:
        masks["sliding_attention"] = mask_B1QL & (age_B1QL < config.sliding_window)
    if added or config._attn_implementation == "eager":
        dtype = added or torch.get_default_dtype()
        masks = {
            kind: torch.zeros_like(mask, dtype=dtype).masked_fill(~mask, torch.finfo(dtype).min)
            for kind, mask in masks.items()
        }
    return masks if len(masks) > 1 else masks["full_attention"]


def is_speech(vocab: Vocabulary, ids: Tensor) -> Tensor:
    """Say which ids stand in column 0 within a segment of speech: codes, and what ends it."""
    return (ids >= vocab.codes_start) | torch.isin(ids, torch.tensor(vocab.speech_ends, device=ids.device))
