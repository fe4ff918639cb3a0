"""What a residual branch that runs for some samples has to keep to, in every framework."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def check_inputs(shape: Sequence[Any], inputs: Sequence[Sequence[Any]]) -> None:
    """Raise ValueError unless x, of this shape, has samples, and all inputs have as many.

    A size that is not yet known is None, and fits any other.
    """
    if len(shape) == 0:
        raise ValueError("samples lie along the first axis, and x has no axes: x[None] has one")
    for number, other in enumerate(inputs):
        if len(other) == 0 or (None not in (shape[0], other[0]) and shape[0] != other[0]):
            raise ValueError(
                f"inputs[{number}] has shape {tuple(other)}, and x has {shape[0]} samples along "
                "its first axis: what all samples share belongs to the branch, as in "
                "lambda x: block(x, shared)"
            )


def check_branch(came: Sequence[Any], given: Sequence[Any]) -> None:
    """Raise ValueError unless a branch returned the shape that it was given.

    A size that is not yet known is None, and fits any other.
    """
    pairs = zip(came, given, strict=False)
    if len(came) != len(given) or any(None not in pair and pair[0] != pair[1] for pair in pairs):
        raise ValueError(
            f"a residual branch returns the shape that it is given, {tuple(given)}, which is added "
            f"to x, and this one returned {tuple(came)}"
        )
