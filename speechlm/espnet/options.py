"""The options of training, as arguments of ESPnet's parser. Only what starts at once is imported here of ESPnet."""

import argparse
from pathlib import Path
from typing import Any, Literal, Sequence

from espnet2.utils.nested_dict_action import NestedDictAction
from espnet2.utils.types import float_or_none, int_or_none, str2bool, str_or_none

from speechlm.data.settings import Count, Option, Positive, Share, Weight, read_mapping, read_value
from speechlm.espnet.working import WORKING, advice_on
from speechlm.tasks import TOKEN_TASKS, get_task
from speechlm.tokens.patterns import PATTERN, PATTERNS

PLAIN = {  # what ESPnet's types of options stand for
    None: str,
    int: int,
    float: float,
    str: str,
    str2bool: bool,
    str_or_none: str | None,
    int_or_none: int | None,
    float_or_none: float | None,
}
WANTED = {  # of mappings, and of ESPnet's options that have a range
    "mixture": dict[str, Weight],
    "task_langs": dict[str, list[str]],
    "task_sets": dict[str, list[str]],
    "seed": Count,
    "ngpu": Count,
    "num_workers": Count,
    "accum_grad": Positive,
    "log_interval": Positive | None,
    "grad_clip": Weight,
}


def own_options() -> list[argparse.Action]:
    """Return the options that are ours."""
    parser = argparse.ArgumentParser(add_help=False)
    add_arguments(parser)
    return parser._actions


def require_working(args: argparse.Namespace, defaults: dict) -> None:
    """Raise ValueError if an option of ESPnet's was given that would do nothing here; `defaults` are what the parser
    had before.
    """
    known = WORKING | {action.dest for action in own_options()}
    given = [
        name for name, default in defaults.items() if name not in known and getattr(args, name, default) != default
    ]
    if given:
        lines = [
            f"--{name} {getattr(args, name)}: has no effect in this training. What there is: {advice_on(name)}"
            for name in given
        ]
        raise ValueError("\n".join(lines))


def parse_options(parser: argparse.ArgumentParser, argv: Sequence[str]) -> argparse.Namespace:
    """Parse a command line over the settings of --overlay (the last one wins) over those of --config."""
    files = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    files.add_argument("--config")
    files.add_argument("--overlay", nargs="*", default=[])
    named, rest = files.parse_known_args(argv)
    known = {action.dest: action for action in parser._actions}
    defaults = {name: parser.get_default(name) for name in known}
    for path in filter(None, [named.config, *named.overlay]):
        settings = read_mapping(path)
        if unknown := sorted(set(settings) - set(known)):
            found = f"unknown settings {unknown}"
            raise ValueError(
                f"{path}: found {found}; expected options of the program (--help lists them) and their values"
            )
        parser.set_defaults(
            **{name: read_value(value, wanted_of(known[name]), f"{path}: {name}") for name, value in settings.items()}
        )
    args = parser.parse_args(rest)
    for name in WANTED.keys() & known.keys():
        setattr(args, name, read_value(getattr(args, name), WANTED[name], f"--{name}"))
    for name in args.mixture:
        get_task(name)
    if args.mixture and not any(args.mixture.values()):
        raise ValueError(f"mixture: found {args.mixture}; expected a share above 0 for some task")
    args.config, args.overlay = named.config, named.overlay
    args.train_sets = [name for name in args.train_sets if name]
    require_working(args, defaults)
    return args


def wanted_of(action: argparse.Action) -> Any:
    """Return the type that a setting of a file must have to stand for an option of the command line."""
    if action.dest in WANTED:
        return WANTED[action.dest]
    wanted = action.type.wanted if isinstance(action.type, Option) else PLAIN.get(action.type, Any)
    if isinstance(action, NestedDictAction):
        wanted = Any
    if action.choices and all(isinstance(choice, str) for choice in action.choices):
        wanted = Literal[tuple(action.choices)]
    if action.nargs in ("*", "+"):
        wanted = list[wanted]
    return Any if wanted is Any else wanted | None if action.default is None else wanted


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add our options to ESPnet's parser."""
    parser.add_argument(
        "--overlay",
        nargs="*",
        default=[],
        help="YAML files whose settings override those of --config; the last one takes precedence",
    )
    _add_data(parser)
    _add_model(parser)
    _add_steps(parser)
    _add_safety(parser)
    _add_estimate(parser)


