"""The cells of a study: conditions times training sizes times seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mapdrop.localize.drop_option import kind
from mapdrop.study.conditions import Condition


@dataclass(frozen=True)
class Cell:
    """One run: a condition, a training size, and the seed of weights, batches and masks."""

    condition: Condition
    train_size: int
    seed: int

    def to_row(self) -> dict[str, Any]:
        """Return the fields of a row that name the cell."""
        return {**asdict(self.condition), "train_size": self.train_size, "seed": self.seed}

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Cell:
        """Return the cell that a row is about."""
        return cls(Condition.from_row(row), row["train_size"], row["seed"])


def conditions(
    drops: Sequence[str], rates: Sequence[float] | None, block_size: int
) -> list[Condition]:
    """Return each kind of dropout at each rate (or at its default rate), and "none" once.

    Raises:
        ValueError: for an unknown or repeated kind, a rate that isn't between 0 and 1, or a block
            size below 1.
    """
    if not drops or len(set(drops)) != len(drops):
        raise ValueError(f"name each kind of dropout once, got {','.join(drops) or 'none of them'}")
    for rate in rates or ():
        if not 0 < rate < 1:
            raise ValueError(f"a rate must be between 0 and 1, got {rate:g}; 'none' is a rate of 0")
    if block_size < 1:
        raise ValueError(f"a block must have at least 1 pixel, got {block_size}")
    chosen = []
    for drop in drops:
        default = kind(drop).rate
        for rate in (0.0,) if default is None else dict.fromkeys(rates or (default,)):
            chosen.append(Condition(drop, rate, block_size))
    return chosen


def grid(chosen: Sequence[Condition], train_sizes: Sequence[int], seeds: int) -> list[Cell]:
    """Return all cells ordered by seed, so that an interrupted study has complete seeds.

    Raises:
        ValueError: for fewer than one seed, or for sizes that repeat or are below 1.
    """
    if seeds < 1:
        raise ValueError(f"a study needs at least 1 seed, got {seeds}")
    if not train_sizes or len(set(train_sizes)) != len(train_sizes) or min(train_sizes) < 1:
        raise ValueError(
            f"name each number of training images once, from 1, got {list(train_sizes)}"
        )
    return [
        Cell(condition, size, seed)
        for seed in range(seeds)
        for size in train_sizes
        for condition in chosen
    ]
