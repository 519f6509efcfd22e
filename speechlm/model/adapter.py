"""LoRA on the LLM of a speech LLM, by peft: ESPnet's option --use_adapter, with ESPnet's names in --adapter_conf.

The LLM's weights are frozen, each chosen linear layer W gets W + (alpha / rank) B A (arXiv 2106.09685). The tables and
heads of codes stay trainable. A training produces the merged weights, a model folder like any other, and beside them
`adapter/` as peft reads it.
"""

from dataclasses import dataclass
from pathlib import Path

from peft import LoraConfig, get_peft_model_state_dict, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from safetensors.torch import save_file
from torch import Tensor, nn

from speechlm.data.files import share, storage_errors
from speechlm.data.settings import Above0, Choice, Positive, Share, fill
from speechlm.model.tensors import whole

NAME = "default"  # peft's name of the only adapter


@dataclass(frozen=True)
class AdapterConfig:
    """`--adapter_conf`. `target_modules` are the ends of layer names; empty: all linear layers but the head."""

    rank: Positive = 8
    alpha: Above0 = 16.0
    dropout_rate: Share = 0.0
    target_modules: tuple[str, ...] = ()
    bias_type: Choice("none", "all", "lora_only") = "none"


def add_lora(llm: nn.Module, conf: dict) -> None:
    """Put adapters into a Hugging Face causal LM, in place, and freeze the rest; ValueError for settings that do not
    fit it.
    """
    config = fill(AdapterConfig, conf, "--adapter_conf")
    lora = LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout_rate,
        target_modules=list(config.target_modules) or "all-linear",
        bias=config.bias_type,
        task_type="CAUSAL_LM",
    )
    try:
        inject_adapter_in_model(lora, llm)
    except ValueError as error:  # no layer of that name
        linear = sorted(
            {name.rpartition(".")[2] for name, module in llm.named_modules() if isinstance(module, nn.Linear)}
        )
        raise ValueError(
            f"--adapter_conf: {str(error).splitlines()[0]} The LLM's linear layers are {', '.join(linear)}."
        ) from None
    if isinstance(llm.get_output_embeddings(), LoraLayer):
        raise ValueError(
            f"--adapter_conf: target_modules {', '.join(config.target_modules)} names the text head too, which the loss"
            " reads as one table with the heads of codes. Expected layers of the backbone: leave the head out."
        )


def has_lora(model: nn.Module) -> bool:
    """Tell whether a model has adapters."""
    return any(isinstance(module, LoraLayer) for module in model.modules())


def merged_state(model: nn.Module) -> dict[str, Tensor]:
    """Return the state of a model as if it had no adapters: names as before, their products added to the weights."""
    state = model.state_dict(keep_vars=True)  # tied tensors are one object
    for name, module in model.named_modules():
        if isinstance(module, LoraLayer):
            own = {key: state.pop(f"{name}.{key}").detach() for key in module.state_dict()}
            base = {
                key.removeprefix("base_layer."): tensor for key, tensor in own.items() if key.startswith("base_layer.")
            }
            base["weight"] = base["weight"] + module.get_delta_weight(NAME).to(base["weight"])
            state |= {f"{name}.{key}": tensor for key, tensor in base.items()}
    return state


def save_adapter(folder: Path | None, llm: nn.Module) -> None:
    """Write the adapters alone as peft reads them, for `PeftModel.from_pretrained(llm, folder)`.

    A sharded model is gathered, by all ranks together; ranks without a folder only contribute their part.
    """
    state = {
        f"base_model.model.{key}": whole(tensor).contiguous().cpu()
        for key, tensor in get_peft_model_state_dict(llm).items()
    }
    if folder is None:
        return
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "adapter_model.safetensors"
    with storage_errors(path):
        save_file(state, path, metadata={"format": "pt"})
        share(path)
        llm.peft_config[NAME].save_pretrained(folder)


def describe(model: nn.Module) -> str:
    """Say how much of a model is trained: "1.2 of 97.3 million parameters trained (1.3 %)"."""
    total = sum(p.numel() for p in model.parameters())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return f"{trained / 1e6:.2f} of {total / 1e6:.2f} million parameters are trained ({trained / total:.1%})"
