"""Layers: `mapdrop.drop` with its arguments remembered, used as `equinox.nn.Dropout` is.

As everywhere in Equinox, a layer sees one sample, without a batch axis; `jax.vmap` over samples
and their keys makes a batch of it.
"""

from __future__ import annotations

from collections.abc import Mapping

import equinox as eqx
import jax

from mapdrop._layers.patterns import SPACE, BlockSize, RankCheck, axes, blocks
from mapdrop._layers.settings import Settings
from mapdrop.backends.jax import drop, mask_spec
from mapdrop.spec.mask_spec import Sizes
from mapdrop.spec.pattern import Pattern


class Drop(Settings, RankCheck, eqx.Module):
    """Drop what the pattern says shares a coin; the identity in inference.

    Args:
        pattern: the axes of one sample, an arrow, and the axes that have coins of their own.
        p: the fraction to drop, from 0 to 1.
        inference: True makes the layer the identity; `equinox.nn.inference_mode` sets it, and the
            call's own argument goes before it.
        exact: a coin axis along which exactly round((1 - p) * n) of n coins survive.
        balance: a coin axis across which every line keeps floor or ceil of (1 - p) * n coins.
        block: sizes of blocks along coin axes, ``dict(h=7, w=7)``.
        region: where a block's centre may lie: "valid", where all of it fits, or "full".
        scale: what kept values are multiplied by: "expected", "sample", "batch" or None.
        **sizes: sizes of names inside groups, ``k=4`` for ``"(g k) h w -> g"``.

    `mapdrop.drop` says more of these. The layer is called with a key, whose words are the seed of
    the mask: `layer(x, key=key)`.

    Shape: any input that fits the pattern; the output has its shape, dtype and sharding.

    Raises:
        PatternError: when made, for a pattern that cannot be read; when called, for an input that
            it does not fit (it is a ValueError).
        ValueError: for another argument that is out of its range.
        RuntimeError: for a call without a key.

    Examples:
        >>> layer = mapdrop.equinox.Drop("(g k) h w -> g", p=0.5, k=4)  # groups of 4 maps together
        >>> layer(jnp.ones((8, 5, 5)), key=jax.random.key(0)).shape
        (8, 5, 5)
    """

    batched = False
    other_rank = "jax.vmap for a batch, with a key for each sample"
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
        self._set_mask(pattern, p, exact, balance, block, region, scale, sizes)
        self.inference = inference

    def __call__(
        self, x: jax.Array, *, key: jax.Array | None = None, inference: bool | None = None
    ) -> jax.Array:
        """Return x with its dropped values +0 and the others scaled (in inference: x).

        Args:
            x: an array that fits the pattern, of any floating or complex dtype.
            key: a key of jax.random, which gives one mask.
            inference: True returns x; None for what the layer says.

        Raises:
            PatternError: where the pattern does not fit x.
            RuntimeError: where a key is needed and there is none.
        """
        if self.dims and x.ndim != self.dims + 1:
            raise self._wrong_rank(x.shape)
        if self.inference if inference is None else inference:
            return x
        if key is None and not (isinstance(self.p, float) and self.p == 0):
            raise RuntimeError(
                f"{type(self).__name__} is called with a key in training, as in "
                "layer(x, key=jax.random.key(0)), or with inference=True"
            )
        return drop(x, mask_spec(self.pattern, self.p, *self._mask_options), seed=key)


class Dropout(Drop):
    """Drop each value by a coin of its own: ordinary dropout (Srivastava et al., JMLR 2014).

    Args:
        p: the fraction to drop, from 0 to 1.
        inference: True makes the layer the identity, as for `Drop`.

    Shape: any input; the output has its shape, dtype and sharding.

    Examples:
        >>> mapdrop.equinox.Dropout(0.1)(jnp.ones((3, 7)), inference=True).sum()
        Array(21., dtype=float32)
    """

    def __init__(self, p: float = 0.5, inference: bool = False) -> None:
        super().__init__("... -> ...", p, inference)


class DropPath(Drop):
    """Drop the sample: stochastic depth (Huang et al., ECCV 2016, arXiv 1603.09382).

    It stands at the end of a residual branch. A layer sees one sample, so it cannot balance how
    many of a batch are kept: outside of `jax.vmap`, `mapdrop.residual` and
    ``mapdrop.drop(..., balance="b")`` can.

    Args:
        p: the probability of dropping the sample, from 0 to 1.
        inference: True makes the layer the identity, as for `Drop`.
        scale: "expected", which multiplies a kept sample by 1 / (1 - p), or None.

    Examples:
        >>> batch, keys = jnp.ones((3, 7)), jax.random.split(jax.random.key(0), 3)
        >>> jax.vmap(lambda x, key: mapdrop.equinox.DropPath(0.2)(x, key=key))(batch, keys).shape
        (3, 7)
    """

    def __init__(
        self, p: float = 0.1, inference: bool = False, *, scale: str | None = "expected"
    ) -> None:
        super().__init__("... ->", p, inference, scale=scale)


