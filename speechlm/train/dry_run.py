"""What a training would take, before anything is spent: parameters, memory, tokens, hours, disk. Needs no weights and
no GPU.

The model is built without memory (torch's meta device) and counted; a sharded model, on a simulated group of ranks.
Everything else is an estimate; its formula is given beside it, and its assumptions are printed with it. Letters: N
positions of a packed batch, D model width, F width of the feed-forward layers, V rows of the first head.
"""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn
from torch.testing._internal.distributed.fake_pg import FakeStore
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from speechlm.codecs import HUB, load_codec
from speechlm.data.layers import source_of
from speechlm.data.llm_model import read_llm_model
from speechlm.data.settings import read_json, read_yaml
from speechlm.model.depth import DepthTransformer
from speechlm.tasks import TOKEN_TASKS
from speechlm.tokens.patterns import PATTERN, get_pattern
from speechlm.tokens.vocabulary import Vocabulary, make_vocabulary
from speechlm.train.loss import CHUNK_LOGITS
from speechlm.train.sharding import shard
from speechlm.train.speeds import closest, read_speeds

LLMS = Path(__file__).parent.parent / "assets" / "llms.yaml"
# FLOP/s of dense bf16 matrix products, from the makers' data sheets (half of what they quote "with sparsity").
GPUS = {"A10": 125e12, "A100": 312e12, "L40S": 362e12, "H100": 989e12, "H200": 989e12, "RTX4090": 165e12}
GB = 1e9
ROOM = {"A10": 24, "A100": 80, "L40S": 48, "H100": 80, "H200": 141, "RTX4090": 24}  # GB of memory; an A100 may have 40
CODE_BYTES = 4  # int32 in the archives


@dataclass(frozen=True)
class CodecShape:
    """What matters of a codec here; `fingerprint` is a placeholder, as the codec is not loaded."""

    num_codebooks: int
    codebook_size: int
    frame_rate_hz: float
    fingerprint: str = "not loaded"


@dataclass(frozen=True)
class Text:
    """The same of a text tokenizer."""

    size: int
    fingerprint: str = "not loaded"


