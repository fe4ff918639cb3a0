"""One seed for a whole model, so that a run's masks can be had again."""

from __future__ import annotations

import warnings
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from mapdrop import seed as seeds
from mapdrop.arrays.torch.seed import recorded
from mapdrop.torch.layers import Drop

Model = TypeVar("Model", bound=nn.Module)
STEP = "mapdrop_step"  # The buffer that `seeded` gives a model.


class Clock:
    """Counts a model's training forwards, in a buffer of the model's."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.seed = 0
        self.used: set[str] = set()

    @property
    def step(self) -> Tensor:
        """The number of the forward, an int64 tensor where the model is."""
        step: Tensor = getattr(self.model, STEP)
        return step

    def advance(self) -> None:
        """To the next step: before a forward, so that what backward recomputes sees the same."""
        self.step.add_(1)
        if not torch.compiler.is_compiling():
            self.used.clear()

    def read(self, stream: str) -> tuple[int, Tensor]:
        """The seed and the step for a layer's masks."""
        if not recorded() and torch._C._current_graph_task_id() < 0:
            if stream in self.used:
                warnings.warn(
                    f"layer {stream!r} of a seeded model was called twice in one forward: both "
                    "calls drop by the same mask; a layer of its own for each place draws anew",
                    stacklevel=3,
                )
            self.used.add(stream)
        return self.seed, self.step


def seeded(model: Model, seed: int) -> Model:
    """Make the masks of every drop layer in `model` a function of (seed, layer's name, step).

    Each layer's qualified name is its stream; the model's one step counter is advanced by each
    forward of `model` itself in training mode (so a checkpointed layer that is recomputed sees the
    same step), and is saved in the state dict, as the first forward's step 1: a run that is stopped
    and resumed continues with the masks it would have had. Between a checkpointed forward and its
    backward, run no other training forward of the model.

    Args:
        model: changed in place; its layers of `mapdrop.torch` at any depth.
        seed: a whole number from 0 to 2**64 - 1. Given again, the counter starts at 0 again.

    Returns:
        The model.

    Raises:
        TypeError, ValueError: for another seed.

    >>> net = mapdrop.torch.seeded(nn.Sequential(mapdrop.torch.Dropout(0.5)), seed=7)
    >>> list(net.state_dict())
    ['mapdrop_step']
    """
    number = seeds.whole(seed, "seed")
    clock = getattr(model, "_mapdrop_clock", None)
    if clock is None:
        clock = model._mapdrop_clock = Clock(model)  # type: ignore[assignment]
        model.register_buffer(STEP, torch.zeros((), dtype=torch.int64))
        model.register_forward_pre_hook(_advance)
    clock.seed = number
    clock.step.zero_()
    for name, layer in model.named_modules():
        if isinstance(layer, Drop):
            layer.source = (clock, name)
    return model


def _advance(model: nn.Module, args: Any) -> None:
    if model.training:
        model._mapdrop_clock.advance()  # type: ignore[operator, union-attr]
