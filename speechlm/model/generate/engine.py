"""Decoding of many examples in a fixed number of slots: one that ends leaves, and one that waits enters.

Letters in shapes: B slots in use, C columns of a row, D model width, L positions, P rows of prefixes.
"""

import gc
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from speechlm.model.generate.cache import SlotCache
from speechlm.model.generate.options import Generated
from speechlm.model.generate.rules import Rule
from speechlm.model.speechlm import SpeechLM, layer_masks

PREFILL_ROWS = 2**14  # of one pass over the prefixes of newcomers: bounds its memory
STEPS_UNSEEN = 8  # on a GPU, between two looks at what has ended, each of which waits for it
SMALLEST_WIDTH = 128  # columns that a step with fixed shapes attends to: this many, or two, four, ... times as many


@dataclass
class Seat:
    """An example that is being decoded, as the host knows it without asking the device."""

    key: int
    prefix_rows: int
    steps: int = 0


class Engine:
    """Decodes by a rule, `examples` at once, none of which needs more than `length` positions (prefix and output).

    With `fixed` shapes (on GPUs, where each is a CUDA graph) sizes are powers of two, and what is beyond the examples
    in use is computed for nothing.
    """

    def __init__(self, rule: Rule, examples: int, length: int, fixed: bool | None = None):
        on_gpu = rule.device.type == "cuda"
        self.fixed = on_gpu if fixed is None else fixed
        self.rule, self.length = rule, -(-length // SMALLEST_WIDTH) * SMALLEST_WIDTH if self.fixed else length
        self.examples = power_of_two(examples) if self.fixed else examples
        self.every = STEPS_UNSEEN if self.fixed else 1
        self.cache = SlotCache(self.examples * rule.width, self.length)
        self.start = {name: value.to(rule.device) for name, value in rule.start().items()}
        self.state = {name: repeat(value, self.examples) for name, value in self.start.items()}
        self.state["position"] = torch.zeros_like(self.state["step"])
        self.columns_L = torch.arange(self.length, device=rule.device)
        self.graphs = Graphs() if on_gpu else None
        self.waiting: deque[tuple[int, np.ndarray, int]] = deque()
        self.seats: list[Seat] = []

    def add(self, key: int, prefix: np.ndarray, number: int | None = None) -> None:
        """Let an example wait for a place; `number` (its key) is what its samples depend on."""
        if len(prefix) + self.rule.rows - 1 > self.length:
            raise ValueError(
                f"an example of {len(prefix)} rows and up to {self.rule.rows} more does not fit into {self.length} "
                "positions. Expected a shorter input, or fewer max_rows."
            )
        self.waiting.append((key, prefix, key if number is None else number))

    @torch.inference_mode()
    def run(self, partial: bool = False) -> Iterator[tuple[int, Generated]]:
        """Yield (key, output) of examples as they end, until none is left; with `partial` also what there is of the
        others after each look.
        """
        with sdpa_kernel(
            [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
        ):  # cuDNN's plans each new shape for 50 ms
            while self.waiting or self.seats:
                self._admit()
                for _ in range(self.every):
                    self._advance()
                yield from self._collect(partial)

    def _admit(self) -> None:
        """Give free places to those who wait; not for a few of them, as a pass over prefixes holds up all others."""
        free = self.examples - len(self.seats)
        if self.seats and free < self.examples / 8:
            return
        while self.waiting and free > 0:
            newcomers, longest = [], 0
            while self.waiting and len(newcomers) < free:
                longest = max(longest, len(self.waiting[0][1]))
                if newcomers and longest * (len(newcomers) + 1) > PREFILL_ROWS:
                    break
                newcomers.append(self.waiting.popleft())
            self._seat(newcomers)
            free -= len(newcomers)

    def _seat(self, newcomers: list[tuple[int, np.ndarray, int]]) -> None:
        """Run all rows of the prefixes but the last, which is the first row of a step."""
        W, device, lengths = self.rule.width, self.rule.device, [len(prefix) for _, prefix, _ in newcomers]
        slot_B = torch.arange(len(self.seats) * W, (len(self.seats) + len(newcomers)) * W, device=device)
        ids_BPC = np.full((len(newcomers), max(lengths), newcomers[0][1].shape[1]), self.rule.vocab.pad_id)
        for ids_PC, (_, prefix, _) in zip(ids_BPC, newcomers):
            ids_PC[: len(prefix)] = prefix
        if max(lengths) > 1:
            self._prefill(torch.from_numpy(ids_BPC[:, :-1]).to(device), slot_B)
        own = {
            "row": np.stack([prefix[-1] for _, prefix, _ in newcomers]),
            "number": [number for *_, number in newcomers],
        }
        own["position"] = np.array(lengths) - 1
        for name, start in self.start.items():
            self.state[name][slot_B] = repeat(start, len(newcomers))
        for name, values in own.items():
            self.state[name][slot_B] = torch.as_tensor(np.array(values), device=device).repeat_interleave(W, dim=0)
        self.seats += [Seat(key, len(prefix)) for key, prefix, _ in newcomers]

    def _prefill(self, ids_BPC: Tensor, slot_B: Tensor) -> None:
        position_P = self.columns_L[: ids_BPC.shape[1]]
        age_11PP = (position_P.unsqueeze(1) - position_P)[None, None]
        run_rows(self.rule.model, ids_BPC, age_11PP, position_P.expand(len(ids_BPC), -1), self.cache.fill(slot_B))

    def _advance(self) -> None:
        """Run one step of as many slots and columns as are in use."""
        examples, width, first = len(self.seats), max(seat.prefix_rows + seat.steps for seat in self.seats), 0
        if self.fixed:
            examples, width = power_of_two(examples), max(SMALLEST_WIDTH, power_of_two(width))
        else:
            first = min(seat.prefix_rows for seat in self.seats) - 1
        sizes = examples * self.rule.width, min(width, self.length), first
        if self.graphs:
            self.graphs.run(self._step, sizes)
        else:
            self._step(*sizes)
        for seat in self.seats:
            seat.steps += 1

    def _step(self, slots: int, width: int, first: int) -> None:
        """Run the next row of the first slots, which see `width` columns, and choose the rows after them; columns
        before `first` hold prefixes.
        """
        used = {name: value[:slots] for name, value in self.state.items()}
        position_B = used["position"]
        age_B11L = (position_B.unsqueeze(1) - self.columns_L[:width])[:, None, None]
        cache = self.cache.step(position_B, width)
        hidden_B1D = run_rows(self.rule.model, used["row"].unsqueeze(1), age_B11L, position_B.unsqueeze(1), cache)
        source_B = self.rule.next(hidden_B1D.squeeze(1), used)
        if source_B is not None:
            self.cache.copy(source_B, slice(slots), slice(first, width))
        used["step"].add_(1)
        position_B.add_(1).clamp_(max=self.length - 1)

    def _collect(self, partial: bool) -> Iterator[tuple[int, Generated]]:
        """Yield what has ended, and give its places to the last ones."""
        W, slots = self.rule.width, len(self.seats) * self.rule.width
        done = self.state["done"][:slots:W].tolist()
        chosen = [i for i, ended in enumerate(done) if ended or partial]
        if not chosen:
            return
        index_B = torch.tensor(chosen, device=self.rule.device) * W
        found = {name: value[index_B].cpu().numpy() for name, value in self.state.items()}
        outputs = []
        for place, i in enumerate(chosen):
            slot, seat = {name: value[place] for name, value in found.items()}, self.seats[i]
            outputs.append(
                (seat.key, Generated(self.rule.output(slot, seat.steps), done[i] and self.rule.ended(slot), done[i]))
            )
        self._close_up([i for i, ended in enumerate(done) if not ended])
        yield from outputs

    def _close_up(self, kept: list[int]) -> None:
        """Move the last examples to places that are free, so that those in use are the first ones."""
        free = sorted(set(range(len(kept))) - set(kept))
        late = [i for i in kept if i >= len(kept)]
        if free:
            beams = torch.arange(self.rule.width)
            source_B, target_B = (
                (torch.tensor(some).unsqueeze(1) * self.rule.width + beams).flatten().to(self.rule.device)
                for some in (late, free)
            )
            self.cache.copy(
                source_B, target_B, slice(max(self.seats[i].prefix_rows + self.seats[i].steps for i in late))
            )
            for value in self.state.values():
                value[target_B] = value[source_B]
        places = dict(zip(free, late))
        self.seats = [self.seats[places.get(i, i)] for i in range(len(kept))]


class Graphs:
    """A step as a CUDA graph for each of its sizes: one launch instead of hundreds.

    The first call of a size runs as it is, so that libraries set themselves up; the second is captured, and replayed
    from then on. What is thrown away meanwhile must wait: freeing an older engine's graphs would break the capture.
    """

    def __init__(self):
        self.graphs, self.pool = {}, torch.cuda.graph_pool_handle()

    def run(self, step: Callable[..., None], sizes: tuple[int, ...]) -> None:
        """Do the step of these sizes."""
        if sizes not in self.graphs:
            self.graphs[sizes] = None
            step(*sizes)
            return
        if self.graphs[sizes] is None:
            graph = torch.cuda.CUDAGraph()
            with no_collection(), torch.cuda.graph(graph, pool=self.pool):
                step(*sizes)
            self.graphs[sizes] = graph
        self.graphs[sizes].replay()


@contextmanager
def no_collection() -> Iterator[None]:
    """Keep Python from collecting garbage meanwhile."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def run_rows(model: SpeechLM, ids_BPC: Tensor, age_B1PL: Tensor, position_BP: Tensor, cache: SlotCache) -> Tensor:
    """Return hidden_BPD of rows; `age` is how far before a row each column lies (negative: after it)."""
    weight = model.new_head.weight  # on GPUs a mask is added: every layer would make that of a boolean one
    masks = layer_masks(age_B1PL >= 0, model.llm.config, age_B1PL, weight.dtype if weight.is_cuda else None)
    out = model.llm.get_decoder()(
        inputs_embeds=model.embed(ids_BPC),
        attention_mask=masks,
        position_ids=position_BP,
        past_key_values=cache,
        use_cache=True,
        cache_position=position_BP[0],
    )
    return out.last_hidden_state


def repeat(values: Tensor, times: int) -> Tensor:
    """Return `values` so many times along the first dimension."""
    return values.repeat(times, *[1] * (values.ndim - 1))


def power_of_two(number: int) -> int:
    """Return the smallest power of two that is no less."""
    return 1 << (number - 1).bit_length()
