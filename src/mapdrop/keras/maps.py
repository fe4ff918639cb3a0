"""What the layers for maps have in common: a data format, and a number of axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import keras

from mapdrop.keras.drop import Named
from mapdrop.spec.pattern import PatternError

SPACE = {1: "t", 2: "h w", 3: "d h w"}
_FORMATS = ("channels_first", "channels_last")


class Maps(Named):
    """A layer for maps of `dims` dimensions, which says so to an input of another rank."""

    dims: ClassVar[int]
    family: ClassVar[str]
    fixed = frozenset({"data_format"})

    def __init__(self, right: str, rate: float, data_format: str | None, **options: Any) -> None:
        found = keras.config.image_data_format() if data_format is None else data_format
        if found not in _FORMATS:
            raise ValueError(f"data_format is one of {_FORMATS}, or None, not {data_format!r}")
        space = SPACE[self.dims]
        left = f"b c {space}" if found == "channels_first" else f"b {space} c"
        super().__init__(f"{left} -> {right}", rate, **options)
        self.data_format = found

    def call(self, inputs: Any, training: bool | None = False) -> Any:
        """See `Drop.call`."""
        self._check_rank(inputs.shape)
        return super().call(inputs, training)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        """See `Drop.compute_output_shape`."""
        self._check_rank(input_shape)
        return super().compute_output_shape(input_shape)

    def _check_rank(self, shape: Sequence[int | None]) -> None:
        rank = len(shape)
        if rank == self.dims + 2:
            return
        advice = f"an array of {self.dims + 2} axes"
        if rank - 2 in SPACE:
            advice = f"{self.family}{rank - 2}D for a batch with {rank} axes"
        if rank == self.dims + 1:
            advice += ", keras.ops.expand_dims(x, 0) for one sample without a batch axis"
        raise PatternError(
            f"{type(self).__name__} takes {self.dims + 2} axes, the array has {rank}",
            self.pattern,
            0,
            advice,
            tuple(shape),
        )
