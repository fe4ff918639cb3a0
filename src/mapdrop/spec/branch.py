"""What a residual branch that runs for some samples has to keep to, in every framework."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def check_arrays(inputs: Sequence[Any], kinds: tuple[type, ...]) -> None:
    """Raise TypeError unless all inputs are arrays of x's framework."""
    for number, other in enumerate(inputs):
        if not isinstance(other, kinds):
            names = " or ".join(kind.__name__.rpartition(".")[2] for kind in kinds)
            raise TypeError(
                f"inputs[{number}] has a row for each sample of x, and is a {names}, not "
                f"{type(other).__name__}: anything else belongs to the branch, as in "
                "lambda x: block(x, None)"
            )


def check_inputs(shape: Sequence[Any], inputs: Sequence[Sequence[Any]]) -> None:
    """Raise ValueError unless x, of this shape, has samples, and all inputs have as many.

    A size that is not yet known is None, and fits any other; so does a shape of unknown rank if it
    is given as (None,).
    """
    if len(shape) == 0:
        raise ValueError("samples lie along the first axis, and x has no axes: x[None] has one")
    for number, other in enumerate(inputs):
        if len(other) == 0 or not _fit(shape[:1], other[:1]):
            raise ValueError(
                f"inputs[{number}] has shape {tuple(other)}, and x has {shape[0]} samples along "
                "its first axis: what all samples share belongs to the branch, as in "
                "lambda x: block(x, shared)"
            )


def check_branch(came: Sequence[Any], given: Sequence[Any]) -> None:
    """Raise ValueError unless a branch returned the shape that it was given.

    A size that is not yet known is None, and fits any other.
    """
    if len(came) != len(given) or not _fit(came, given):
        raise ValueError(
            f"a residual branch returns the shape that it is given, {tuple(given)}, which is added "
            f"to x, and this one returned {tuple(came)}"
        )


def _fit(shape: Sequence[Any], other: Sequence[Any]) -> bool:
    pairs = zip(shape, other, strict=True)
    return all(None in pair or pair[0] == pair[1] for pair in pairs)
