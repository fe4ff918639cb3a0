"""DropBlock: contiguous regions of each map together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from mapdrop._layers import patterns as maps
from mapdrop.keras.drop import layer_only
from mapdrop.keras.maps import SPACE, Maps
from mapdrop.spec.mask_spec import Sizes


class _DropBlock(Maps):
    """Drops blocks of each map (DropBlock: Ghiasi, Lin, Le, NeurIPS 2018, arXiv 1810.12890).

    Args:
        rate: the fraction of values to drop, from 0 to 1: the mean over the map is exactly rate.
        block_size: the block's side, or one size for each axis; larger ones are cut to the map.
        data_format: "channels_first", (b, c, ...), or "channels_last", (b, ..., c). The same seed
            gives the same mask in both. None: `keras.config.image_data_format()`.
        region: where a block's centre may lie: "valid", where the whole block fits, or "full".
        scale: "expected", "sample", "batch" (the paper's) or None, as for `mapdrop.drop`.
        seed: a whole number from 0 to 2**64 - 1, or None. See `Drop`.
        name, dtype, **kwargs: as for every Keras layer.

    Raises PatternError for an input of another rank, which says which layer to use.
    """

    family = "DropBlock"
    arguments = ("rate", "block_size", "data_format", "region", "scale", "seed")

    def __init__(
        self,
        rate: float = 0.1,
        block_size: int | Sequence[int] = 7,
        data_format: str | None = None,
        region: str = "valid",
        scale: str | None = "expected",
        seed: int | None = None,
        name: str | None = None,
        dtype: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            f"b {SPACE[self.dims]} c",
            rate,
            data_format,
            block=dict(self._blocks(block_size)),
            region=region,
            scale=scale,
            seed=seed,
            name=name,
            dtype=dtype,
            **layer_only(kwargs),
        )

    @property
    def block_size(self) -> int | tuple[int, ...]:
        """The block's side, or one size for each axis where they differ."""
        return maps.block_size(self.block)

    @block_size.setter
    def block_size(self, size: int | Sequence[int]) -> None:
        self.block = self._blocks(size)

    def _blocks(self, size: int | Sequence[int]) -> Sizes:
        # A list is what JSON makes of a tuple.
        return maps.blocks(self.dims, tuple(size) if isinstance(size, Sequence) else size)


@keras.saving.register_keras_serializable("mapdrop")
class DropBlock1D(_DropBlock):
    """Shape: (b, t, c), or (b, c, t) for "channels_first".

    >>> mapdrop.keras.DropBlock1D(0.1, 5, data_format="channels_last").block
    (('t', 5),)
    """

    __doc__ = f"{__doc__}\n{_DropBlock.__doc__}"
    dims = 1


@keras.saving.register_keras_serializable("mapdrop")
class DropBlock2D(_DropBlock):
    """Shape: (b, h, w, c), or (b, c, h, w) for "channels_first".

    >>> mapdrop.keras.DropBlock2D(0.1, 7, data_format="channels_last").block
    (('h', 7), ('w', 7))
    """

    __doc__ = f"{__doc__}\n{_DropBlock.__doc__}"
    dims = 2


@keras.saving.register_keras_serializable("mapdrop")
class DropBlock3D(_DropBlock):
    """Shape: (b, d, h, w, c), or (b, c, d, h, w) for "channels_first".

    >>> mapdrop.keras.DropBlock3D(0.1, (3, 5, 5), data_format="channels_last").block
    (('d', 3), ('h', 5), ('w', 5))
    """

    __doc__ = f"{__doc__}\n{_DropBlock.__doc__}"
    dims = 3
