"""Layers: `mapdrop.drop` with its arguments remembered, used as `flax.nnx.Dropout` is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import jax
from flax import nnx

from mapdrop._layers import patterns as maps
from mapdrop._layers.settings import Settings
from mapdrop.backends.jax import drop, mask_spec
from mapdrop.spec.mask_spec import as_sizes
from mapdrop.spec.pattern import Pattern

Source = nnx.Rngs | nnx.RngStream | jax.Array


class Drop(Settings, nnx.Module):
    """Drop what the pattern says shares a coin; the identity where deterministic.

    Args:
        pattern: the axes of the input, an arrow, and the axes that have coins of their own; see
            `mapdrop.Pattern`.
        rate: the fraction to drop, from 0 to 1.
        deterministic: True makes the layer the identity; `model.eval()` and `model.train()` set it,
            and the call's own argument goes before it.
        rng_collection: the stream of `rngs` that keys are drawn from.
        rngs: where the keys come from; a call may bring its own instead (or a key).
        exact, balance, block, region, scale, **sizes: as for `mapdrop.drop`.

    The attributes (rate, exact, balance, block, region, scale, pattern) may be set at any time:
    they are checked then, and hold from the next call on.

    Each call draws one key, whose words are the seed of the mask.

    Shape: any input that fits the pattern; the output has its shape, dtype and sharding.

    Raises PatternError (a ValueError), when made, for a pattern that cannot be read; when called,
    for an input that it does not fit. Raises ValueError where a call has no `rngs`.

    >>> layer = mapdrop.flax.Drop("b h w (g k) -> b g", rate=0.5, k=4, rngs=nnx.Rngs(0))
    >>> layer(jnp.ones((2, 5, 5, 8))).shape  # groups of 4 maps together
    (2, 5, 5, 8)
    """

    rate_name = "rate"

    def __init__(
        self,
        pattern: str | Pattern,
        rate: float = 0.5,
        *,
        exact: str | None = None,
        balance: str | None = None,
        block: Mapping[str, int] | None = None,
        region: str = "valid",
        scale: str | None = "expected",
        deterministic: bool = False,
        rng_collection: str = "dropout",
        rngs: nnx.Rngs | nnx.RngStream | None = None,
        **sizes: int,
    ) -> None:
        self.pattern = Pattern.parse(pattern).text
        self.rate = rate
        self.exact, self.balance = exact, balance
        self.block = as_sizes(block, "block")
        self.region, self.scale = region, scale
        self.sizes = as_sizes(sizes, "sizes")
        self.ragged = False
        self.deterministic = deterministic
        self.rng_collection = rng_collection
        if isinstance(rngs, nnx.Rngs):
            rngs = rngs[rng_collection]
        self.rngs = nnx.data(None) if rngs is None else rngs.fork()

    def __call__(
        self, x: jax.Array, *, deterministic: bool | None = None, rngs: Source | None = None
    ) -> jax.Array:
        """x with its dropped values +0 and the others scaled (where deterministic: x)."""
        if self.deterministic if deterministic is None else deterministic:
            return x
        return drop(
            x, mask_spec(*self._mask_arguments), seed=self._key(rngs) if self.rate > 0 else 0
        )

    def set_view(self, deterministic: bool | None = None) -> None:
        """What `nnx.view` calls; True makes the layer the identity."""
        if deterministic is not None:
            self.deterministic = deterministic

    def _key(self, given: Source | None) -> jax.Array:
        source: Any = self.rngs if given is None else given
        if source is None:
            raise ValueError(
                f"{type(self).__name__} has no keys to draw from: give rngs=nnx.Rngs(dropout=0) "
                "when it is made or called, or deterministic=True"
            )
        if isinstance(source, nnx.Rngs):
            source = source[self.rng_collection]
        key: jax.Array = source() if isinstance(source, nnx.RngStream) else source
        return key


class Dropout(Drop):
    """A coin for every value: ordinary dropout, of an input of any shape.

    Args:
        rate: the fraction of values to drop, from 0 to 1.
        **options: `deterministic`, `rng_collection` and `rngs`, as for `Drop`.

    >>> layer = mapdrop.flax.Dropout(0.1, rngs=nnx.Rngs(0))
    >>> layer(jnp.ones((3, 7)), deterministic=True).sum()
    Array(21., dtype=float32)
    """

    def __init__(self, rate: float = 0.5, **options: Any) -> None:
        super().__init__("... -> ...", rate, **options)


class DropPath(Drop):
    """A coin for every sample: stochastic depth (Huang et al., ECCV 2016) for a residual branch.

    Args:
        rate: the fraction of samples to drop, from 0 to 1.
        scale: what kept samples are multiplied by, as for `mapdrop.drop`.
        **options: `deterministic`, `rng_collection` and `rngs`, as for `Drop`.

    Shape: (b, ...).

    >>> mapdrop.flax.DropPath(0.2, rngs=nnx.Rngs(0))(jnp.ones((3, 7))).shape
    (3, 7)
    """

    def __init__(self, rate: float = 0.1, scale: str | None = "expected", **options: Any) -> None:
        super().__init__("b ... -> b", rate, scale=scale, **options)


class _Maps(Drop):
    """A layer for maps of `dims` dimensions, which says so to an input of another rank."""

    dims: ClassVar[int]
    family: ClassVar[str]
    fixed = frozenset({"data_format", "share"})

    def __call__(
        self, x: jax.Array, *, deterministic: bool | None = None, rngs: Source | None = None
    ) -> jax.Array:
        """See `Drop.__call__`."""
        if x.ndim != self.dims + 2:
            raise maps.wrong_rank(self.family, self.dims, self.pattern, x.shape, batch=True)
        return super().__call__(x, deterministic=deterministic, rngs=rngs)


class _SpatialDropout(_Maps):
    """A coin for every sample and map (Tompson et al., CVPR 2015, arXiv 1411.4280).

    Args:
        rate: the fraction of maps to drop, from 0 to 1.
        data_format: "channels_last", (b, ..., c), or "channels_first", (b, c, ...). The same key
            gives the same mask in both.
        share: so many samples in a row have one mask (the last group of a batch may be smaller).
        balance: every map is kept by floor or ceil of (1 - rate) of the masks of a batch.
        **options: `deterministic`, `rng_collection` and `rngs`, as for `Drop`.

    Raises PatternError for an input of another rank, which says which layer to use.
    """

    family = "SpatialDropout"

    def __init__(
        self,
        rate: float = 0.5,
        data_format: str = "channels_last",
        share: int = 1,
        balance: bool = False,
        **options: Any,
    ) -> None:
        left, first = maps.shared(share)
        pattern = f"{maps.axes(self.dims, data_format, left)} -> {first} c"
        super().__init__(pattern, rate, balance=first if balance else None, **options)
        self.data_format = data_format
        self.share = share
        self.ragged = share > 1


class SpatialDropout1d(_SpatialDropout):
    """Drops whole channels of a sequence. Shape: (b, t, c), or (b, c, t) for "channels_first".

    >>> mapdrop.flax.SpatialDropout1d(0.3, rngs=nnx.Rngs(0)).pattern
    'b t c -> b c'
    """

    __doc__ = f"{__doc__}\n{_SpatialDropout.__doc__}"
    dims = 1


class SpatialDropout2d(_SpatialDropout):
    """Drops whole maps. Shape: (b, h, w, c), or (b, c, h, w) for "channels_first".

    >>> mapdrop.flax.SpatialDropout2d(0.5, share=8, balance=True, rngs=nnx.Rngs(0)).pattern
    '(m 8) h w c -> m c'
    """

    __doc__ = f"{__doc__}\n{_SpatialDropout.__doc__}"
    dims = 2


class SpatialDropout3d(_SpatialDropout):
    """Drops whole volumes. Shape: (b, d, h, w, c), or (b, c, d, h, w) for "channels_first".

    >>> mapdrop.flax.SpatialDropout3d(0.3, rngs=nnx.Rngs(0)).pattern
    'b d h w c -> b c'
    """

    __doc__ = f"{__doc__}\n{_SpatialDropout.__doc__}"
    dims = 3


class _DropBlock(_Maps):
    """Drops blocks of each map (DropBlock: Ghiasi, Lin, Le, NeurIPS 2018, arXiv 1810.12890).

    Args:
        rate: the fraction of values to drop, from 0 to 1: the mean over the map is exactly that.
        block_size: the block's side, or one size for each axis; larger ones are cut to the map.
        data_format: "channels_last", (b, ..., c), or "channels_first", (b, c, ...). The same key
            gives the same mask in both.
        region: where a block's centre may lie: "valid", where the whole block fits, or "full".
        scale: "expected", "sample", "batch" (the paper's) or None, as for `mapdrop.drop`.
        **options: `deterministic`, `rng_collection` and `rngs`, as for `Drop`.

    Raises PatternError for an input of another rank, which says which layer to use.
    """

    family = "DropBlock"

    def __init__(
        self,
        rate: float = 0.1,
        block_size: int | tuple[int, ...] = 7,
        data_format: str = "channels_last",
        region: str = "valid",
        scale: str | None = "expected",
        **options: Any,
    ) -> None:
        block = dict(maps.blocks(self.dims, block_size))
        pattern = f"{maps.axes(self.dims, data_format, 'b')} -> b {maps.SPACE[self.dims]} c"
        super().__init__(pattern, rate, block=block, region=region, scale=scale, **options)
        self.data_format = data_format

    @property
    def block_size(self) -> int | tuple[int, ...]:
        """The block's side, or one size for each axis where they differ."""
        return maps.block_size(self.block)

    @block_size.setter
    def block_size(self, size: int | tuple[int, ...]) -> None:
        self.block = maps.blocks(self.dims, size)


class DropBlock1d(_DropBlock):
    """Shape: (b, t, c), or (b, c, t) for "channels_first".

    >>> mapdrop.flax.DropBlock1d(0.1, 5, rngs=nnx.Rngs(0)).block
    (('t', 5),)
    """

    __doc__ = f"{__doc__}\n{_DropBlock.__doc__}"
    dims = 1


class DropBlock2d(_DropBlock):
    """Shape: (b, h, w, c), or (b, c, h, w) for "channels_first".

    >>> mapdrop.flax.DropBlock2d(0.1, 7, rngs=nnx.Rngs(0)).pattern
    'b h w c -> b h w c'
    """

    __doc__ = f"{__doc__}\n{_DropBlock.__doc__}"
    dims = 2


class DropBlock3d(_DropBlock):
    """Shape: (b, d, h, w, c), or (b, c, d, h, w) for "channels_first".

    >>> mapdrop.flax.DropBlock3d(0.1, (3, 5, 5), rngs=nnx.Rngs(0)).block
    (('d', 3), ('h', 5), ('w', 5))
    """

    __doc__ = f"{__doc__}\n{_DropBlock.__doc__}"
    dims = 3
