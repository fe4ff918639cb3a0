"""What `mapdrop.drop` can be asked, drawn by Hypothesis, and what the specification answers.

The answer is that of `mapdrop.spec.numpy_coins`, which is the specification, spread over the values
by the independent reading of patterns in tests/reference.py: no framework's code has a part in it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import ml_dtypes
import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from mapdrop.spec import numpy_coins
from mapdrop.spec import words as generator
from mapdrop.spec.law import Law
from tests import reference
from tests.cases import Case
from tests.checks import same_bits

DTYPES: dict[str, np.dtype[Any]] = {
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
    "float32": np.dtype(np.float32),
    "float64": np.dtype(np.float64),
}


@dataclass(frozen=True)
class Draw:
    """One case with an array for it.

    `order` has the array's axes from the outermost in memory to the innermost, and `gaps` for each
    axis how its places follow each other: 1 densely, 2 at every second place of memory, -1
    backwards, 0 all at one place. `fill` and `number` say which values there are.
    """

    case: Case
    dtype: np.dtype[Any]
    order: tuple[int, ...]
    gaps: tuple[int, ...]
    fill: str
    number: int

    def laid_out(
        self, *, backwards: bool = True, overlapping: bool = True, subnormal: bool = True
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """(memory, array): a view into flat memory, around which and in whose gaps there is NaN."""
        gaps = [gap if backwards else abs(gap) for gap in self.gaps]
        gaps = [gap if overlapping or gap else 1 for gap in gaps]
        steps, size = [0] * len(gaps), 1
        for axis in reversed(self.order):
            steps[axis] = size * gaps[axis]
            size *= max(1, self.case.shape[axis] * abs(gaps[axis]))
        memory = np.full(size + 2, np.nan, self.dtype)
        start = 1 + sum(
            (n - 1) * -step for n, step in zip(self.case.shape, steps, strict=True) if step < 0 < n
        )
        array = np.lib.stride_tricks.as_strided(
            memory[start:], self.case.shape, [step * memory.itemsize for step in steps]
        )
        array[...] = self._values(subnormal)
        return memory, array

    def _values(self, subnormal: bool) -> NDArray[Any]:
        random = np.random.default_rng(self.number)
        shape = self.case.shape
        if self.fill == "any":  # Every pattern of bits: of every size, NaN and infinity too.
            raw = random.integers(0, 256, (math.prod(shape), self.dtype.itemsize), np.uint8)
            values: NDArray[Any] = raw.view(self.dtype).reshape(shape)
            with np.errstate(invalid="ignore"):  # Of signalling NaN.
                wide = values.astype(np.float64 if self.dtype == np.float64 else np.float32)
            small = np.abs(wide) < (2.0**-1022 if self.dtype == np.float64 else 2.0**-126)
            return values if subnormal else np.where(small, np.zeros((), self.dtype), values)
        if self.fill == "wild":
            wild = np.array([np.nan, np.inf, -np.inf, -0.0, -1.0, 60_000.0], self.dtype)
            return wild[random.integers(0, len(wild), shape)]
        values = random.standard_normal(shape)
        return np.where(np.abs(values) < 0.01, 1.0, values).astype(self.dtype)


# --- Cases.

# Names of axes: with sizes as keywords, which names of `drop`'s own arguments cannot have.
_NAMES = ("b", "h", "w", "c", "d", "g", "k", "m", "n", "t", "größe", "滴")
_ARGUMENTS = ("x", "p", "seed", "scale", "out")
_SIZES = st.sampled_from([3, 1, 2, 4, 5, 6, 7, 8, 9, 13, 16, 17, 33, 2, 1, 2, 4, 3, 5, 0])
_ROOM = st.sampled_from([300, 60, 300, 1200, 9000])  # Values of an array, at most.
_RATES = st.one_of(
    st.sampled_from([0.1, 0.25, 0.3, 0.5, 0.9]),
    st.floats(0, 1),
    st.floats(0.01, 0.99),
    st.sampled_from([0.0, 1.0, 5e-324, 2**-33, 2**-32, 1e-6, 0.999999, 1 - 2**-33, 1 - 2**-53]),
)
_STREAMS = st.one_of(st.none(), st.none(), st.text(max_size=9))


@st.composite
def cases(draw: st.DrawFn, streams: bool = True) -> Case:
    """Pattern, shape, rate and options that fit each other; seed and step are still to come."""
    room = draw(_ROOM)
    turn = draw(st.integers(0, len(_NAMES) - 1))
    names, spare = [*_NAMES[turn:], *_NAMES[:turn]], list(_ARGUMENTS)
    left: list[str] = []
    right: list[str] = []  # What may stand there.
    shape: list[int] = []
    given: dict[str, Any] = {}

    def size(least: int = 0) -> int:
        nonlocal room
        n = max(least, min(draw(_SIZES), room))
        room //= max(1, n)
        return n

    # The first of a list is what Hypothesis draws most.
    for _ in range(draw(st.sampled_from([3, 4, 2, 5, 1, 3, 4, 0]))):
        kind = draw(st.sampled_from(["name", "group", "name", "name", "...", "literal"]))
        if kind == "..." and "..." not in left:
            left.append("...")
            right.append("...")
            shape += [size() for _ in range(draw(st.integers(0, 3)))]
        elif kind == "literal":
            shape.append(size())
            left.append(str(shape[-1]))
        elif kind == "group" and len(names) >= 3:
            inside, total = [], 1
            count = draw(st.integers(1, 3))
            # At most one size is to be worked out; only that one may be 0.
            unsaid = draw(st.integers(-1, count - 1))
            for place in range(count):
                n = size(0 if place == unsaid else 1)
                total *= n
                if place != unsaid and draw(st.booleans()):
                    inside.append(str(n))
                    continue
                inside.append(names.pop())
                right.append(inside[-1])
                if place != unsaid:
                    given[inside[-1]] = n
            left.append(f"({' '.join(inside)})")
            shape.append(total)
        elif names:
            shape.append(size())
            name = spare.pop() if spare and draw(st.integers(0, 9)) == 9 else names.pop()
            if shape[-1] > 0 and name in _NAMES and draw(st.integers(0, 9)) == 9:
                given[name] = shape[-1]
            left.append(name)
            right.append(name)

    shown = draw(st.permutations(right))
    shown = shown[draw(st.integers(0, len(shown))) :] if draw(st.booleans()) else shown
    shown.insert(draw(st.integers(0, len(shown))), draw(st.sampled_from(["", "", "1", "1 1"])))
    pattern = " ".join([*left, "->", *shown])
    given |= draw(_laws(reference.read(pattern, shape, given)[1]))
    given["stream"] = draw(_STREAMS) if streams else None
    given["scale"] = draw(st.sampled_from(["expected", "expected", "sample", "batch", None]))
    return Case("drawn", pattern, tuple(shape), draw(_RATES), given)


@st.composite
def _laws(draw: st.DrawFn, coins: tuple[str, ...]) -> dict[str, Any]:
    kind = draw(st.sampled_from(["", "exact", "balance", "block", "block"])) if coins else ""
    if kind in ("exact", "balance"):
        return {kind: draw(st.sampled_from(coins))}
    if kind == "block":
        axes = draw(st.lists(st.sampled_from(coins), min_size=1, max_size=3, unique=True))
        return {
            "block": {axis: draw(st.integers(1, 9)) for axis in axes},
            "region": draw(st.sampled_from(["valid", "full"])),
        }
    return {}


@st.composite
def draws(
    draw: st.DrawFn, each: int, streams: bool = True, last_step: int = 2**64 - 1
) -> list[Draw]:
    """A case with `each` seeds, steps and arrays, which differ in layout and values.

    So what was compiled or remembered for the first is used for the others. All that differs comes
    of one number for each: to have Hypothesis draw every part of it would take most of the time.
    """
    case = draw(cases(streams))
    dtype = DTYPES[draw(st.sampled_from(list(DTYPES)))]
    numbers = draw(st.lists(st.integers(0, 2**64 - 1), min_size=each, max_size=each, unique=True))
    return [_array_for(case, dtype, number, last_step) for number in numbers]


def _array_for(case: Case, dtype: np.dtype[Any], number: int, last_step: int) -> Draw:
    random = Random(number)
    numbers = {"seed": _whole(random), "step": min(_whole(random), last_step)}
    axes = tuple(range(len(case.shape)))
    channels_last = axes[:1] + axes[2:] + axes[1:2]  # In PyTorch's order of the axes.
    shuffled = tuple(random.sample(axes, len(axes)))
    order = random.choice([axes, channels_last, axes[::-1], shuffled])
    dense = random.random() < 0.7
    gaps = tuple(1 if dense else random.choice([1, 1, 2, -1, 0]) for _ in axes)
    fill = random.choice(["normal", "normal", "any", "wild"])
    here = replace(case, given={**case.given, **numbers})
    return Draw(here, dtype, order, gaps, fill, random.getrandbits(32))


def _whole(random: Random) -> int:
    """A seed or a step, from 0 to 2**64 - 1: any, small, or beside a power of two."""
    edges = [2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1]
    return random.choice([random.getrandbits(64), random.randrange(10), random.choice(edges)])


# --- The specification's answer.


def expected(draw: Draw, x: NDArray[Any], flipped: int | None = None) -> NDArray[Any]:
    """x dropped: one product in float32 (float64 for float64), rounded once.

    The coin numbered `flipped` has fallen on its other side, for those that are to fail.
    """
    case = draw.case
    options = {**case.options}
    sizes = {name: n for name, n in options.items() if name not in reference.OPTIONS}
    axes, right = reference.read(case.pattern, case.shape, sizes)
    size_of = {name: n for factors in axes for name, n in factors}
    shape = tuple(size_of[name] for name in right)
    law = Law(
        case.p,
        right.index(options["exact"]) if "exact" in options else None,
        right.index(options["balance"]) if "balance" in options else None,
        tuple(sorted((right.index(name), n) for name, n in options.get("block", {}).items())),
        options.get("region", "valid"),
    )
    if case.p == 0:
        bits, factor = np.ones(shape, bool), np.ones(shape)
    else:
        bits = numpy_coins.kept(
            law, shape, generator.stream_key(options["seed"], options["stream"]), options["step"]
        )
        factor = np.broadcast_to(_factor(law, bits, options["scale"]), shape)
    if flipped is not None:
        bits = bits.copy()
        bits.flat[flipped] ^= True
    # Where a coin is at an array of indices, all values' coins are found at once.
    at: Any = reference.coin_of(axes, right, tuple(np.indices(case.shape)))
    kept = np.broadcast_to(bits[at], case.shape)
    wide = np.float64 if x.dtype == np.float64 else np.float32
    with np.errstate(over="ignore", invalid="ignore"):
        product = x.astype(wide) * factor.astype(wide)[at]
        return np.where(kept, product.astype(x.dtype), np.zeros((), x.dtype))


def _factor(law: Law, bits: NDArray[np.bool_], scale: str | None) -> Any:
    if scale is None:
        return 1.0
    if scale == "expected" and law.exact is None:
        return 1 / (1 - law.p) if law.p < 1 else 0.0
    if scale == "expected":
        assert law.exact is not None
        drawn, kept = bits.shape[law.exact], np.array(round((1 - law.p) * bits.shape[law.exact]))
    else:
        over = tuple(range(scale == "sample" and bits.ndim > 0, bits.ndim))
        drawn, kept = math.prod(bits.shape[a] for a in over), bits.sum(over, keepdims=True)
    return np.divide(drawn, kept, out=np.zeros(kept.shape), where=kept > 0)


def check(draw: Draw, x: NDArray[Any], came: NDArray[Any]) -> None:
    """Whether `came` is, bit for bit, x dropped. Raises AssertionError."""
    assert came.shape == x.shape, "the shape is another"
    assert came.dtype == x.dtype, "another dtype"
    wanted = expected(draw, x)
    if not same_bits(came, wanted):
        raw = f"u{x.itemsize}"
        wrong = np.argwhere(
            np.ascontiguousarray(came).view(raw).reshape(x.shape)
            != np.ascontiguousarray(wanted).view(raw).reshape(x.shape)
        )
        at = tuple(map(int, wrong[0]))
        raise AssertionError(
            f"{len(wrong)} of {x.size} values differ, such as {at}: {came[at]!r} for {wanted[at]!r}"
        )
