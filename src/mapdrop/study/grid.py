"""Every run of a study: conditions times training sizes times seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mapdrop.localize.kinds import kind
from mapdrop.study.conditions import Condition


@dataclass(frozen=True)
class Cell:
    """One run: a condition, how many images train it, and the seed of weights, batches, masks."""

    condition: Condition
    train_size: int
    seed: int

    def to_row(self) -> dict[str, Any]:
        """What names it in a row."""
        return {**asdict(self.condition), "train_size": self.train_size, "seed": self.seed}

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Cell:
        """The cell that a row is about."""
        condition = Condition(row["drop"], row["rate"], row["block_size"])
        return cls(condition, row["train_size"], row["seed"])


def conditions(
    drops: Sequence[str], rates: Sequence[float] | None, block_size: int
) -> list[Condition]:
    """Each kind of dropout at each rate (or at its default), "none" once.

    Raises:
        ValueError: for an unknown or repeated kind, a rate that isn't between 0 and 1, or a block
            smaller than 1.
    """
    if not drops or len(set(drops)) != len(drops):
        raise ValueError(f"name each kind of dropout once, got {','.join(drops) or 'none of them'}")
    for rate in rates or ():
        if not 0 < rate < 1:
            raise ValueError(f"a rate lies between 0 and 1, got {rate:g}; 'none' is a rate of 0")
    if block_size < 1:
        raise ValueError(f"a block has at least 1 pixel, got {block_size}")
    chosen = []
    for drop in drops:
        default = kind(drop).rate
        for rate in (0.0,) if default is None else dict.fromkeys(rates or (default,)):
            chosen.append(Condition(drop, rate, block_size))
    return chosen


def grid(chosen: Sequence[Condition], train_sizes: Sequence[int], seeds: int) -> list[Cell]:
    """All cells, one seed after the other, so that a study cut short still compares like with like.

    Raises:
        ValueError: for fewer than one seed, and for sizes that repeat or are smaller than 1.
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
