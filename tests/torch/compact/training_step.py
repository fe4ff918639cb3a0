"""Compare training steps of a model and its compact twin: outputs, gradients, buffers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mapdrop.torch import compact
from mapdrop.torch.compact import Costs
from tests.torch.compact.agreement import ALWAYS

TOLERANCE = 1e-10


@dataclass
class Step:
    """The results of a training step, by name, so that a failure says what differs."""

    outputs: dict[str, Tensor]
    gradients: dict[str, Tensor | None]
    before: dict[str, Tensor]
    after: dict[str, Tensor]
    random: Tensor


def flat(value: Any, name: str = "output") -> dict[str, Tensor]:
    """Return the tensors of a model's output by name."""
    if isinstance(value, Tensor):
        return {name: value}
    items = value.items() if isinstance(value, dict) else enumerate(value)
    return {key: t for at, part in items for key, t in flat(part, f"{name}[{at}]").items()}


def step(net: nn.Module, inputs: Sequence[Tensor], seed: int = 0) -> Step:
    """Run one step on copies of the inputs. Parameters get no gradients."""
    given = [x.detach().clone().requires_grad_(x.is_floating_point()) for x in inputs]
    before = {name: buffer.clone() for name, buffer in net.named_buffers()}
    torch.manual_seed(seed)
    outputs = flat(net(*given))
    random = torch.get_rng_state()
    own = torch.Generator().manual_seed(seed)
    loss = torch.zeros((), dtype=torch.float64)
    for y in outputs.values():
        loss = loss + (y * torch.randn(y.shape, generator=own, dtype=torch.float64)).sum()
    wanted = {f"inputs[{i}]": x for i, x in enumerate(given) if x.requires_grad}
    wanted |= {name: p for name, p in net.named_parameters() if p.requires_grad}
    if loss.requires_grad:
        found: tuple[Tensor | None, ...] = torch.autograd.grad(
            loss, list(wanted.values()), allow_unused=True
        )
    else:
        found = (None,) * len(wanted)
    return Step(
        {name: y.detach().clone() for name, y in outputs.items()},
        dict(zip(wanted, found, strict=True)),
        before,
        {name: buffer.clone() for name, buffer in net.named_buffers()},
        random,
    )


def check_close(name: str, dense: Tensor, fast: Tensor, tolerance: float = TOLERANCE) -> None:
    """Raise AssertionError if tensors differ in shape or dtype, or by more than rounding."""
    assert dense.shape == fast.shape, f"{name}: shape {tuple(dense.shape)}, {tuple(fast.shape)}"
    assert dense.dtype == fast.dtype, f"{name}: dtype {dense.dtype}, {fast.dtype}"
    assert torch.isfinite(dense).all(), f"{name}: the dense one is not finite"
    if dense.numel():
        worst = (dense - fast).abs().max().item()
        size = 1 + dense.abs().max().item()
        assert worst <= tolerance * size, f"{name}: {worst} apart, of {size}"


def check_step(dense: Step, fast: Step, tolerance: float = TOLERANCE) -> None:
    """Raise AssertionError with the name of what differs."""
    assert dense.outputs.keys() == fast.outputs.keys()
    for name, y in dense.outputs.items():
        check_close(name, y, fast.outputs[name], tolerance)
    assert dense.gradients.keys() == fast.gradients.keys()
    for name, gradient in dense.gradients.items():
        other = fast.gradients[name]
        assert (gradient is None) == (other is None), f"{name}: one has no gradient"
        if gradient is not None and other is not None:
            check_close(f"gradient of {name}", gradient, other, tolerance)
    assert torch.equal(dense.random, fast.random), "the random numbers drawn differ"
    assert dense.after.keys() == fast.after.keys()
    for name, buffer in dense.after.items():
        _check_buffer(name, buffer, fast.before[name], fast.after[name], tolerance)


def _check_buffer(name: str, dense: Tensor, old: Tensor, new: Tensor, tolerance: float) -> None:
    """Compare a buffer. Running statistics of a map that no sample needed may be the old ones."""
    assert dense.shape == new.shape
    if not dense.is_floating_point():
        assert torch.equal(dense, new), name
        return
    close = (dense - new).abs() <= tolerance * (1 + dense.abs())
    assert (close | (new == old)).all(), f"buffer {name}"


def check_same(
    make: Callable[[], nn.Module],
    inputs: Sequence[Tensor],
    costs: Costs | None = ALWAYS,
    seeds: Sequence[int] = (0, 1),
    tolerance: float = TOLERANCE,
) -> Any:
    """Check that training steps of a model and its compact twin are equal; return the twin.

    `make` returns the same model each time. The model gets the twin's buffers before each step.
    """
    dense, fast = make(), compact(make(), costs)
    for seed in seeds:
        dense.load_state_dict(fast.state_dict())
        check_step(step(dense, inputs, seed), step(fast, inputs, seed), tolerance)
    return fast


def skips(fast: Any) -> bool:
    """Return whether the last training forward skipped anything."""
    seen = fast.report()
    of_maps = any(line.reads < 1 or line.makes < 1 for line in seen.lines)
    return of_maps or any(branch.operations for branch in seen.branches)
