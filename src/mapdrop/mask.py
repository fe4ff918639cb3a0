"""The `Mask` object: create it without an array, inspect it, save it, apply it."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from mapdrop.backends import cpu
from mapdrop.backends.registry import as_written, backend_for
from mapdrop.spec import seed as seeds
from mapdrop.spec.binding import Binding, bind
from mapdrop.spec.mask_spec import MaskSpec, as_sizes, check_rate, mask_spec
from mapdrop.spec.pattern import Pattern
from mapdrop.spec.words import VERSION
from mapdrop.system.cores import usual_threads

if TYPE_CHECKING:
    from mapdrop.system.npz import Npz

Array = TypeVar("Array")
_FIELDS = {"version", "pattern", "names", "sizes", "shape", "p", "scale", "coins"}
# Coins that any file may have, and coins for each of its bytes: zeros compress a thousandfold, so a
# small file could fill the memory; random coins compress far less.
_ALWAYS, _EACH = 1 << 28, 64


@dataclass(frozen=True, eq=False, repr=False)
class Mask:
    """Say which values of an array are kept, and what they are multiplied by.

    `mapdrop.mask` makes one, in CPU memory, for arrays of every framework.

    Attributes:
        binding: the pattern fitted to the shape.
        p: the fraction that was to be dropped, from 0 to 1.
        coins: bool, one for each coin, in the order of the pattern's right side; True is kept.
        scale: what kept values are multiplied by: a number, or (``scale="sample"``) float64 of
            shape (n, 1, ..., 1) for each index of the first coin axis, of which there are n.

    Examples:
        >>> m = mapdrop.mask("b c -> b c", (2, 8), 0.5, seed=7)
        >>> m
        Mask('b c -> b c', shape=(2, 8), p=0.5, 6 of 16 coins kept)
        >>> m.apply(np.ones((2, 8), np.float32))[0]
        array([2., 2., 0., 0., 0., 2., 0., 2.], dtype=float32)
    """

    binding: Binding
    p: float
    coins: NDArray[np.bool_]
    scale: float | NDArray[np.float64]

    @property
    def pattern(self) -> Pattern:
        """The pattern."""
        return self.binding.pattern

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the arrays it applies to."""
        return self.binding.shape

    @property
    def kept(self) -> int:
        """The number of coins that are kept."""
        return int(self.coins.sum())

    @property
    def dropped(self) -> float:
        """The fraction of coins dropped; NaN where there is none."""
        return 1 - self.kept / self.coins.size if self.coins.size else math.nan

    def apply(self, x: Array) -> Array:
        """Return x with its dropped values +0 and the others scaled.

        Args:
            x: any framework's array of the mask's `shape`.

        Returns:
            An array like x: same shape, dtype, device and memory layout.

        Raises:
            ValueError: where x has another shape.

        Examples:
            >>> mapdrop.mask("b c -> b", (2, 3), 0.5, seed=3).apply(np.ones((2, 3)))
            array([[2., 2., 2.],
                   [0., 0., 0.]])
        """
        framework, array = backend_for(x), cast("Any", x)
        if tuple(array.shape) != self.shape:
            raise ValueError(
                f"the mask is for shape {self.shape}, the array has {tuple(array.shape)}"
            )
        result: Array = framework.apply(x, self)
        return result

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the mask to a NumPy .npz file (no pickle), at once or not at all.

        Args:
            path: the file, which is replaced if there is one.

        Raises:
            OSError: where it cannot be written.

        Examples:
            >>> import os, tempfile
            >>> path = os.path.join(tempfile.mkdtemp(), "mask.npz")
            >>> mapdrop.mask("b c -> b c", (2, 8), 0.5, seed=7).save(path)
            >>> mapdrop.Mask.load(path)
            Mask('b c -> b c', shape=(2, 8), p=0.5, 6 of 16 coins kept)
        """
        sizes = {
            axis.name: size
            for part, factors in zip(_parts(self.binding), self.binding.axes, strict=True)
            for axis, (size, _) in zip(part, factors, strict=True)
            if len(part) > 1 and axis.name and size  # Of an empty axis, one size is worked out.
        }
        fields: dict[str, Any] = {
            "version": np.int64(VERSION),
            "pattern": np.str_(self.pattern.text),
            "names": np.array(list(sizes), np.str_),
            "sizes": np.array(list(sizes.values()), np.int64),
            "shape": np.array(self.shape, np.int64),
            "p": np.float64(self.p),
            "scale": np.asarray(self.scale, np.float64),
            "coins": self.coins,
        }
        # Here, as in `load`.
        from mapdrop.system.files import replacing

        with replacing(path, unique=True) as file:
            np.savez_compressed(file, **fields)

    @staticmethod
    def load(path: str | os.PathLike[str], *, limit: int | None = None) -> Mask:
        """Read a file that `save` wrote.

        Args:
            path: the file.
            limit: the largest number of coins to accept; None for 2**28, or 64 for each byte of the
                file if these are more.

        Returns:
            The mask.

        Raises:
            ValueError: naming the file, for more coins, for any other content, and for what is not
                a regular file.
            OSError: where the file cannot be opened.

        Examples:
            >>> mapdrop.Mask.load("/dev/null")
            Traceback (most recent call last):
            mapdrop.system.files.IrregularFileError: /dev/null is not a regular file
        """
        # Imported here because zipfile takes long.
        from mapdrop.system.files import opened
        from mapdrop.system.npz import Npz

        with opened(path) as file:
            if limit is None:
                limit = max(_ALWAYS, _EACH * os.fstat(file.fileno()).st_size)
            try:
                return _read(Npz(file), limit)
            except Exception as problem:  # Foreign bytes break the readers in every way there is.
                raise ValueError(f"{os.fspath(path)} is not a saved mask: {problem}") from problem

    def __repr__(self) -> str:
        return (
            f"Mask({str(self.pattern)!r}, shape={self.shape}, p={self.p:g}, "
            f"{self.kept} of {self.coins.size} coins kept)"
        )

    def __str__(self) -> str:
        """Return a picture: '█' is kept, '·' is dropped; large masks are cut."""
        return "\n".join([repr(self), *_picture(self.coins, self.binding.names)])


@as_written
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
    """Return the mask that `mapdrop.drop` uses for an array of this shape.

    Args:
        pattern: the axes of the arrays, an arrow, and the axes that have coins of their own.
        shape: the sizes of the arrays' axes.
        p: the fraction to drop, from 0 to 1.
        seed: a whole number from 0 to 2**64 - 1; a NumPy generator to draw it from; or None, to
            draw it from numpy.random.
        stream: a name, so that several masks with one seed have different coins.
        step: the training step, a whole number from 0 to 2**64 - 1.
        exact: a coin axis along which exactly round((1 - p) * n) of n coins survive.
        balance: a coin axis of size n across which every line keeps floor or ceil of (1 - p) * n
            coins.
        block: sizes of blocks along coin axes, ``dict(h=7, w=7)``.
        region: where a block's centre may lie: "valid", where the whole block fits, or "full".
        scale: what kept values are multiplied by: "expected", "sample", "batch" or None, as for
            `mapdrop.drop`.
        **sizes: sizes of names inside groups: ``k=8`` for ``"b h w (g k) -> b g"``.

    Returns:
        The mask, which `Mask.apply` applies to an array of any framework.

    Raises:
        PatternError: where the pattern cannot be read or does not fit the shape.
        ValueError: where p, seed, step, region or scale is out of its range.
        TypeError: where an argument has another type.

    Examples:
        >>> m = mapdrop.mask("b h w c -> b c", (4, 32, 32, 12), 0.5, seed=7)
        >>> m.coins.shape, m.kept, m.scale
        ((4, 12), 23, 2.0)
        >>> print(m)
        Mask('b h w c -> b c', shape=(4, 32, 32, 12), p=0.5, 23 of 48 coins kept)
        b x c (4 x 12)
        ██···█·█··██
        ·····███··██
        █·····██·█··
        █··████·███·
    """
    checked_shape = tuple(seeds.check_uint64(n, "a size of the shape") for n in shape)
    spec = mask_spec(
        pattern,
        p,
        exact,
        balance,
        as_sizes(block, "block"),
        region,
        scale,
        as_sizes(sizes, "sizes"),
    )
    return mask_of(spec, checked_shape, seed, stream, step)


def mask_of(
    spec: MaskSpec, shape: tuple[int, ...], seed: Any, stream: str | None = None, step: int = 0
) -> Mask:
    """Return the mask of a spec for an array of this shape."""
    bound = spec.bind(shape)
    name, number = seeds.check_stream(stream), seeds.check_uint64(step, "step")
    if spec.p == 0:
        return Mask(bound.binding, 0.0, np.ones(bound.binding.coins, bool), 1.0)
    key = seeds.key(seeds.draw(seed), name)
    return Mask(bound.binding, spec.p, *cpu.drawn(bound, key, number, usual_threads()))


def _read(file: Npz, limit: int) -> Mask:
    if not set(file.names) >= _FIELDS:
        raise ValueError("its fields are not a mask's")
    if (version := file.read("version", "<i8", ()).item()) != VERSION:
        raise ValueError(f"it has version {version} of the mask specification")
    names, sizes = file.read("names", "U", (None,)), file.read("sizes", "<i8", (None,))
    pattern = Pattern.parse(file.read("pattern", "U", ()).item())
    shape = file.read("shape", "<i8", (None,)).tolist()
    binding = bind(pattern, shape, dict(zip(names.tolist(), sizes.tolist(), strict=True)))
    p = check_rate(file.read("p", "<f8", ()).item())
    if binding.count > limit:
        raise ValueError(
            f"it has {binding.count} coins, more than {limit}; if you trust it, give limit="
        )
    coins = file.read("coins", "|b1", binding.coins, most=limit)
    if (coins.view(np.uint8) > 1).any():
        raise ValueError("coins are bytes of 0 and 1, others came")
    each = (*binding.coins[:1], *(1 for _ in binding.coins[1:]))
    scale = file.read("scale", "<f8", (), each, most=8 * limit)
    if not (np.isfinite(scale) & (scale >= 0)).all():
        raise ValueError(f"a scale is finite and not below 0, {scale} came")
    return Mask(binding, p, coins, scale.item() if scale.ndim == 0 else scale)


def _parts(binding: Binding) -> Iterator[tuple[Any, ...]]:
    """Yield the pattern's part for each axis of the shape; the ellipsis gives unnamed ones."""
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
    plane = flat.reshape((math.prod(flat.shape[:-2]), *flat.shape[-2:]))
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