class _SpatialDropout(Drop):
    family = "SpatialDropout{}d"

    def __init__(
        self,
        p: float = 0.5,
        inference: bool = False,
        *,
        data_format: str = "channels_first",
        exact: bool = False,
    ) -> None:
        pattern = f"{axes(self.dims, data_format)} -> c"
        super().__init__(pattern, p, inference, exact="c" if exact else None)


class SpatialDropout1d(_SpatialDropout, dims=1):
    """Drop channels of a sequence, (c, t) or (t, c) (Tompson et al., CVPR 2015).

    Args:
        p: the fraction of channels to drop, from 0 to 1.
        inference: True makes the layer the identity, as for `Drop`.
        data_format: "channels_first" or "channels_last"; one key has one mask in both.
        exact: keep exactly round((1 - p) * n) of the n channels.

    Examples:
        >>> mapdrop.equinox.SpatialDropout1d(0.3).pattern
        'c t -> c'
    """


class SpatialDropout2d(_SpatialDropout, dims=2):
    """Drop maps, (c, h, w) or (h, w, c) (Tompson et al., CVPR 2015, arXiv 1411.4280).

    Args:
        p: the fraction of maps to drop, from 0 to 1.
        inference: True makes the layer the identity, as for `Drop`.
        data_format: "channels_first" or "channels_last"; one key has one mask in both.
        exact: keep exactly round((1 - p) * n) of the n maps.

    Examples:
        >>> layer = mapdrop.equinox.SpatialDropout2d(0.5, exact=True)
        >>> layer(jnp.ones((4, 2, 2)), key=jax.random.key(0)).sum()
        Array(16., dtype=float32)
    """


class SpatialDropout3d(_SpatialDropout, dims=3):
    """Drop volumes, (c, d, h, w) or (d, h, w, c) (Tompson et al., CVPR 2015).

    Args:
        p: the fraction of volumes to drop, from 0 to 1.
        inference: True makes the layer the identity, as for `Drop`.
        data_format: "channels_first" or "channels_last"; one key has one mask in both.
        exact: keep exactly round((1 - p) * n) of the n volumes.

    Examples:
        >>> mapdrop.equinox.SpatialDropout3d(0.3).pattern
        'c d h w -> c'
    """


class _DropBlock(BlockSize, Drop):
    family = "DropBlock{}d"

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
        pattern = f"{axes(self.dims, data_format)} -> {SPACE[self.dims]} c"
        block = blocks(self.dims, block_size)
        super().__init__(pattern, p, inference, block=block, region=region, scale=scale)


class DropBlock1d(_DropBlock, dims=1):
    """Drop spans of a sequence, (c, t) or (t, c) (Ghiasi et al., NeurIPS 2018).

    Args:
        p: the fraction of values to drop, from 0 to 1: the mean over the sequence is exactly that.
        block_size: a span's length; longer ones are cut to the sequence.
        inference: True makes the layer the identity, as for `Drop`.
        data_format: "channels_first" or "channels_last"; one key has one mask in both.
        region: where a span's centre may lie: "valid", where all of it fits, or "full".
        scale: "expected", "batch" (the number of values over the number kept, here of the one
            sample) or None, as for `mapdrop.drop`.

    Examples:
        >>> mapdrop.equinox.DropBlock1d(0.1, 5).block
        (('t', 5),)
    """


class DropBlock2d(_DropBlock, dims=2):
    """Drop blocks of maps, (c, h, w) or (h, w, c) (Ghiasi et al., arXiv 1810.12890).

    Args:
        p: the fraction of values to drop, from 0 to 1: the mean over the map is exactly that.
        block_size: the block's side, or one size for each axis; larger ones are cut to the map.
        inference: True makes the layer the identity, as for `Drop`.
        data_format: "channels_first" or "channels_last"; one key has one mask in both.
        region: where a block's centre may lie: "valid", where all of it fits, or "full".
        scale: "expected", "batch" (the number of values over the number kept, here of the one
            sample) or None, as for `mapdrop.drop`.

    Examples:
        >>> mapdrop.equinox.DropBlock2d(0.1, 7).pattern
        'c h w -> h w c'
    """


class DropBlock3d(_DropBlock, dims=3):
    """Drop boxes of volumes, (c, d, h, w) or (d, h, w, c) (Ghiasi et al., NeurIPS 2018).

    Args:
        p: the fraction of values to drop, from 0 to 1: the mean over the volume is exactly that.
        block_size: the box's side, or one size for each axis; larger ones are cut to the volume.
        inference: True makes the layer the identity, as for `Drop`.
        data_format: "channels_first" or "channels_last"; one key has one mask in both.
        region: where a box's centre may lie: "valid", where all of it fits, or "full".
        scale: "expected", "batch" (the number of values over the number kept, here of the one
            sample) or None, as for `mapdrop.drop`.

    Examples:
        >>> mapdrop.equinox.DropBlock3d(0.1, (3, 5, 5)).block
        (('d', 3), ('h', 5), ('w', 5))
    """
