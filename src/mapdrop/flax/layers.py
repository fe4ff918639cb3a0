"""Layers: `mapdrop.drop` with its arguments remembered, used as `flax.nnx.Dropout` is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import jax
from flax import nnx

from mapdrop._layers.patterns import SPACE, BlockSize, RankCheck, axes, blocks, shared
from mapdrop._layers.settings import Settings
from mapdrop.backends.jax import drop, mask_spec
from mapdrop.spec.pattern import Pattern

Source = nnx.Rngs | nnx.RngStream | jax.Array


class Drop(Settings, RankCheck, nnx.Module):
    """Drop what the pattern says shares a coin; the identity where deterministic.

    Args:
        pattern: the axes of the input, an arrow, and the axes that have coins of their own.
        rate: the fraction to drop, from 0 to 1.
        exact: a coin axis along which exactly round((1 - rate) * n) of n coins survive.
        balance: a coin axis across which every line keeps floor or ceil of (1 - rate) * n coins.
        block: sizes of blocks along coin axes, ``dict(h=7, w=7)``.
        region: where a block's centre may lie: "valid", where all of it fits, or "full".
        scale: what kept values are multiplied by: "expected", "sample", "batch" or None.
        deterministic: True makes the layer the identity; `model.eval()` and `model.train()` set it,
            and the call's own argument goes before it.
        rng_collection: the stream of `rngs` that keys are drawn from.
        rngs: where the keys come from; a call may bring its own instead (or a key).
        **sizes: sizes of names inside groups, ``k=4`` for ``"b h w (g k) -> b g"``.

    `mapdrop.drop` says more of these. The attributes (rate, exact, balance, block, region, scale,
    pattern) may be set at any time: they are checked then, and hold from the next call on. Each
    call draws one key, whose words are the seed of the mask.

    Shape: any input that fits the pattern; the output has its shape, dtype and sharding.

    Raises:
        PatternError: when made, for a pattern that cannot be read; when called, for an input that
            it does not fit (it is a ValueError).
        ValueError: for another argument that is out of its range, and for a call without `rngs`.

    Examples:
        >>> layer = mapdrop.flax.Drop("b h w (g k) -> b g", rate=0.5, k=4, rngs=nnx.Rngs(0))
        >>> layer(jnp.ones((2, 5, 5, 8))).shape  # groups of 4 maps together
        (2, 5, 5, 8)
    """

    rate_name = "rate"
    rate: float
    other_rank = "x[None] for one sample without a batch axis"
    deterministic: bool
    rngs: nnx.RngStream | None

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
        self._set_mask(pattern, rate, exact, balance, block, region, scale, sizes)
        self.deterministic = deterministic
        self.rng_collection = rng_collection
        if isinstance(rngs, nnx.Rngs):
            rngs = rngs[rng_collection]
        self.rngs = nnx.data(None) if rngs is None else rngs.fork()

    def __call__(
        self, x: jax.Array, *, deterministic: bool | None = None, rngs: Source | None = None
    ) -> jax.Array:
        """Return x with its dropped values +0 and the others scaled (where deterministic: x).

        Args:
            x: an array that fits the pattern, of any floating or complex dtype.
            deterministic: True returns x; None for what the layer says.
            rngs: where the key comes from, or a key; None for the layer's own.

        Raises:
            PatternError: where the pattern does not fit x.
            ValueError: where there is no `rngs`.
        """
        if self.dims and x.ndim != self.dims + 2:
            raise self._wrong_rank(x.shape)
        if self.deterministic if deterministic is None else deterministic:
            return x
        key = self._key(rngs) if self.rate > 0 else 0
        return drop(x, mask_spec(self.pattern, self.rate, *self._mask_options), seed=key)

    def set_view(self, deterministic: bool | None = None) -> None:
        """Do what `nnx.view` asks for.

        Args:
            deterministic: True makes the layer the identity; None changes nothing.
        """
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
    """Drop each value by a coin of its own: ordinary dropout (Srivastava et al., JMLR 2014).

    Args:
        rate: the fraction to drop, from 0 to 1.
        **options: `deterministic`, `rng_collection` and `rngs`, as for `Drop`.

    Shape: any input; the output has its shape, dtype and sharding.

    Examples:
        >>> layer = mapdrop.flax.Dropout(0.1, rngs=nnx.Rngs(0))
        >>> layer(jnp.ones((3, 7)), deterministic=True).sum()
        Array(21., dtype=float32)
    """

    def __init__(self, rate: float = 0.5, **options: Any) -> None:
        super().__init__("... -> ...", rate, **options)


class DropPath(Drop):
    """Drop samples, (b, ...): stochastic depth (Huang et al., ECCV 2016, arXiv 1603.09382).

    It stands at the end of a residual branch.

    Args:
        rate: the fraction of samples to drop, from 0 to 1.
        scale: "expected", "batch" (the number of samples over the number kept) or None, as for
            `mapdrop.drop`.
        balance: keep floor or ceil of (1 - rate) * b of b samples; each is dropped with
            probability `rate`.
        **options: `deterministic`, `rng_collection` and `rngs`, as for `Drop`.

    Examples:
        >>> layer = mapdrop.flax.DropPath(0.2, balance=True, rngs=nnx.Rngs(0))
        >>> jnp.count_nonzero(layer(jnp.ones((5, 3))), 0)
        Array([4, 4, 4], dtype=int32)
    """

    def __init__(
        self,
        rate: float = 0.1,
        scale: str | None = "expected",
        balance: bool = False,
        **options: Any,
    ) -> None:
        balanced = "b" if balance else None
        super().__init__("b ... -> b", rate, balance=balanced, scale=scale, **options)


class _SpatialDropout(Drop):
    family = "SpatialDropout{}d"
    fixed: ClassVar[frozenset[str]] = frozenset({"data_format", "share"})
    data_format: str
    share: int
    ragged: bool

    def __init__(
        self,
        rate: float = 0.5,
        data_format: str = "channels_last",
        share: int = 1,
        balance: bool = False,
        **options: Any,
    ) -> None:
        left, first = shared(share)
        pattern = f"{axes(self.dims, data_format, left)} -> {first} c"
        super().__init__(pattern, rate, balance=first if balance else None, **options)
        self.data_format, self.share, self.ragged = data_format, share, share > 1


class SpatialDropout1d(_SpatialDropout, dims=1):
    """Drop channels of sequences, (b, t, c) or (b, c, t) (Tompson et al., CVPR 2015).

    Args:
        rate: the fraction of channels to drop, from 0 to 1.
        data_format: "channels_last" or "channels_first"; one key has one mask in both.
        share: how many samples in a row have one mask (a batch's last group may be smaller).
        balance: keep every channel in floor or ceil of (1 - rate) of the masks of a batch.
        **options: `deterministic`, `rng_collection` and `rngs`, as for `Drop`.

    Examples:
        >>> mapdrop.flax.SpatialDropout1d(0.3, rngs=nnx.Rngs(0)).pattern
        'b t c -> b c'
    """


class SpatialDropout2d(_SpatialDropout, dims=2):
    """Drop maps, (b, h, w, c) or (b, c, h, w) (Tompson et al., CVPR 2015, arXiv 1411.4280).

    Args:
        rate: the fraction of maps to drop, from 0 to 1.
        data_format: "channels_last" or "channels_first"; one key has one mask in both.
        share: how many samples in a row have one mask (a batch's last group may be smaller).
        balance: keep every map in floor or ceil of (1 - rate) of the masks of a batch.
        **options: `deterministic`, `rng_collection` and `rngs`, as for `Drop`.

    Examples:
        >>> mapdrop.flax.SpatialDropout2d(0.5, share=8, balance=True, rngs=nnx.Rngs(0)).pattern
        '(m 8) h w c -> m c'
    """


class SpatialDropout3d(_SpatialDropout, dims=3):
    """Drop volumes, (b, d, h, w, c) or (b, c, d, h, w) (Tompson et al., CVPR 2015).

    Args:
        rate: the fraction of volumes to drop, from 0 to 1.
        data_format: "channels_last" or "channels_first"; one key has one mask in both.
        share: how many samples in a row have one mask (a batch's last group may be smaller).
        balance: keep every volume in floor or ceil of (1 - rate) of the masks of a batch.
        **options: `deterministic`, `rng_collection` and `rngs`, as for `Drop`.

    Examples:
        >>> mapdrop.flax.SpatialDropout3d(0.3, rngs=nnx.Rngs(0)).pattern
        'b d h w c -> b c'
    """


class _DropBlock(BlockSize, Drop):
    family = "DropBlock{}d"
    fixed: ClassVar[frozenset[str]] = frozenset({"data_format"})

    def __init__(
        self,
        rate: float = 0.1,
        block_size: int | tuple[int, ...] = 7,
        data_format: str = "channels_last",
        region: str = "valid",
        scale: str | None = "expected",
        **options: Any,
    ) -> None:
        pattern = f"{axes(self.dims, data_format, 'b')} -> b {SPACE[self.dims]} c"
        block = blocks(self.dims, block_size)
        super().__init__(pattern, rate, block=block, region=region, scale=scale, **options)
        self.data_format = data_format


class DropBlock1d(_DropBlock, dims=1):
    """Drop spans of sequences, (b, t, c) or (b, c, t) (Ghiasi et al., NeurIPS 2018).

    Args:
        rate: the fraction of values to drop, from 0 to 1: exactly the mean over the sequence.
        block_size: a span's length; longer ones are cut to the sequence.
        data_format: "channels_last" or "channels_first"; one key has one mask in both.
        region: where a span's centre may lie: "valid", where all of it fits, or "full".
        scale: "expected", "sample", "batch" (the paper's) or None, as for `mapdrop.drop`.
        **options: `deterministic`, `rng_collection` and `rngs`, as for `Drop`.

    Examples:
        >>> mapdrop.flax.DropBlock1d(0.1, 5, rngs=nnx.Rngs(0)).block
        (('t', 5),)
    """


class DropBlock2d(_DropBlock, dims=2):
    """Drop blocks of maps, (b, h, w, c) or (b, c, h, w) (Ghiasi et al., arXiv 1810.12890).

    Args:
        rate: the fraction of values to drop, from 0 to 1: the mean over the map is exactly that.
        block_size: the block's side, or one size for each axis; larger ones are cut to the map.
        data_format: "channels_last" or "channels_first"; one key has one mask in both.
        region: where a block's centre may lie: "valid", where all of it fits, or "full".
        scale: "expected", "sample", "batch" (the paper's) or None, as for `mapdrop.drop`.
        **options: `deterministic`, `rng_collection` and `rngs`, as for `Drop`.

    Examples:
        >>> mapdrop.flax.DropBlock2d(0.1, 7, rngs=nnx.Rngs(0)).pattern
        'b h w c -> b h w c'
    """


class DropBlock3d(_DropBlock, dims=3):
    """Drop boxes of volumes, (b, d, h, w, c) or (b, c, d, h, w) (Ghiasi et al., NeurIPS 2018).

    Args:
        rate: the fraction of values to drop, from 0 to 1: the mean over the volume is exactly that.
        block_size: the box's side, or one size for each axis; larger ones are cut to the volume.
        data_format: "channels_last" or "channels_first"; one key has one mask in both.
        region: where a box's centre may lie: "valid", where all of it fits, or "full".
        scale: "expected", "sample", "batch" (the paper's) or None, as for `mapdrop.drop`.
        **options: `deterministic`, `rng_collection` and `rngs`, as for `Drop`.

    Examples:
        >>> mapdrop.flax.DropBlock3d(0.1, (3, 5, 5), rngs=nnx.Rngs(0)).block
        (('d', 3), ('h', 5), ('w', 5))
    """
