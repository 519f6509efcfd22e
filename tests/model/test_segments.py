"""Attention by segments on the CPU: the same as over whole rows under transformers' mask, and only where it can be."""

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, PersimmonConfig

from speechlm.model.segments import LEAST, NAME, groups_of, use_segments

SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
SIZES |= {"num_key_value_heads": 2, "vocab_size": 20}


def make_llm(**more) -> torch.nn.Module:
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(LlamaConfig(**SIZES | more))


def positions_of(*rows: list[int]) -> torch.Tensor:
    """Return position_BL of rows of examples of these lengths."""
    return torch.stack([torch.cat([torch.arange(length) for length in row]) for row in rows])


def test_each_example_has_places_of_its_own_beside_others_of_nearly_its_length():
    position_BL = positions_of([9, 1, 4, 8, 1, 7, 10], [10, 10, 10, 1, 2, 3, 4])
    place_N, shapes = groups_of(position_BL)
    assert len(set(place_N.tolist())) == position_BL.numel()
    sizes = [longest for count, longest in shapes for _ in range(count)]
    starts = {sum(sizes[:i]) for i in range(len(sizes))}
    for at, position in enumerate(position_BL.flatten().tolist()):
        assert place_N[at].item() - position in starts, "an example lies in one piece"
    lengths = [9, 1, 4, 8, 1, 7, 10, 10, 10, 10, 1, 2, 3, 4]
    assert [longest for _, longest in shapes] == [10, 7, 4, 2, 1]
    assert sum(count for count, _ in shapes) == len(lengths)
    assert sum(count * longest for count, longest in shapes) < sum(lengths) / LEAST


def test_hidden_states_and_gradients_are_those_of_whole_rows():
    """With fewer heads of keys than of queries, an example of one position, and layers that are computed again."""
    position_BL = positions_of([9, 1, 14], [24], [5, 5, 5, 9])
    found = []
    for segments in (False, True):
        llm = make_llm().train()
        llm.gradient_checkpointing_enable({"use_reentrant": False})
        assert not segments or use_segments(llm)
        x_BLD = torch.randn(3, 24, 32, generator=torch.Generator().manual_seed(1)).requires_grad_()
        out_BLD = llm.get_decoder()(inputs_embeds=x_BLD, position_ids=position_BL, use_cache=False).last_hidden_state
        out_BLD.square().mul(torch.arange(32)).sum().backward()
        found.append([out_BLD, x_BLD.grad, *(p.grad for p in llm.get_decoder().layers.parameters())])
    for whole, ours in zip(*found):
        torch.testing.assert_close(ours, whole, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("hiding", [{"attention_dropout": 0.1}, {"sliding_window": 8}])
def test_an_llm_that_hides_more_keeps_its_attention(hiding):
    llm = make_llm(**hiding)
    before = llm.config._attn_implementation
    assert not use_segments(llm) and llm.config._attn_implementation == before != NAME
    assert use_segments(make_llm())


def test_an_llm_whose_layers_keep_the_positions_keeps_its_attention():
    config = PersimmonConfig(**{name: size for name, size in SIZES.items() if name != "num_key_value_heads"})
    llm = AutoModelForCausalLM.from_config(config)
    assert not use_segments(llm) and llm.config._attn_implementation != NAME


def test_the_config_that_is_saved_knows_nothing_of_it(tmp_path):
    llm = make_llm()
    use_segments(llm)
    assert NAME not in str(llm.config.to_dict())
    llm.save_pretrained(tmp_path)
    assert AutoModelForCausalLM.from_pretrained(tmp_path).config._attn_implementation == "sdpa"
