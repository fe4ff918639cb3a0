"""What one case compares: mapdrop's implementation, others', and what bounds them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from mapdrop.tools.adapters.adapter import Adapter, Work
from mapdrop.tools.bench.case import IN_PLACE, STEP, Case

if TYPE_CHECKING:
    from torch import Tensor, nn

    from mapdrop.tools.adapters.torch import Adapter as TorchAdapter


@dataclass(frozen=True)
class Comparison:
    """Several implementations of one thing, and what bounds them.

    Attributes:
        ours: mapdrop's implementation.
        peers: others', by the names that their users know them by.
        limit: a name and a work that moves the array's bytes, or a name, a peer's name and how many
            times faster than it arithmetic allows.
        wait: returns when what was started is done.
    """

    ours: Work
    peers: dict[str, Work]
    limit: tuple[str, Work] | tuple[str, str, float]
    wait: Callable[[], object] = lambda: None


def comparison(adapters: type[Adapter], case: Case) -> Comparison:
    """Make what the case compares, on its device."""
    adapter = adapters(case.device)
    if case.direction in SPECIAL:
        return SPECIAL[case.direction](adapter, case)
    size = case.shape.first if adapter.channels_first else case.shape.last
    x = adapter.random(size, case.dtype, case.layout)
    work = partial(adapter.work, array=x, backward=case.both)
    return Comparison(
        work(adapter.ours(case.kind, size)),
        {name: work(drop) for name, drop in adapter.peers(case.kind, size).items()},
        adapter.copy(x, passes=2 if case.both else 1),
        adapter.synchronize,
    )


def _in_place(adapter: TorchAdapter, case: Case) -> Comparison:
    from torch.nn import functional

    import mapdrop.torch

    x = adapter.random(case.shape.first, case.dtype, case.layout)
    # Both start each call from the same values: zeros stay zeros, and the others don't matter.
    ours, theirs, old = (x.clone() for _ in range(3))
    layer = case.kind.make_layer(mapdrop.torch, "2d", inplace=True)
    return Comparison(
        adapter.plain_work(lambda: layer(ours)),
        {
            "F.dropout2d": adapter.plain_work(
                lambda: functional.dropout2d(theirs, case.kind.p, inplace=True)
            )
        },
        ("a pass in place", Work(lambda: old.mul_(1))),
        adapter.synchronize,
    )


def _training_step(adapter: TorchAdapter, case: Case) -> Comparison:
    """Compare training steps of a chain of convolutions, of which no dropped map is computed."""
    import torch
    from torch import nn

    from mapdrop.tools.bench.arithmetic import beside_drops, bound
    from mapdrop.tools.bench.chains import WIDTHS, chain
    from mapdrop.torch import SpatialDropout2d, compact

    p = 0.5
    x = torch.randn(case.shape.first)
    dropping = chain(WIDTHS, p, nn.Dropout2d)
    dense = {"nn.Dropout2d": dropping, "no dropout": chain(WIDTHS, p, lambda _: nn.Identity())}
    upstream = torch.randn_like(dropping(x))
    ours = compact(chain(WIDTHS, p, partial(SpatialDropout2d, share=8)))
    times = bound(dropping, x, p, *beside_drops(dropping, nn.Dropout2d))
    work = {
        name: adapter.plain_work(partial(_step, net, x, upstream))
        for name, net in {"compact": ours, **dense}.items()
    }
    return Comparison(work.pop("compact"), work, ("the arithmetic", "nn.Dropout2d", times))


def _step(net: nn.Module, x: Tensor, upstream: Tensor) -> None:
    net.zero_grad(set_to_none=True)
    net(x).backward(upstream)


SPECIAL: dict[str, Callable[[Any, Case], Comparison]] = {
    IN_PLACE: _in_place,
    STEP: _training_step,
}
"""Cases that only PyTorch has, by their direction."""