def _add_data(parser: argparse.ArgumentParser) -> None:
    data = parser.add_argument_group("Data")
    data.add_argument("--dump", default=None, help="folder with <set>/manifest.jsonl")
    data.add_argument("--train_sets", nargs="*", default=[], help="sets to train on")
    data.add_argument("--dev_set", nargs="+", default=None, help="sets for the validation loss")
    data.add_argument("--src_lang", default="en", help="source language of translation")
    data.add_argument("--tgt_lang", default="en", help="target language of translation")
    data.add_argument("--langs", nargs="+", default=[], help="languages that get a token (default: source and target)")
    data.add_argument("--mixture", action=NestedDictAction, default={}, help="task -> share of the examples")
    data.add_argument("--task_langs", action=NestedDictAction, default={}, help="task -> its languages (default: all)")
    data.add_argument(
        "--task_sets", action=NestedDictAction, default={}, help="task -> names of the sets that it uses (default: all)"
    )
    data.add_argument(
        "--directions", nargs="+", default=[], help="translations trained: en-zh zh-en (default: source to target)"
    )
    data.add_argument(
        "--condition_weight",
        type=Option(Weight),
        default=1.0,
        help="loss weight of the rows before the target (0: SFT)",
    )
    data.add_argument(
        "--hide_target",
        type=Option(Share),
        default=0.0,
        help="share of the target's speech frames that the model must predict in training without being shown them",
    )
    data.add_argument(
        "--prompt_frames", type=Option(Positive), default=16, help="length of a voice prompt, in codec frames"
    )
    data.add_argument("--rows", type=Option(Positive), default=8, help="rows of a packed batch")
    data.add_argument("--row_length", type=Option(Positive), default=256, help="positions of a row")
    data.add_argument(
        "--max_left_out",
        type=Option(Share),
        default=0.05,
        help="largest share of a task's examples that may be left out because they are longer than a row",
    )
    data.add_argument("--eval_examples", type=Option(Positive), default=50, help="validation examples per task")


def _add_model(parser: argparse.ArgumentParser) -> None:
    model = parser.add_argument_group("Model")
    model.add_argument(
        "--codec",
        default=None,
        help="codec that made the codes: codec_16k, encodec_24khz:6, mimi:8, a folder, ...: see README, Codecs",
    )
    model.add_argument("--llm", type=str_or_none, default=None, help="textual LLM: Hugging Face name or folder")
    model.add_argument(
        "--llm_random",
        type=str2bool,
        default=False,
        help="only take the LLM's architecture (with --init_from: no effect)",
    )
    model.add_argument("--init_from", type=str_or_none, default=None, help="trained model folder to start from")
    model.add_argument(
        "--codebook_init",
        type=str2bool,
        default=True,
        help=(
            "initialise code embeddings from the codec's codebooks (false: at random, as in the paper; with"
            " --init_from the model's are kept)"
        ),
    )
    model.add_argument(
        "--pattern",
        default=None,
        choices=list(PATTERNS),
        help=f"codebook pattern: parallel, delay, flatten or depth (default: {PATTERN})",
    )
    model.add_argument(
        "--tasks", nargs="+", default=None, help=f"tasks that get a token (default: {' '.join(TOKEN_TASKS)})"
    )
    model.add_argument(
        "--stream_weights",
        type=Option(Weight),
        nargs="+",
        default=[1.0],
        help="loss weight of each codebook; the last is repeated for further codebooks, and surplus ones are ignored",
    )
    model.add_argument("--text_weight", type=Option(Weight), default=1.0, help="loss weight of text and special tokens")


