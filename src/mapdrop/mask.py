"""A mask as a thing of its own: made without an array, looked at, saved, applied."""

from __future__ import annotations

import json
import math
import os
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from mapdrop import seed as seeds
from mapdrop._detect import arrays_for
from mapdrop.arrays import host
from mapdrop.arrays.numpy import draw_seed
from mapdrop.coins import VERSION
from mapdrop.pattern import Binding, Pattern
from mapdrop.plan import items, plan

Array = TypeVar("Array")
_FIELDS = {"version", "pattern", "sizes", "shape", "p", "scale", "coins"}


@dataclass(frozen=True, eq=False, repr=False)
class Mask:
    """Which values of an array are kept, and what they are multiplied by.

    Attributes:
        binding: the pattern fitted to the shape.
        p: the fraction that was to be dropped, from 0 to 1.
        coins: bool, one for each coin, in the order of the pattern's right side; True is kept.
        scale: what kept values are multiplied by: a number, or (``scale="sample"``) float64 of
            shape (n, 1, ..., 1) for each index of the first coin axis.
    """

    binding: Binding
    p: float
    coins: NDArray[np.bool_]
    scale: float | NDArray[np.float64]

    @property
    def pattern(self) -> Pattern:
        """The pattern that was asked for."""
        return self.binding.pattern

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the arrays it applies to."""
        return self.binding.shape

    @property
    def kept(self) -> int:
        """How many coins are kept."""
        return int(self.coins.sum())

    @property
    def dropped(self) -> float:
        """The fraction of coins dropped; NaN where there is none."""
        return 1 - self.kept / self.coins.size if self.coins.size else math.nan

    def apply(self, x: Array) -> Array:
        """x with dropped values +0 and the others scaled: any framework's array of this shape.

        Raises ValueError where the shape is another.
        """
        if tuple(x.shape) != self.shape:  # type: ignore[attr-defined]
            raise ValueError(
                f"the mask is for shape {self.shape}, the array has {tuple(x.shape)}"  # type: ignore[attr-defined]
            )
        result: Array = arrays_for(x).apply(x, self)
        return result

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it to a NumPy .npz file (no pickle), at once or not at all."""
        target = Path(path)
        sizes = {
            axis.name: size
            for part, factors in zip(_parts(self.binding), self.binding.axes, strict=True)
            for axis, (size, _) in zip(part, factors, strict=True)
            if len(part) > 1 and axis.name
        }
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=target.name, suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                np.savez_compressed(
                    file,
                    version=np.int64(VERSION),
                    pattern=np.str_(self.pattern.text),
                    sizes=np.str_(json.dumps(sizes)),
                    shape=np.asarray(self.shape, np.int64),
                    p=np.float64(self.p),
                    scale=np.asarray(self.scale, np.float64),
                    coins=self.coins,
                )
            os.replace(name, target)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise

    @staticmethod
    def load(path: str | os.PathLike[str]) -> Mask:
        """Read what `save` wrote. Raises ValueError, naming the file, for any other content."""
        try:
            with np.load(path, allow_pickle=False) as file:
                if not isinstance(file, np.lib.npyio.NpzFile) or not set(file.files) >= _FIELDS:
                    raise ValueError("its fields are not a mask's")
                stored = {name: file[name] for name in _FIELDS}
            if stored["version"] != VERSION:
                raise ValueError(f"it has version {stored['version']} of the mask specification")
            shape = tuple(int(n) for n in stored["shape"])
            pattern = Pattern.parse(str(stored["pattern"]))
            sizes = json.loads(str(stored["sizes"]))
            binding = pattern.bind(shape, sizes, ragged=True)
            coins, scale = stored["coins"], stored["scale"]
            if coins.dtype != bool or coins.shape != binding.coins:
                raise ValueError(f"{binding.coins} coins expected, {coins.dtype}{coins.shape} came")
        except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as problem:
            raise ValueError(f"{os.fspath(path)} is not a saved mask: {problem}") from problem
        return Mask(binding, float(stored["p"]), coins, float(scale) if scale.ndim == 0 else scale)

    def __repr__(self) -> str:
        return (
            f"Mask({str(self.pattern)!r}, shape={self.shape}, p={self.p:g}, "
            f"{self.kept} of {self.coins.size} coins kept)"
        )

    def __str__(self) -> str:
        """A picture: '█' is kept, '·' is dropped; large masks are shown in part."""
        return "\n".join([repr(self), *_picture(self.coins, self.binding.names)])


def mask(
    pattern: str | Pattern,
    shape: Iterable[int],
    p: float,
    *,
    seed: Any = None,
    stream: str | None = None,
    step: int = 0,
    exact: str | None = None,
    balance: str | None = None,
    block: Mapping[str, int] | None = None,
    region: str = "valid",
    scale: str | None = "expected",
    **sizes: int,
) -> Mask:
    """The mask that `mapdrop.drop` would use for an array of this shape. Arguments as for `drop`.

    >>> m = mapdrop.mask("b h w c -> b c", (4, 32, 32, 12), 0.5, seed=7)
    >>> m.coins.shape, m.kept, m.scale
    ((4, 12), 23, 2.0)
    >>> print(m)
    Mask('b h w c -> b c', shape=(4, 32, 32, 12), p=0.5, 23 of 48 coins kept)
    """
    whole = tuple(seeds.whole(n, "a size of the shape") for n in shape)
    asked = plan(
        pattern, whole, p, exact, balance, items(block, "block"), region, scale,
        items(sizes, "sizes"),
    )  # fmt: skip
    checked = seeds.check_stream(stream), seeds.whole(step, "step")
    if asked.law.p == 0:
        return Mask(asked.binding, 0.0, np.ones(asked.binding.coins, bool), 1.0)
    key = seeds.key(draw_seed(seed), checked[0])
    coins = host.coins(asked, key, checked[1], host.threads())
    return Mask(asked.binding, asked.law.p, coins, asked.factor(coins))


def _parts(binding: Binding) -> Iterator[tuple[Any, ...]]:
    """The pattern's part for each axis of the shape (the ellipsis gives unnamed ones)."""
    spare = len(binding.shape) - sum(part is not None for part in binding.pattern.left)
    for part in binding.pattern.left:
        if part is None:
            yield from ((None,) for _ in range(spare))
        else:
            yield part


def _picture(
    coins: NDArray[np.bool_], names: tuple[str, ...], rows: int = 32, columns: int = 96
) -> Iterator[str]:
    flat = coins.reshape((1,) * max(0, 2 - coins.ndim) + coins.shape)
    plane = flat.reshape((-1, *flat.shape[-2:]))
    if coins.ndim:
        yield f"{' x '.join(names[-2:])} ({' x '.join(map(str, coins.shape[-2:]))})"
    left = rows
    for number, page in enumerate(plane):
        if left <= 0:
            yield f"... {len(plane) - number} more"
            return
        if coins.ndim > 2:
            index = np.unravel_index(number, coins.shape[:-2])
            yield ", ".join(f"{n} = {i}" for n, i in zip(names, index, strict=False))
        for row in page[:left]:
            more = " ..." if row.size > columns else ""
            yield "".join("█" if coin else "·" for coin in row[:columns]) + more
        if len(page) > left:
            yield f"... {len(page) - left} more rows"
        left -= len(page)