@dataclass(frozen=True)
class Plan:
    """A training in numbers: what is counted, and what follows from the options. Bytes are per process."""

    parameters: dict[str, int]
    matrix_parameters: int
    mine: int  # parameters that a process keeps: all, or its part
    layer: int  # parameters of a layer
    config: PretrainedConfig
    args: argparse.Namespace
    codec: CodecShape

    @property
    def processes(self) -> int:
        return max(self.args.ngpu, self.args.nproc) * self.args.nodes

    @property
    def batch_positions(self) -> int:
        """Positions of one batch of one process."""
        return self.args.rows * self.args.row_length

    @property
    def step_positions(self) -> int:
        return self.batch_positions * self.args.accum_grad * self.processes

    @property
    def total(self) -> int:
        return sum(self.parameters.values())

    def memory(self) -> dict[str, float]:
        """Return bytes by what holds them. Weights, gradients and AdamW's two moments are float32; Muon has one
        moment.
        """
        share = self.mine / self.total
        muon = self.matrix_parameters * share if self.args.muon_lr else 0
        copies = (
            2 * self.total if self.args.dtype == "bfloat16" else 0
        )  # autocast keeps the weights of a forward pass in bf16
        whole = share == 1
        return {
            "weights": 4 * self.mine + (copies if whole else 0),
            "gradients": 4 * self.mine,
            "optimizer": 8 * (self.mine - muon) + 4 * muon,
            **({} if whole else {"gathered": self.gathered_bytes()}),
            "activations (estimate)": self.activation_bytes(),
            "logits (estimate)": self.logit_bytes(),
        }

    def gathered_bytes(self) -> float:
        """Bytes of a sharded model that are gathered at once: two layers, and everything outside the layers, with its
        gradients (and their float32 copy).
        """
        size = 2 if self.args.dtype == "bfloat16" else 4
        rest = self.total - self.layer * self.config.num_hidden_layers
        return size * (2 * self.layer + rest) + (size + 4) * max(rest, self.layer)

    def activation_bytes(self) -> float:
        """Bytes kept for the backward pass: per position and layer the inputs of its matrix products and
        non-linearities.

        Residual stream and norms in float32 (4 x D x 4 bytes); queries, keys, values, attention output, gate, up, their
        product in the autocast type. Attention itself stores nothing (fused kernels). With gradient checkpointing only
        each layer's input stays.
        """
        c, size = self.config, 2 if self.args.dtype == "bfloat16" else 4
        head = getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads
        projections = head * (2 * c.num_attention_heads + 2 * c.num_key_value_heads)
        layer = 16 * c.hidden_size + size * (projections + 2 * c.hidden_size + 4 * c.intermediate_size)
        if self.args.gradient_checkpointing:
            return self.batch_positions * (4 * c.hidden_size * c.num_hidden_layers + layer)
        return self.batch_positions * layer * c.num_hidden_layers

    def logit_bytes(self) -> float:
        """Bytes of a chunk's logits (autocast type twice, float32 twice) and of the heads' table with its gradient in
        float32.
        """
        size = 2 if self.args.dtype == "bfloat16" else 4
        rows = self.config.vocab_size + self.codec.num_codebooks * self.codec.codebook_size
        logits = min(self.batch_positions * rows, CHUNK_LOGITS["cuda"])
        return logits * (2 * size + 8) + rows * self.config.hidden_size * (2 * size + 4)

    def flops_per_position(self) -> float:
        """6 per parameter of a matrix product, and 12 x layers x width x (half the row length: causal) of attention.

        Source: Chowdhery et al. 2022 (PaLM), appendix B. Of the tables only the heads are multiplied with.
        """
        c = self.config
        heads = (c.vocab_size + self.parameters["new heads"] // c.hidden_size) * c.hidden_size
        depth = self.parameters.get("depth transformer", 0) * (
            self.codec.num_codebooks - 1
        )  # as if every position were a frame
        return (
            6 * (self.parameters["backbone"] + heads + depth)
            + 6 * c.num_hidden_layers * c.hidden_size * self.args.row_length
        )

    def hours(self, flops: float, mfu: float) -> float:
        done = self.flops_per_position() * self.step_positions * self.args.max_steps
        return done / (flops * mfu * self.processes) / 3600


def show(args: argparse.Namespace) -> Plan:
    """Print the plan of a training for its parsed options; ValueError if the model's numbers cannot be had."""
    plan = make_plan(args)
    print(
        "\n".join(
            [
                (
                    f"dry run of {args.config}{''.join(f' + {path}' for path in args.overlay)}: nothing is trained or"
                    " written"
                ),
                *_lines(plan),
            ]
        )
    )
    return plan


def make_plan(args: argparse.Namespace) -> Plan:
    """Build the model without memory and count it."""
    codec, config = codec_shape(args.codec, args.codec_shape), llm_config(args)
    langs = args.langs or list(dict.fromkeys([args.src_lang, args.tgt_lang]))
    with torch.device("meta"):
        llm = AutoModelForCausalLM.from_config(config)
    vocab = _vocabulary(args, codec, llm.get_input_embeddings().weight.shape[0], langs)
    tables = (vocab.size - vocab.text_size) * config.hidden_size
    decoder = llm.get_decoder()
    backbone = list(decoder.named_parameters())
    text = llm.get_input_embeddings().weight.numel()
    every = sum(p.numel() for p in llm.parameters())
    inner = sum(p.numel() for _, p in backbone) - text
    parameters = {
        "backbone": inner,
        "text embedding": text,
        "text head": every - inner - text,
        "new tables": tables,
        "new heads": tables,
    }
    if get_pattern(vocab.pattern).DEPTH:  # in place of the heads of the later codebooks
        with torch.device("meta"):
            depth = DepthTransformer(config.hidden_size, vocab.codebook_sizes[1:])
        parameters["new heads"] -= sum(vocab.codebook_sizes[1:]) * config.hidden_size
        parameters["depth transformer"] = sum(p.numel() for p in depth.parameters())
    matrices = sum(p.numel() for name, p in backbone if "layers." in name and p.ndim == 2)
    layer = sum(p.numel() for p in decoder.layers[0].parameters())
    plan = Plan(parameters, matrices, sum(parameters.values()), layer, config, args, codec)
    if args.sharding == "full" and plan.processes > 1:
        new = plan.total - every
        plan = replace(plan, mine=_part_of(llm, new, plan.processes))
    return plan


def _part_of(llm: nn.Module, new: int, ranks: int) -> int:
    """Return how many parameters the first of these ranks keeps of an LLM with this many new ones, sharded as in
    training.
    """
    with torch.device("meta"):
        model = nn.Module()
        model.llm, model.new = llm, nn.Linear(1, new, bias=False)
    with pretended_ranks(ranks):
        shard(model, llm.get_decoder().layers, "cpu", "float32")
        return sum(p.to_local().numel() for p in model.parameters())


@contextmanager
def pretended_ranks(number: int) -> Iterator[None]:
    """Act as the first of this many ranks; the others do not exist."""
    torch.distributed.init_process_group("fake", store=FakeStore(), rank=0, world_size=number)
    try:
        yield
    finally:
        torch.distributed.destroy_process_group()


def _vocabulary(args: argparse.Namespace, codec: CodecShape, text_size: int, langs: list[str]) -> Vocabulary:
    if args.init_from and (Path(args.init_from) / "vocab.json").exists():
        return Vocabulary.load(Path(args.init_from) / "vocab.json")
    return make_vocabulary(Text(text_size), codec, args.tasks or TOKEN_TASKS, langs, args.pattern or PATTERN)


def codec_shape(spec: str, given: str | None) -> CodecShape:
    """Return a codec's shape: as given (`8x1024@75`), of pretrained EnCodec by its published numbers, else by loading
    it.
    """
    if given:
        try:
            books, _, rest = given.partition("x")
            size, _, rate = rest.partition("@")
            return CodecShape(int(books), int(size), float(rate))
        except ValueError:
            raise ValueError(
                f"--codec_shape {given}: expected CODEBOOKSxCODES@FRAMES_PER_SECOND, for example 8x1024@75"
            ) from None
    name, _, option = spec.partition(":")
    if (
        name == "encodec_24khz"
    ):  # 75 frames a second, codebooks of 1,024, so 0.75 kbit/s each: Defossez et al. 2022, section 3.2
        return CodecShape(round(float(option or 6) / 0.75), 1024, 75.0)
    if name in HUB:
        shape = HUB[name][1]
        return CodecShape(int(option or shape.num_codebooks), shape.codebook_size, shape.frame_rate_hz)
    try:
        codec = load_codec(spec)
    except ValueError as error:
        raise ValueError(
            f"{error}\nFor --dry_run its shape is enough: --codec_shape 8x1024@75 (codebooks x codes @ frames per"
            " second)"
        ) from None
    return CodecShape(codec.num_codebooks, codec.codebook_size, codec.frame_rate_hz)


def llm_config(args: argparse.Namespace) -> PretrainedConfig:
    """Return the LLM's architecture: of a trained model's folder, conf/llm_model.yaml, a folder, a name in
    assets/llms.yaml, or the hub.
    """
    name = args.llm
    if args.init_from and (Path(args.init_from) / "llm" / "config.json").exists():
        name = str(Path(args.init_from) / "llm")
    elif args.llm_model_config:
        content = read_llm_model(*args.llm_model_config)
        return _from_dict(content["model"] | {"vocab_size": content["vocab_size"]}, source_of(args.llm_model_config))
    known = read_yaml(LLMS)
    if name in known:
        return _from_dict(known[name]["config"], str(LLMS))
    if name and (Path(name) / "config.json").exists():
        return _from_dict(read_json(Path(name) / "config.json"), f"{name}/config.json")
    try:
        return AutoConfig.from_pretrained(name)
    except (OSError, ValueError, TypeError):
        raise ValueError(
            f"--llm {name}: no folder with a config.json, and not available from the hub. For --dry_run a"
            f" config.json is enough; or name one of {', '.join(known)}."
        ) from None


def _from_dict(values: dict, source: str) -> PretrainedConfig:
    kind = values.get("model_type")
    if kind not in CONFIG_MAPPING:
        raise ValueError(
            f"{source}: model_type is {kind!r}; expected one that transformers knows, such as llama or qwen2"
        )
    return CONFIG_MAPPING[kind](**{key: value for key, value in values.items() if key != "model_type"})


def peak_flops(gpu: str) -> float:
    """Return FLOP/s of a GPU's name or of a number ("312e12"); ValueError lists the names."""
    if gpu in GPUS:
        return GPUS[gpu]
    try:
        return float(gpu)
    except ValueError:
        raise ValueError(f"--gpu {gpu}: expected one of {', '.join(GPUS)}, or FLOP/s of bf16 such as 312e12") from None


def _lines(plan: Plan) -> list[str]:
    args, memory = plan.args, plan.memory()
    made = {name: count for name, count in plan.parameters.items() if count}
    codes = 1000 * 3600 * plan.codec.frame_rate_hz * plan.codec.num_codebooks * CODE_BYTES
    batch = (
        f"{args.rows} rows x {args.row_length} positions x {args.accum_grad} accumulated x {plan.processes} processes"
    )
    positions = plan.step_positions * args.max_steps
    return [
        (
            f"  parameters  {_millions(plan.total)}:"
            f" {', '.join(f'{name} {_millions(count)}' for name, count in made.items())}"
        ),
        (
            f"  memory      {sum(memory.values()) / GB:.1f} GB a process:"
            f" {', '.join(f'{name} {size / GB:.1f}' for name, size in memory.items())}{_fits(plan)}"
        ),
        f"  step        {plan.step_positions:,} positions: {batch}",
        (
            f"  steps       {args.max_steps:,}, so {positions / 1e9:.2f} billion positions in all (a position is a text"
            f" token or a frame of speech; as speech alone {positions / plan.codec.frame_rate_hz / 3600:,.0f} hours)"
        ),
        f"  time        {_time(plan)}",
        (
            f"  disk        {codes / GB:.1f} GB of codes for 1,000 hours of speech; "
            f"{2 * 12 * plan.total / GB:.1f} GB of checkpoints (weights and two moments, the last two kept)"
        ),
    ]


def _time(plan: Plan) -> str:
    args, work = plan.args, plan.flops_per_position() * plan.step_positions * plan.args.max_steps
    if not args.gpu:
        return f"{work:.2e} FLOP; give --gpu NAME ({', '.join(GPUS)}) or --gpu FLOP/s for hours"
    flops = peak_flops(args.gpu)
    mfu, source = _reached(plan)
    hours = plan.hours(flops, mfu)
    assumed = f"{flops / 1e12:g} TFLOP/s a process, of which {mfu:.0%} are reached{source}"
    return f"{hours:,.1f} hours, {hours * plan.processes:,.0f} GPU hours: {work:.2e} FLOP at {assumed}"


def _reached(plan: Plan) -> tuple[float, str]:
    """Return the share of the FLOP/s that is assumed, and where it is from: --mfu, or the closest training that was
    measured.
    """
    args = plan.args
    if args.mfu:
        return args.mfu, " (--mfu)"
    llm = sum(count for name, count in plan.parameters.items() if not name.startswith("new "))
    sizes = {"parameters": llm, "rows": args.rows, "row_length": args.row_length, "processes": plan.processes}
    speed, other = closest(read_speeds(), args.gpu, sizes)
    message = f": measured with {speed.llm} at commit {speed.commit} ({speed.command})"
    return speed.mfu, f"{message}; extrapolated, since that had {', '.join(other)}" if other else message


def _fits(plan: Plan) -> str:
    """Say whether the memory is enough for the GPU named, and what would help."""
    room = ROOM.get(plan.args.gpu)
    if not room or sum(plan.memory().values()) < room * GB:
        return f"; fits a {plan.args.gpu} ({room} GB)" if room else ""
    ways = {
        "--sharding full": plan.mine == plan.total,
        "--gradient_checkpointing true": not plan.args.gradient_checkpointing,
    }
    return (
        f"; MORE than a {plan.args.gpu} has ({room} GB):"
        f" {', '.join([way for way, left in ways.items() if left] + ['fewer --rows'])}"
    )


def _millions(count: int) -> str:
    return f"{count / 1e6:.1f} M"
