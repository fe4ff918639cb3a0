"""Passes of a model as it is: what a prediction means, and what runs where nothing is shared."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mapdrop.backends.torch._internals import pytree
from mapdrop.torch.graph.replicas import RandomStates
from mapdrop.torch.predict.activation import FunctionsActive
from mapdrop.torch.predict.capture import Arguments, forward


def looped(
    model: nn.Module,
    output: Callable[[Any], Any] | None,
    arguments: Arguments,
    seeds: Sequence[int],
    shared: bool,
    states: RandomStates,
) -> Iterator[Any]:
    """Yield the results of passes of a model whose drops are on.

    With `shared` each row of the batch is run by itself, from the same random numbers. Raises
    ValueError if none are drawn.
    """
    rows = [arguments.row(i) for i in range(arguments.rows)] if shared else [arguments]
    drawn = False
    for seed in seeds:
        results = []
        for row in rows:
            states.seed([seed])
            with FunctionsActive():
                results.append(forward(model, output, *row.cloned().call))
            drawn = drawn or states.differ()
        yield _joined(results)
    if not drawn:
        raise NothingDroppedError


class NothingDroppedError(ValueError):
    """A model draws no random numbers."""

    def __init__(self) -> None:
        super().__init__(
            "the model draws no random numbers: it has no drop layer with p > 0 and calls no "
            "dropout function, so that all passes would be equal"
        )


def _joined(results: list[Any]) -> Any:
    """Return the results of rows as that of a batch."""
    if len(results) == 1:
        return results[0]
    each = [pytree.tree_flatten(result) for result in results]
    leaves = zip(*(leaves for leaves, _ in each), strict=True)
    return pytree.tree_unflatten([_joined_leaf(rows) for rows in leaves], each[0][1])


def _joined_leaf(rows: tuple[Any, ...]) -> Any:
    if not isinstance(rows[0], Tensor):
        if any(row != rows[0] for row in rows):
            raise TypeError('one_mask="batch" needs outputs that are tensors, not numbers')
        return rows[0]
    if any(row.shape[:1] != (1,) for row in rows):
        raise ValueError(
            'one_mask="batch" needs outputs with the batch in their first axis; for one sample the '
            f"model returns one of shape {tuple(rows[0].shape)}"
        )
    return torch.cat(rows)
