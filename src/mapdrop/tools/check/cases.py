"""What every framework must drop, and the bits that must come back.

Masks come from the specification's vectors (`vectors.json`); values are worked out in NumPy
from `mapdrop.spec.numpy_coins`, the specification itself.
Nothing here uses a framework or a compiled kernel.
"""

from __future__ import annotations

import importlib.resources
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mapdrop.mask import Mask
from mapdrop.spec.binding import bind
from mapdrop.spec.law import Law
from mapdrop.spec.mask_spec import OPTIONS
from mapdrop.spec.numpy_coins import kept as kept_coins
from mapdrop.spec.words import all_words
from mapdrop.tools.adapters.bits import DTYPES, Bits, from_floats, to_floats

MASKS = "masks"
_SEED, _RATE = 2**63 + 5, 0.3
_WILD = np.array([np.inf, -np.inf, np.nan, -0.0, 0.0], np.float32)
_TURNED = (0, 3, 1, 2)  # From channels last to channels first.


@dataclass(frozen=True)
class Case:
    """One drop.

    Attributes:
        name: it stands where the case fails.
        part: MASKS, or the dtype whose values it checks.
        pattern, p, options: the arguments of `mapdrop.drop`.
        x, expected: the bits of the input and of the result.
        dtype: the input's.
        memory: "dense", "turned" (x is channels first, its memory channels last) or "sliced"
            (x is every other column of an array).
        common: whether every framework has it, compiled or not, so that it counts for the digests.
    """

    name: str
    part: str
    pattern: str
    p: float
    options: dict[str, Any]
    x: Bits
    expected: Bits
    dtype: str = "float32"
    memory: str = "dense"
    common: bool = True


def vectors() -> Iterator[Case]:
    """Yield the masks of vectors.json, through arrays of ones."""
    text = importlib.resources.files("mapdrop").joinpath("vectors.json").read_text("utf-8")
    seen: set[str] = set()
    for row in json.loads(text)["masks"]:
        named = ("stream", *(name for name, _ in OPTIONS if name != "sizes"))
        given = {name: row[name] for name in named if name in row}
        if "step" in row:
            given["step"] = int(row["step"], 16)
        sizes = row.get("sizes", {})
        # The first with each option is common. Layers know neither stream nor step.
        kinds = {*given, "sizes" if sizes else "plain"}
        common = not kinds <= seen and not kinds & {"stream", "step"}
        seen |= kinds
        options = {**given, **sizes, "seed": int(row["seed"], 16)}
        binding = bind(row["pattern"], row["shape"], sizes)
        count = math.prod(row["coins"])
        bits = np.unpackbits(np.frombuffer(bytes.fromhex(row["kept"]), np.uint8))[:count]
        scale = np.frombuffer(bytes.fromhex("".join(row["scale64"])), ">f8").astype(np.float64)
        each = scale.reshape(-1, *[1] * (len(row["coins"]) - 1)) if len(scale) > 1 else scale.sum()
        mask = Mask(binding, row["p"], bits.astype(bool).reshape(row["coins"]), each)
        ones = np.ones(row["shape"], np.float32)
        yield Case(
            row["name"],
            MASKS,
            row["pattern"],
            row["p"],
            options,
            from_floats(ones, "float32"),
            from_floats(mask.apply(ones), "float32"),
            common=common,
        )


def values() -> Iterator[Case]:
    """Yield values of both signs, with infinities and NaN, in every dtype and layout."""
    numbers = _numbers((4, 6, 5, 16))
    numbers.reshape(-1)[::37] = np.resize(_WILD, numbers.reshape(-1)[::37].shape)
    for dtype in DTYPES:
        last = from_floats(numbers, dtype)
        first = np.ascontiguousarray(last.transpose(_TURNED))
        for name, pattern, x, memory, common in (
            ("channels last", "b h w c -> b c", last, "dense", True),
            ("channels first", "b c h w -> b c", first, "dense", False),
            ("channels first, in memory last", "b c h w -> b c", first, "turned", False),
            ("every other column", "b h w c -> b c", last, "sliced", False),
        ):
            yield _expected(f"{dtype}, {name}", dtype, pattern, x, memory, common)


def large() -> Case:
    """Return a million values, a coin for each: to be timed, and enough for several threads."""
    x = from_floats(_numbers((16, 32, 32, 64)), "float32")
    return _expected("float32, a million coins", "float32", "b h w c -> b h w c", x)


def _expected(
    name: str, dtype: str, pattern: str, x: Bits, memory: str = "dense", common: bool = True
) -> Case:
    binding = bind(pattern, x.shape, {})
    kept = kept_coins(Law(_RATE), binding.coins, _SEED, 0)
    dropped = Mask(binding, _RATE, kept, 1 / (1 - _RATE)).apply(to_floats(x, dtype))
    return Case(
        name,
        dtype,
        pattern,
        _RATE,
        {"seed": _SEED},
        x,
        from_floats(dropped, dtype),
        dtype,
        memory,
        common,
    )


def _numbers(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return values from -4 to 4, the same on every machine, so that digests can be compared."""
    words = all_words(math.prod(shape), key=1, step=0).astype(np.float64)
    return (words / 2**29 - 4).astype(np.float32).reshape(shape)
