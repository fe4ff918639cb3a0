"""The mask specification once more, as naively as it can be written.

Plain Python integers and loops over indices, from the text of docs/mask-v1.md. It imports neither
mapdrop nor NumPy: what both give in the same way, two independent readings of the text agree on.
Block centres' probability is solved in 60 decimal digits.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any

Index = tuple[int, ...]
Axes = Sequence[Sequence[tuple[str, int]]]  # For each axis of an array, its (name, size) factors.

# --- Words.


def philox(counter: Sequence[int], key: Sequence[int]) -> list[int]:
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        product0, product1 = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (
            (product1 // 2**32) ^ c1 ^ k0,
            product1 % 2**32,
            (product0 // 2**32) ^ c3 ^ k1,
            product0 % 2**32,
        )
        k0 = (k0 + 0x9E3779B9) % 2**32
        k1 = (k1 + 0xBB67AE85) % 2**32
    return [c0, c1, c2, c3]


def halves(number: int) -> list[int]:
    return [number % 2**32, number // 2**32]


def key_of(seed: int, stream: str | None = None) -> int:
    if stream is None:
        return seed
    digest = hashlib.blake2b(stream.encode("utf-8"), digest_size=16).digest()
    counter = [sum(digest[4 * w + b] << 8 * b for b in range(4)) for w in range(4)]
    low, high, _, _ = philox(counter, halves(seed))
    return high * 2**32 + low


def word(coin: int, key: int, step: int = 0) -> int:
    return philox(halves(coin // 4) + halves(step), halves(key))[coin % 4]


def threshold(p: float) -> int:
    return round(Fraction(p) * 2**32)


# --- Which coins are kept: a dictionary from the index of every coin.


def places(sizes: Sequence[int]) -> Iterator[Index]:
    """Every index, the last axis fastest."""
    return itertools.product(*(range(n) for n in sizes))


def kept(
    coins: Sequence[int],
    p: float,
    key: int,
    step: int = 0,
    *,
    exact: int | None = None,
    balance: int | None = None,
    block: Mapping[int, int] | None = None,
    region: str = "valid",
) -> dict[Index, bool]:
    words = {index: word(number, key, step) for number, index in enumerate(places(coins))}
    if block and words:
        return _blocks(coins, words, p, block, region)
    axis = exact if exact is not None else balance
    if axis is None:
        return {index: words[index] >= threshold(p) for index in words}
    others = [n for a, n in enumerate(coins) if a != axis]
    n = coins[axis]
    result = {}
    for row, other in enumerate(places(others)):
        line = [(*other[:axis], place, *other[axis:]) for place in range(n)]
        if exact is not None:
            survivors = round((1 - p) * n)
        else:
            extra = word(math.prod(coins) + row, key, step)
            survivors = ((2**32 - threshold(p)) * n + extra) // 2**32
        ranked = sorted(line, key=lambda index: (-words[index], index[axis]))
        result.update({index: rank < survivors for rank, index in enumerate(ranked)})
    return {index: result[index] for index in words}


# --- Blocks.


def covers(centre: int, size: int) -> range:
    """The places of a block of this size around a centre, before it is cut to the map."""
    return range(centre - size // 2, centre - size // 2 + size)


def centres(n: int, size: int, region: str) -> list[int]:
    """Where the centre of a block may lie on an axis of n places."""
    size = min(size, n)
    whole = [c for c in range(n) if covers(c, size)[0] >= 0 and covers(c, size)[-1] < n]
    return whole if region == "valid" else list(range(n))


def windows(sizes: Sequence[int], blocks: Sequence[int], region: str) -> dict[Index, list[Index]]:
    """For each place of a map, the centres whose block covers it."""
    allowed = list(itertools.product(*map(centres, sizes, blocks, itertools.repeat(region))))
    cut = list(map(min, blocks, sizes))
    return {
        place: [
            c
            for c in allowed
            if all(x in covers(y, k) for x, y, k in zip(place, c, cut, strict=True))
        ]
        for place in places(sizes)
    }


def centre_threshold(p: float, reach: Sequence[int]) -> int:
    """T of the centres, where `reach` has the number of centres that cover each place."""
    if p in (0, 1):
        return threshold(p)
    with localcontext() as context:
        context.prec = 60
        wanted, low, high = Decimal(p), Decimal(0), Decimal(1)
        times = {c: reach.count(c) for c in set(reach)}
        while high - low > Decimal(10) ** -40:
            q = (low + high) / 2
            mean = sum(t * (1 - (1 - q) ** c) for c, t in times.items()) / len(reach)
            low, high = (low, q) if mean >= wanted else (q, high)
        return int((high * 2**32).to_integral_value())  # Half to even.


def _blocks(
    coins: Sequence[int], words: dict[Index, int], p: float, block: Mapping[int, int], region: str
) -> dict[Index, bool]:
    axes = sorted(block)
    covering = windows([coins[a] for a in axes], [block[a] for a in axes], region)
    limit = centre_threshold(p, [len(centres) for centres in covering.values()])
    result = {}
    for index in words:
        result[index] = True
        for centre in covering[tuple(index[a] for a in axes)]:
            at = list(index)
            for axis, place in zip(axes, centre, strict=True):
                at[axis] = place
            if words[tuple(at)] < limit:
                result[index] = False
    return result


# --- Patterns: which coin each value has.


def read(
    pattern: str, shape: Sequence[int], sizes: Mapping[str, int]
) -> tuple[Axes, tuple[str, ...]]:
    """A valid pattern's axes and coin axes. Where a group does not divide, its first rounds up."""
    left, right = pattern.split("->")
    groups: list[list[str]] = []
    inside = False
    for token in left.replace("(", " ( ").replace(")", " ) ").split():
        if token == "(":
            groups.append([])
        elif token != ")" and inside:
            groups[-1].append(token)
        elif token != ")":
            groups.append([token])
        inside = token == "(" or (inside and token != ")")
    spare = [f"...{i}" for i in range(len(shape) - len(groups) + 1)]
    if ["..."] in groups:
        at = groups.index(["..."])
        groups[at : at + 1] = [[name] for name in spare]
    axes = []
    for number, (group, size) in enumerate(zip(groups, shape, strict=True)):
        given = [int(n) if n.isdigit() else sizes.get(n) for n in group]
        rest = -(-size // max(1, math.prod(n for n in given if n is not None)))
        names = [f"{n} at {number}.{i}" if n.isdigit() else n for i, n in enumerate(group)]
        axes.append([(n, rest if s is None else s) for n, s in zip(names, given, strict=True)])
    coins = [name for token in right.split() for name in (spare if token == "..." else [token])]
    return axes, tuple(name for name in coins if name != "1")


def coin_of(axes: Axes, right: Sequence[str], index: Index) -> Index:
    """The index of the coin of the value at `index`."""
    at: dict[str, int] = {}
    for factors, place in zip(axes, index, strict=True):
        for name, size in reversed(factors):
            place, at[name] = divmod(place, size)
    return tuple(at[name] for name in right)


# --- The whole.


def mask(
    pattern: str,
    shape: Sequence[int],
    p: float,
    *,
    seed: int = 0,
    stream: str | None = None,
    step: int = 0,
    exact: str | None = None,
    balance: str | None = None,
    block: Mapping[str, int] | None = None,
    region: str = "valid",
    scale: str | None = "expected",
    **sizes: int,
) -> tuple[Index, dict[Index, bool], dict[Index, float]]:
    """The coins' shape; for each coin whether it is kept, and what its values are multiplied by."""
    axes, right = read(pattern, shape, sizes)
    size_of = {name: size for factors in axes for name, size in factors}
    coins = tuple(size_of[name] for name in right)
    if p == 0:
        return coins, dict.fromkeys(places(coins), True), dict.fromkeys(places(coins), 1.0)
    bits = kept(
        coins,
        p,
        key_of(seed, stream),
        step,
        exact=None if exact is None else right.index(exact),
        balance=None if balance is None else right.index(balance),
        block={right.index(name): size for name, size in (block or {}).items()},
        region=region,
    )
    n = size_of[exact] if exact is not None else 0
    return coins, bits, {index: _scale(p, bits, scale, n, index) for index in bits}


OPTIONS = frozenset(mask.__kwdefaults__ or ())


def _scale(p: float, bits: dict[Index, bool], kind: str | None, n: int, index: Index) -> float:
    if kind is None:
        return 1.0
    if kind == "expected" and n == 0:
        return 1 / (1 - p) if p < 1 else 0.0
    if kind == "expected":
        whole, left = n, round((1 - p) * n)
    else:
        counted = [bits[i] for i in bits if kind == "batch" or i[:1] == index[:1]]
        whole, left = len(counted), sum(counted)
    return whole / left if left else 0.0


def values(
    pattern: str, shape: Sequence[int], p: float, **options: Any
) -> dict[Index, tuple[bool, float]]:
    """For each value of an array, whether it is kept, and what it is multiplied by."""
    sizes = {name: size for name, size in options.items() if name not in OPTIONS}
    axes, right = read(pattern, shape, sizes)
    _, bits, scales = mask(pattern, shape, p, **options)
    return {
        index: (bits[coin], scales[coin])
        for index in places(shape)
        for coin in [coin_of(axes, right, index)]
    }