def _add_steps(parser: argparse.ArgumentParser) -> None:
    steps = parser.add_argument_group("Steps")
    steps.add_argument("--max_steps", type=Option(Positive), default=1000)
    steps.add_argument("--warmup_steps", type=Option(Count), default=50)
    steps.add_argument("--lr", type=Option(Weight), default=1e-3, help="peak learning rate of AdamW")
    steps.add_argument(
        "--muon_lr",
        type=Option(Weight),
        default=0.0,
        help="peak learning rate of Muon for the backbone's matrices; 0: AdamW for all",
    )
    steps.add_argument(
        "--muon_ns", type=Option(Positive), default=5, help="Newton-Schulz iterations of Muon (3 learn as well as 5)"
    )
    steps.add_argument("--weight_decay", type=Option(Weight), default=0.01)
    steps.add_argument(
        "--final_lr_ratio", type=Option(Share), default=0.1, help="final learning rate as a fraction of the peak"
    )
    steps.add_argument("--save_interval", type=Option(Positive), default=200, help="steps between checkpoints")
    steps.add_argument(
        "--keep_steps",
        type=Option(Positive),
        nargs="*",
        default=[],
        help="steps whose weights are kept, in steps/<step>/",
    )
    steps.add_argument("--eval_interval", type=Option(Positive), default=500, help="steps between validations")
    steps.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float32"], help="autocast type")
    steps.add_argument(
        "--compile",
        default="auto",
        choices=["auto", "true", "false"],
        help=(
            "compile the LLM's layers and the loss; auto: on GPUs (the first steps take minutes, the others half"
            " the time)"
        ),
    )
    steps.add_argument(
        "--gradient_checkpointing",
        type=str2bool,
        default=False,
        help=(
            "keep only each layer's input, and recompute the rest in the backward pass: less memory, one more"
            " forward pass"
        ),
    )

    steps.add_argument(
        "--sharding",
        default="none",
        choices=["none", "full"],
        help=(
            "with several processes: each holds the whole model (none: DDP), or its part of weights, gradients"
            " and optimizer state (full: FSDP2)"
        ),
    )


def _add_safety(parser: argparse.ArgumentParser) -> None:
    safety = parser.add_argument_group("Safety")
    safety.add_argument(
        "--max_loss_ratio",
        type=Option(Weight),
        default=10.0,
        help=(
            "stop before learning from a batch whose loss is more than this many times the usual one, after warm-up (0:"
            " never; NaN always stops)"
        ),
    )
    safety.add_argument(
        "--skip_steps", type=Option(Count), nargs="+", default=[], help="steps whose batch is drawn but not trained on"
    )
    safety.add_argument(
        "--nproc",
        type=Option(Positive),
        default=1,
        help="processes on CPU, each with its own batches (on GPUs: --ngpu)",
    )
    safety.add_argument(
        "--nodes",
        "--num_nodes",
        type=Option(Positive),
        default=1,
        help=(
            "number of machines, with --ngpu or --nproc processes each: start it by srun with one task on each;"
            " without Slurm, use torchrun instead"
        ),
    )
    safety.add_argument(
        "--max_restarts",
        type=Option(Count),
        default=3,
        help="how many times several processes are restarted automatically after one has died",
    )
    safety.add_argument(
        "--dist_timeout_min",
        type=Option(Weight),
        default=30.0,
        help=(
            "with several processes: if one keeps the others waiting this many minutes, all say where they are and end"
        ),
    )


def _add_estimate(parser: argparse.ArgumentParser) -> None:
    estimate = parser.add_argument_group(
        "Dry run (--dry_run true: what the training would take, nothing is trained or written)"
    )
    estimate.add_argument(
        "--llm_model_config",
        type=Path,
        nargs="+",
        default=[],
        help="YAML files of an LLM that does not exist yet, in place of --llm; later files override earlier ones",
    )
    estimate.add_argument(
        "--gpu", type=str_or_none, default=None, help="GPU to estimate for: A100, H100, ... or its bf16 FLOP/s"
    )
    estimate.add_argument(
        "--mfu", type=Option(Share), default=None, help="share of these FLOP/s that is reached (default: as measured)"
    )
    estimate.add_argument(
        "--codec_shape",
        type=str_or_none,
        default=None,
        help="CODEBOOKSxCODES@RATE of a codec that is not on this machine",
    )
