"""Spatial dropout: Keras' own layers, argument for argument, with mapdrop's masks."""

from __future__ import annotations

from typing import Any

import keras

from mapdrop.keras.drop import layer_only
from mapdrop.keras.maps import Maps


class _SpatialDropout(Maps):
    """A coin for every sample and map (Tompson et al., CVPR 2015, arXiv 1411.4280).

    Args:
        rate: the fraction of maps to drop, from 0 to 1.
        data_format: "channels_first", (b, c, ...), or "channels_last", (b, ..., c). The same seed
            gives the same mask in both. None: {default}.
        seed: a whole number from 0 to 2**64 - 1, or None. See `Drop`.
        name, dtype, **kwargs: as for every Keras layer.

    Raises PatternError for an input of another rank, which says which layer to use.
    """

    family = "SpatialDropout"
    arguments = ("rate", "data_format", "seed")

    def __init__(
        self,
        rate: float,
        data_format: str | None = None,
        seed: int | None = None,
        name: str | None = None,
        dtype: Any = None,
        **kwargs: Any,
    ) -> None:
        given = {"seed": seed, "name": name, "dtype": dtype, **layer_only(kwargs)}
        super().__init__("b c", rate, data_format, **given)


_DOC = str(_SpatialDropout.__doc__)
_IMAGES = "`keras.config.image_data_format()`"


@keras.saving.register_keras_serializable("mapdrop")
class SpatialDropout1D(_SpatialDropout):
    """Drops whole channels of a sequence. Shape: (b, t, c), or (b, c, t) for "channels_first".

    >>> layer = mapdrop.keras.SpatialDropout1D(0.5, seed=7)
    >>> keras.ops.convert_to_numpy(layer(np.ones((1, 2, 4)), training=True))[0]
    array([[2., 2., 0., 0.],
           [2., 2., 0., 0.]], dtype=float32)
    """

    __doc__ = f"{__doc__}\n{_DOC.format(default='channels last, as Keras has it')}"
    dims = 1

    def __init__(
        self,
        rate: float,
        seed: int | None = None,
        name: str | None = None,
        dtype: Any = None,
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        # Keras' own has no data_format: the order of its arguments is kept.
        super().__init__(rate, data_format or "channels_last", seed, name, dtype, **kwargs)


@keras.saving.register_keras_serializable("mapdrop")
class SpatialDropout2D(_SpatialDropout):
    """Drops whole maps. Shape: (b, h, w, c), or (b, c, h, w) for "channels_first".

    >>> layer = mapdrop.keras.SpatialDropout2D(0.5, data_format="channels_first", seed=7)
    >>> layer.pattern
    'b c h w -> b c'
    """

    __doc__ = f"{__doc__}\n{_DOC.format(default=_IMAGES)}"
    dims = 2


@keras.saving.register_keras_serializable("mapdrop")
class SpatialDropout3D(_SpatialDropout):
    """Drops whole volumes. Shape: (b, d, h, w, c), or (b, c, d, h, w) for "channels_first".

    >>> mapdrop.keras.SpatialDropout3D(0.3, data_format="channels_last").pattern
    'b d h w c -> b c'
    """

    __doc__ = f"{__doc__}\n{_DOC.format(default=_IMAGES)}"
    dims = 3
