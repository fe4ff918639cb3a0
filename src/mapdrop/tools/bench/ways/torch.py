"""PyTorch against its own functions, and against torchvision's and timm's algorithms."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everyone knows it by

from mapdrop.tools.bench import peers
from mapdrop.tools.bench.arithmetic import beside_drops, bound
from mapdrop.tools.bench.case import BOTH, FORWARD, IN_PLACE, LAST, PLAIN, STEP, Case, Work, Works
from mapdrop.tools.bench.chains import chain
from mapdrop.tools.bench.operations import BLOCK
from mapdrop.tools.bench.shapes import SHAPES, Shape, find
from mapdrop.tools.memory import peak
from mapdrop.torch import (
    DropBlock2d,
    Dropout,
    DropPath,
    SpatialDropout1d,
    SpatialDropout2d,
    compact,
)

_Drop = Callable[[Tensor], Tensor]
_WIDTHS = (64, 128, 128, 128, 128)
_CHAIN = Shape("chain", "convolutions 3x3, 64-128-128-128-128 maps", 32, 64, (32, 32), ("compact",))


def cases() -> Iterator[Case]:
    """Every operation at every shape; what few would notice elsewhere at one shape."""
    yield Case("compact", _CHAIN, STEP, PLAIN, quick=True)
    yield from _drops()
    if torch.cuda.is_available():
        yield from (replace(case, device="cuda") for case in _drops())


def _drops() -> Iterator[Case]:
    for shape in SHAPES:
        for operation in shape.operations:
            for direction in (FORWARD, BOTH):
                quick = shape.name == "resnet50-2"
                yield Case(operation, shape, direction, PLAIN, quick=quick)
    one = find("resnet50-2")
    for operation in ("element", "spatial"):
        for direction in (FORWARD, BOTH):
            yield Case(operation, one, direction, LAST)
            yield Case(operation, one, direction, PLAIN, "bfloat16")
    yield Case("block", one, BOTH, PLAIN, "bfloat16")
    for layout in (PLAIN, LAST):
        yield Case("spatial", one, IN_PLACE, layout)


def works(case: Case) -> Works:
    """Ours, the peers' and a copy."""
    if case.operation == "compact":
        return _step(case)
    x = _array(case)
    if case.direction == IN_PLACE:
        return _in_place(case, x)
    turn = _both if case.both else _forward
    old = torch.empty_like(x)
    passes = 2 if case.both else 1
    copy = Work(lambda: [old.copy_(x) for _ in range(passes)])
    return Works(
        turn(_ours(case), x),
        {name: turn(drop, x) for name, drop in _peers(case).items()},
        ("two copies" if case.both else "a copy", copy),
        _wait(case),
    )


def versions() -> dict[str, str]:
    """Of what takes part, and the GPU."""
    gpu = {"gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else {}
    return {"torch": torch.__version__, **gpu}


def _wait(case: Case) -> Callable[[], object]:
    return torch.cuda.synchronize if case.device == "cuda" else lambda: None


def _array(case: Case) -> Tensor:
    x = torch.randn(case.shape.first, device=case.device).to(getattr(torch, case.dtype))
    return x.contiguous(memory_format=torch.channels_last) if case.layout == LAST else x


def _ours(case: Case) -> nn.Module:
    p = case.law.p
    if case.operation == "spatial":
        return SpatialDropout1d(p) if len(case.shape.places) == 1 else SpatialDropout2d(p)
    if case.operation == "block":
        return DropBlock2d(p, BLOCK)
    return Dropout(p) if case.operation == "element" else DropPath(p)


def _peers(case: Case) -> Mapping[str, _Drop]:
    p = case.law.p
    spatial = F.dropout1d if len(case.shape.places) == 1 else F.dropout2d
    return {
        "element": {"F.dropout": partial(F.dropout, p=p)},
        "spatial": {f"F.{spatial.__name__}": partial(spatial, p=p)},
        "block": {
            "torchvision's": partial(peers.torchvision_drop_block2d, p=p, block_size=BLOCK),
            "timm's": partial(peers.timm_drop_block_2d, p=p, block_size=BLOCK),
        },
        "path": {
            "torchvision's": partial(peers.torchvision_stochastic_depth, p=p),
            "timm's": partial(peers.timm_drop_path, p=p),
        },
    }[case.operation]


def _forward(drop: _Drop, x: Tensor) -> Work:
    return _work(lambda: drop(x), x.device.type)


def _both(drop: _Drop, x: Tensor) -> Work:
    """With a gradient that is there already."""
    upstream = torch.randn_like(x)
    leaf = x.clone(memory_format=torch.preserve_format).requires_grad_()

    def run() -> Tensor | None:
        leaf.grad = None
        drop(leaf).backward(upstream)
        return leaf.grad

    return _work(run, x.device.type)


def _in_place(case: Case, x: Tensor) -> Works:
    # Both start each call from the same values: zeros stay zeros, and the others don't matter.
    ours, theirs, old = (x.clone(memory_format=torch.preserve_format) for _ in range(3))
    layer = SpatialDropout2d(case.law.p, inplace=True)
    own = _work(lambda: layer(ours), case.device)
    peer = _work(lambda: F.dropout2d(theirs, case.law.p, inplace=True), case.device)
    limit = "a pass in place", Work(lambda: old.mul_(1))
    return Works(own, {"F.dropout2d": peer}, limit, _wait(case))


def _step(case: Case) -> Works:
    """A training step of a chain of convolutions: no dropped map is computed."""
    x = torch.randn(case.shape.first)
    drops: dict[str, Callable[[float], nn.Module]] = {
        "nn.Dropout2d": nn.Dropout2d,
        "no dropout": lambda _: nn.Identity(),
    }
    dense = {name: chain(_WIDTHS, 0.5, drop) for name, drop in drops.items()}
    dropping = dense["nn.Dropout2d"]
    upstream = torch.randn_like(dropping(x))
    ours = compact(chain(_WIDTHS, 0.5, partial(SpatialDropout2d, share=8)))
    times = bound(dropping, x, 0.5, *beside_drops(dropping, nn.Dropout2d))
    return Works(
        _training(ours, x, upstream),
        {name: _training(net, x, upstream) for name, net in dense.items()},
        ("the arithmetic", "nn.Dropout2d", times),
    )


def _training(net: nn.Module, x: Tensor, upstream: Tensor) -> Work:
    def run() -> None:
        net.zero_grad(set_to_none=True)
        net(x).backward(upstream)

    return _work(run)


def _work(run: Callable[[], object], device: str = "cpu") -> Work:
    return Work(run, partial(peak, run, device))
