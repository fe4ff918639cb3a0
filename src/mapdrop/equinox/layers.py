"""Layers: `mapdrop.drop` with its arguments remembered, used as `equinox.nn.Dropout` is.

As everywhere in Equinox, a layer sees one sample, without a batch axis; `jax.vmap` over samples
and their keys makes a batch of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import equinox as eqx
import jax

from mapdrop._layers import patterns as maps
from mapdrop.backends.jax import drop, mask_spec
from mapdrop.spec.mask_spec import Sizes, as_sizes, check_rate
from mapdrop.spec.pattern import Pattern


class Drop(eqx.Module):
    """Drop what the pattern says shares a coin; the identity in inference.

    Args:
        pattern: the axes of one sample, an arrow, and the axes that have coins of their own; see
            `mapdrop.Pattern`.
        p: the fraction to drop, from 0 to 1.
        inference: True makes the layer the identity; `equinox.nn.inference_mode` sets it, and the
            call's own argument goes before it.
        exact, balance, block, region, scale, **sizes: as for `mapdrop.drop`.

    The layer is called with a key, whose words are the seed of the mask: `layer(x, key=key)`.

    Shape: any input that fits the pattern; the output has its shape, dtype and sharding.

    Raises PatternError (a ValueError), when made, for a pattern that cannot be read; when called,
    for an input that it does not fit. Raises RuntimeError for a call without a key.

    >>> layer = mapdrop.equinox.Drop("(g k) h w -> g", p=0.5, k=4)  # groups of 4 maps together
    >>> layer(jnp.ones((8, 5, 5)), key=jax.random.key(0)).shape
    (8, 5, 5)
    """

    pattern: str = eqx.field(static=True)
    p: float
    inference: bool
    exact: str | None = eqx.field(static=True)
    balance: str | None = eqx.field(static=True)
    block: Sizes = eqx.field(static=True)
    region: str = eqx.field(static=True)
    scale: str | None = eqx.field(static=True)
    sizes: Sizes = eqx.field(static=True)

    def __init__(
        self,
        pattern: str | Pattern,
        p: float = 0.5,
        inference: bool = False,
        *,
        exact: str | None = None,
        balance: str | None = None,
        block: Mapping[str, int] | None = None,
        region: str = "valid",
        scale: str | None = "expected",
        **sizes: int,
    ) -> None:
        self.pattern = Pattern.parse(pattern).text
        self.p = check_rate(p)
        self.inference = inference
        self.exact, self.balance = exact, balance
        self.block = as_sizes(block, "block")
        self.region, self.scale = region, scale
        self.sizes = as_sizes(sizes, "sizes")

    def __call__(
        self, x: jax.Array, *, key: jax.Array | None = None, inference: bool | None = None
    ) -> jax.Array:
        """x with its dropped values +0 and the others scaled (in inference: x)."""
        if self.inference if inference is None else inference:
            return x
        if key is None and not (isinstance(self.p, float) and self.p == 0):
            raise RuntimeError(
                f"{type(self).__name__} is called with a key in training, as in "
                "layer(x, key=jax.random.key(0)), or with inference=True"
            )
        return drop(
            x,
            mask_spec(
                self.pattern,
                self.p,
                self.exact,
                self.balance,
                self.block,
                self.region,
                self.scale,
                self.sizes,
            ),
            seed=key,
        )


class Dropout(Drop):
    """A coin for every value: ordinary dropout, of an input of any shape.

    Args:
        p: the fraction of values to drop, from 0 to 1.
        inference: as for `Drop`.

    >>> mapdrop.equinox.Dropout(0.1)(jnp.ones((3, 7)), inference=True).sum()
    Array(21., dtype=float32)
    """

    def __init__(self, p: float = 0.5, inference: bool = False) -> None:
        super().__init__("... -> ...", p, inference)


class DropPath(Drop):
    """One coin for the sample: stochastic depth (Huang et al., ECCV 2016) for a residual branch.

    Args:
        p: the fraction of samples to drop, from 0 to 1.
        inference: as for `Drop`.
        scale: what a kept sample is multiplied by, as for `mapdrop.drop`.

    Shape: any.

    >>> batch, keys = jnp.ones((3, 7)), jax.random.split(jax.random.key(0), 3)
    >>> jax.vmap(lambda x, key: mapdrop.equinox.DropPath(0.2)(x, key=key))(batch, keys).shape
    (3, 7)
    """

    def __init__(
        self, p: float = 0.1, inference: bool = False, *, scale: str | None = "expected"
    ) -> None:
        super().__init__("... ->", p, inference, scale=scale)


class _Maps(Drop):
    """A layer for maps of `dims` dimensions, which says so to an input of another rank."""

    dims: ClassVar[int]
    family: ClassVar[str]

    def __call__(
        self, x: jax.Array, *, key: jax.Array | None = None, inference: bool | None = None
    ) -> jax.Array:
        """See `Drop.__call__`."""
        if x.ndim != self.dims + 1:
            raise maps.wrong_rank(self.family, self.dims, self.pattern, x.shape, batch=False)
        return super().__call__(x, key=key, inference=inference)


class _SpatialDropout(_Maps):
    """A coin for every map of the sample (Tompson et al., CVPR 2015, arXiv 1411.4280).

    Args:
        p: the fraction of maps to drop, from 0 to 1.
        inference: as for `Drop`.
        data_format: "channels_first", (c, ...), or "channels_last", (..., c). The same key gives
            the same mask in both.
        exact: exactly round((1 - p) * n) of the n maps survive.

    Raises PatternError for an input of another rank, which says which layer to use.
    """

    family: ClassVar[str] = "SpatialDropout"

    def __init__(
        self,
        p: float = 0.5,
        inference: bool = False,
        *,
        data_format: str = "channels_first",
        exact: bool = False,
    ) -> None:
        pattern = f"{maps.axes(self.dims, data_format)} -> c"
        super().__init__(pattern, p, inference, exact="c" if exact else None)


class SpatialDropout1d(_SpatialDropout):
    """Drops whole channels of a sequence. Shape: (c, t), or (t, c) for "channels_last".

    >>> mapdrop.equinox.SpatialDropout1d(0.3).pattern
    'c t -> c'
    """

    __doc__ = f"{__doc__}\n{_SpatialDropout.__doc__}"
    dims: ClassVar[int] = 1


class SpatialDropout2d(_SpatialDropout):
    """Drops whole maps. Shape: (c, h, w), or (h, w, c) for "channels_last".

    >>> layer = mapdrop.equinox.SpatialDropout2d(0.5, exact=True)
    >>> layer(jnp.ones((4, 2, 2)), key=jax.random.key(0)).sum()
    Array(16., dtype=float32)
    """

    __doc__ = f"{__doc__}\n{_SpatialDropout.__doc__}"
    dims: ClassVar[int] = 2


class SpatialDropout3d(_SpatialDropout):
    """Drops whole volumes. Shape: (c, d, h, w), or (d, h, w, c) for "channels_last".

    >>> mapdrop.equinox.SpatialDropout3d(0.3).pattern
    'c d h w -> c'
    """

    __doc__ = f"{__doc__}\n{_SpatialDropout.__doc__}"
    dims: ClassVar[int] = 3


class _DropBlock(_Maps):
    """Drops blocks of each map (DropBlock: Ghiasi, Lin, Le, NeurIPS 2018, arXiv 1810.12890).

    Args:
        p: the fraction of values to drop, from 0 to 1: the mean over the map is exactly p.
        block_size: the block's side, or one size for each axis; larger ones are cut to the map.
        inference: as for `Drop`.
        data_format: "channels_first", (c, ...), or "channels_last", (..., c). The same key gives
            the same mask in both.
        region: where a block's centre may lie: "valid", where the whole block fits, or "full".
        scale: "expected", "batch" (the number of values over the number kept, here of the one
            sample) or None, as for `mapdrop.drop`.

    Raises PatternError for an input of another rank, which says which layer to use.
    """

    family: ClassVar[str] = "DropBlock"

    def __init__(
        self,
        p: float = 0.1,
        block_size: int | tuple[int, ...] = 7,
        inference: bool = False,
        *,
        data_format: str = "channels_first",
        region: str = "valid",
        scale: str | None = "expected",
    ) -> None:
        block = dict(maps.blocks(self.dims, block_size))
        pattern = f"{maps.axes(self.dims, data_format)} -> {maps.SPACE[self.dims]} c"
        super().__init__(pattern, p, inference, block=block, region=region, scale=scale)


class DropBlock1d(_DropBlock):
    """Shape: (c, t), or (t, c) for "channels_last".

    >>> mapdrop.equinox.DropBlock1d(0.1, 5).block
    (('t', 5),)
    """

    __doc__ = f"{__doc__}\n{_DropBlock.__doc__}"
    dims: ClassVar[int] = 1


class DropBlock2d(_DropBlock):
    """Shape: (c, h, w), or (h, w, c) for "channels_last".

    >>> mapdrop.equinox.DropBlock2d(0.1, 7).pattern
    'c h w -> h w c'
    """

    __doc__ = f"{__doc__}\n{_DropBlock.__doc__}"
    dims: ClassVar[int] = 2


class DropBlock3d(_DropBlock):
    """Shape: (c, d, h, w), or (d, h, w, c) for "channels_last".

    >>> mapdrop.equinox.DropBlock3d(0.1, (3, 5, 5)).block
    (('d', 3), ('h', 5), ('w', 5))
    """

    __doc__ = f"{__doc__}\n{_DropBlock.__doc__}"
    dims: ClassVar[int] = 3
