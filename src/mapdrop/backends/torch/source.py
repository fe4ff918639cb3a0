"""Where a seeded layer's masks come from: a seed, a stream, and a step for each call that drops.

The n-th call has step n, whoever calls. A call that is recomputed has to see the step of its own
forward, however many came between. So each call also draws a number from PyTorch's generator and
remembers it. What recomputes (activation checkpointing, reversible networks) sets the generator
back: the same number comes again, and says which call it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Lock
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mapdrop.backends.torch._internals import SEEDS_LACK, function_transforms
from mapdrop.backends.torch.generator import fresh, fresh_seed, in_backward, recorded
from mapdrop.backends.torch.handles import CPU, Handles
from mapdrop.backends.torch.sharding import current
from mapdrop.spec import seed as seeds
from mapdrop.spec.sharding import Shard

REMEMBERED = 4096  # Calls of a layer whose recomputation still finds its step.
_counting = Lock()
_replaying: ContextVar[bool] = ContextVar("mapdrop_replaying", default=False)


class Source:
    """A layer's seed, stream and number of calls so far. A copy counts by itself."""

    seed: int
    stream: str
    count: int

    def __init__(self, seed: int, stream: str, count: int = 0) -> None:
        if SEEDS_LACK:
            raise RuntimeError(f"{SEEDS_LACK}; give drop(..., seed=, step=) the numbers instead")
        self.seed, self.stream, self.count = seed, stream, count
        self.of_many: bool = False  # Whether its layer stands for those of several models.
        self._numbers = np.zeros(REMEMBERED, np.int64)  # Of step n at n % REMEMBERED.
        self._shards: list[tuple[Shard, ...]] = [()] * REMEMBERED
        self.handle: Tensor = _handles.new(self)

    def __reduce__(self) -> Any:
        return Source, (self.seed, self.stream, self.count)

    def key_and_step(
        self, x: Tensor, rate: Tensor | None = None
    ) -> tuple[Tensor, Tensor] | tuple[int, int]:
        """Return the key and the step for dropping x; a call at a scheduled rate of 0 has none."""
        if self.of_many and not x.is_meta:
            raise RuntimeError(
                f"layer {self.stream!r} of a seeded model was moved to the meta device and is "
                "called with values: as the base of an ensemble (torch.func.stack_module_state) it "
                "would drop by its own seed for all members; seed the base anew if that is meant"
            )
        if recorded():
            number = fresh_seed(x.new_empty(0, device=CPU), rate)
        else:
            number = fresh(CPU)
            if not function_transforms():
                return self.key, self.step(int(number))
        drawn = torch.ops.mapdrop.call_words(number, self.handle, rate)
        drawn = drawn.to(x.device, non_blocking=True)  # No GPU is waited for.
        return drawn[:1], drawn[1:]

    def restart(self, count: int) -> None:
        """Set the number of calls and forget all of them."""
        number = seeds.check_uint64(count, "count")
        with _counting:
            self.count, self.of_many = number, False
            self._numbers.fill(0)

    @property
    def key(self) -> int:
        """The key of seed and stream."""
        return seeds.key(self.seed, self.stream)

    def step(self, number: int) -> int:
        """Return the next step and remember it by the number; a recomputation gets its own."""
        if torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing():
            raise RuntimeError(
                f"layer {self.stream!r} of a seeded model counts its steps on the host, so a CUDA "
                "graph would repeat one mask: capture the model unseeded, or without this layer"
            )
        with _counting:
            if in_backward() or _replaying.get():
                return self._step_of(number)
            self.count += 1
            at = self.count % REMEMBERED
            self._numbers[at], self._shards[at] = number, current()
            return self.count

    def _step_of(self, number: int) -> int:
        places = np.flatnonzero(self._numbers == number)
        if len(places) != 1:
            raise RuntimeError(self._lost(len(places)))
        (at,) = places.tolist()
        if self._shards[at] != current():
            raise RuntimeError(
                f"layer {self.stream!r} is recomputed as another part than its forward dropped: "
                "call backward inside the same mapdrop.torch.shard"
            )
        return self.count - (self.count - at) % REMEMBERED

    def _lost(self, found: int) -> str:
        told = f"layer {self.stream!r} of a seeded model is recomputed, and the state of PyTorch's "
        if found:
            return told + (
                f"CPU generator was the same in {found} of its calls, so nothing says which: do "
                "not set the generator (torch.manual_seed, torch.set_rng_state) between forwards"
            )
        return told + (
            f"CPU generator is that of none of its last {REMEMBERED} calls: keep "
            "preserve_rng_state=True for torch.utils.checkpoint; elsewhere keep "
            "torch.get_rng_state() before the forward and restore it before the recomputation"
        )


_handles: Handles[Source] = Handles("seeded")


@contextmanager
def replay() -> Iterator[None]:
    """Let seeded layers repeat the mask of the call that the generator is set back to.

    For code that runs a forward twice on purpose, as GradCache does: keep the generator's state
    (`torch.get_rng_state`) before the first, restore it before the second. Without the context a
    call has a new step, whatever that state. What autograd itself recomputes needs no context:
    activation checkpointing, reentrant or not, and reversible networks that restore the generator.

    Raises:
        RuntimeError: by a layer, where the generator's state is that of none of its last 4096
            calls, or of several.

    Examples:
        >>> net = mapdrop.torch.seeded(nn.Sequential(mapdrop.torch.Dropout(0.5)), seed=7)
        >>> state = torch.get_rng_state()
        >>> y = net(torch.ones(8))
        >>> torch.set_rng_state(state)
        >>> with mapdrop.torch.replay():
        ...     torch.equal(net(torch.ones(8)), y)
        True
    """
    before = _replaying.set(True)
    try:
        yield
    finally:
        _replaying.reset(before)


def _call_words(number: Tensor, handle: Tensor, rate: Tensor | None = None) -> Tensor:
    """Return the key and the step; a call that drops nothing is no step, and gets zeros."""
    source = _handles.find(handle)
    if rate is not None and rate == 0:
        return torch.zeros(2, dtype=torch.int64, device=CPU)
    key = source.key
    signed = key - 2**64 if key >= 2**63 else key
    return torch.tensor([signed, source.step(int(number))], device=CPU)


def _over_examples(
    info: Any, dims: tuple[int | None, ...], number: Tensor, *given: Any
) -> tuple[Tensor, int]:
    """Return a step for each example under vmap."""
    each = number.movedim(dims[0] or 0, 0).unbind()
    return torch.stack([torch.ops.mapdrop.call_words(one, *given) for one in each]), 0


_library = torch.library.Library("mapdrop", "FRAGMENT")
_library.define(
    "call_words(Tensor number, Tensor source, Tensor? rate=None) -> Tensor",
    tags=(torch.Tag.nondeterministic_seeded,),
)
_library.impl("call_words", _call_words, "CompositeExplicitAutograd")
torch.library.register_fake(
    "mapdrop::call_words",
    lambda number, source, rate=None: number.new_empty(2),
    lib=_library,
)
if hasattr(torch.library, "register_vmap"):  # From torch 2.5 on.
    torch.library.register_vmap("mapdrop::call_words", _over_examples, lib=_library)
