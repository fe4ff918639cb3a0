"""The rows of the benchmark: what is timed, against whom, and what is to be reached."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the name everyone knows it by

import mapdrop
from benchmarks.peers import torchvision_drop_block2d
from benchmarks.row import Row, Work
from mapdrop.torch import DropBlock2d, Dropout, SpatialDropout2d

LARGE = (32, 256, 56, 56)


def _both(drop: Callable[[Tensor], Tensor], x: Tensor) -> Work:
    """Forward and backward, with a gradient that is there already."""
    grad = torch.randn_like(x)
    leaf = x.clone(memory_format=torch.preserve_format).requires_grad_()

    def work() -> object:
        leaf.grad = None
        drop(leaf).backward(grad)
        return leaf.grad

    return work


def _element(
    both: bool, pattern: str | None = None, dtype: torch.dtype = torch.float32
) -> Callable[[], dict[str, Work]]:
    def make() -> dict[str, Work]:
        x = torch.randn(LARGE).to(dtype)
        ours: Callable[[Tensor], Tensor] = Dropout(0.5)
        if pattern is not None:
            ours = lambda z: mapdrop.drop(z, pattern, 0.5)  # noqa: E731
        if both:
            return {"mapdrop": _both(ours, x), "F.dropout": _both(lambda z: F.dropout(z, 0.5), x)}
        return {
            "mapdrop": lambda: ours(x),
            "F.dropout": lambda: F.dropout(x, 0.5),
            "torch.clone": x.clone,
            "copy into old memory": _copy(x),
        }

    return make


def _copy(x: Tensor) -> Work:
    target = torch.empty_like(x)
    return lambda: target.copy_(x)


def _spatial(shape: tuple[int, ...], last: bool, both: bool) -> Callable[[], dict[str, Work]]:
    def make() -> dict[str, Work]:
        x = torch.randn(shape)
        if last:
            x = x.contiguous(memory_format=torch.channels_last)
        ours = SpatialDropout2d(0.5)
        if both:
            peer = _both(lambda z: F.dropout2d(z, 0.5), x)
            return {"mapdrop": _both(ours, x), "F.dropout2d": peer}
        peer = lambda: F.dropout2d(x, 0.5)  # noqa: E731
        return {
            "mapdrop": lambda: ours(x),
            "F.dropout2d": peer,
            "torch.clone": x.clone,
            "copy into old memory": _copy(x),
        }

    return make


def _in_place(last: bool) -> Callable[[], dict[str, Work]]:
    def make() -> dict[str, Work]:
        # Both start each call from the same ones: zeros stay zeros, and 2**n overflows.
        layout = torch.channels_last if last else torch.contiguous_format
        ours, theirs = (torch.ones(LARGE).contiguous(memory_format=layout) for _ in range(2))
        layer = SpatialDropout2d(0.5, inplace=True)
        return {
            "mapdrop": lambda: layer(ours),
            "F.dropout2d": lambda: F.dropout2d(theirs, 0.5, inplace=True),
            "multiply in place": lambda: theirs.mul_(1.0),
        }

    return make


def _dropblock() -> dict[str, Work]:
    x = torch.randn(32, 256, 28, 28)
    layer = DropBlock2d(0.1, 7)
    return {
        "mapdrop": lambda: layer(x),
        "torchvision": lambda: torchvision_drop_block2d(x, 0.1, 7),
        "torch.clone": x.clone,
    }


def _small(both: bool) -> Callable[[], dict[str, Work]]:
    def make() -> dict[str, Work]:
        x = torch.randn(1000)
        layer = Dropout(0.5)
        if both:
            return {"mapdrop": _both(layer, x), "F.dropout": _both(lambda z: F.dropout(z, 0.5), x)}
        return {"mapdrop": lambda: layer(x), "F.dropout": lambda: F.dropout(x, 0.5)}

    return make


def _numpy() -> dict[str, Work]:
    x = np.random.default_rng(0).standard_normal(LARGE, dtype=np.float32)
    rng = np.random.default_rng(1)
    p, scale = 0.5, np.float32(2)
    return {
        "mapdrop": lambda: mapdrop.drop(x, "... -> ...", p),
        "np.where": lambda: np.where(rng.random(x.shape) >= p, x * scale, 0),
        "copy": x.copy,
    }


ROWS = [
    Row("element-wise, forward", _element(False), "F.dropout", 1 / 12, 7, limit="torch.clone", limit_reach=1.4),
    Row("element-wise, forward and backward", _element(True), "F.dropout", 1 / 8, 7),
    Row("element-wise, coins in channels-last order, forward", _element(False, "b c h w -> b h w c"), "F.dropout", 1 / 8, 7),
    Row("element-wise, bfloat16, forward", _element(False, None, torch.bfloat16), "F.dropout", 1 / 8, 7),
    Row("spatial, channels first, forward and backward", _spatial(LARGE, False, True), "F.dropout2d", 1.0),
    Row("spatial, channels last, forward and backward", _spatial(LARGE, True, True), "F.dropout2d", 1.0),
    Row("spatial, channels first, forward", _spatial(LARGE, False, False), "F.dropout2d", 1.0, limit="torch.clone"),
    Row("spatial in place, channels first", _in_place(False), "F.dropout2d", 0.7, limit="multiply in place"),
    Row("spatial in place, channels last", _in_place(True), "F.dropout2d", 0.7, limit="multiply in place"),
    Row("spatial, 64x512x7x7, forward", _spatial((64, 512, 7, 7), False, False), "F.dropout2d", 0.5, 25, 5, "copy into old memory"),
    Row("spatial, 64x512x7x7, forward and backward", _spatial((64, 512, 7, 7), False, True), "F.dropout2d", 0.5, 25, 5),
    Row("DropBlock 7x7, 32x256x28x28, forward", _dropblock, "torchvision", 1 / 8, 7, limit="torch.clone"),
    Row("1,000 values, forward", _small(False), "F.dropout", 3.0, 25, 400),
    Row("1,000 values, forward and backward", _small(True), "F.dropout", 3.0, 25, 200),
    Row("NumPy element-wise, 25.7 million, forward", _numpy, "np.where", 1 / 8, 7, limit="copy"),
]  # fmt: skip
