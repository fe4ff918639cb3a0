"""The mask in JavaScript against `mapdrop.mask`, on drawn cases and on sizes that are not small."""

from __future__ import annotations

import math
import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mapdrop
from tests import reference
from tests.docs.live.node import Node, options, spoiled
from tests.integration.everywhere.draws import Draw, draws


def of_python(pattern: str, shape: tuple[int, ...], p: float, **arguments: Any) -> dict[str, Any]:
    """Return what `runner.js` says of a mask, from Python."""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        mask = mapdrop.mask(pattern, shape, p, **arguments)
    scales = np.asarray(mask.scale, np.float64).ravel().tolist()
    return {
        "coins": "".join("01"[bit] for bit in mask.coins.ravel().tolist()),
        "scale": [struct.pack(">d", scale).hex() for scale in scales],
        "sizes": list(mask.binding.coins),
        "names": list(mask.binding.names),
        "warning": "".join(str(one.message) for one in warned),
        "kept": mask.kept,
    }


def check(node: Node, pattern: str, shape: tuple[int, ...], p: float, **arguments: Any) -> None:
    """Raise unless both languages have the same mask."""
    came = node.ask("mask", options(pattern, shape, p, **arguments))
    assert came == of_python(pattern, shape, p, **arguments)


def _check_drawn(node: Node, drawn: list[Draw]) -> None:
    for one in drawn:
        check(node, one.case.pattern, one.case.shape, one.case.p, **one.case.options)


@settings(max_examples=250, suppress_health_check=[HealthCheck.too_slow])
@given(draws(each=2))
def test_drawn_cases(node: Node, drawn: list[Draw]) -> None:
    _check_drawn(node, drawn)


LARGE: dict[str, tuple[str, tuple[int, ...], float, dict[str, Any]]] = {
    "elements": ("b c h w -> b c h w", (4, 32, 28, 28), 0.3, {}),
    "exact, one long line": ("b -> b", (30_011,), 0.37, {"exact": "b"}),
    "balance, many lines": ("b c -> b c", (7, 20_000), 0.21, {"balance": "b"}),
    "large blocks": ("b h w -> b h w", (3, 97, 101), 0.2, {"block": {"h": 41, "w": 12}}),
    "sample": ("b h w c -> b h c", (300, 9, 2, 11), 0.6, {"scale": "sample"}),
    "a name of three blocks": ("b c -> b c", (40, 50), 0.5, {"stream": "größe/" * 50}),
    "a name of one whole block": ("b c -> b c", (40, 50), 0.5, {"stream": "x" * 128}),
    "a shared axis beyond 2**53": ("b h -> b", (64, 2**60 + 1), 0.5, {}),
}


@pytest.mark.parametrize(("pattern", "shape", "p", "given"), LARGE.values(), ids=LARGE)
def test_large_cases(
    node: Node, pattern: str, shape: tuple[int, ...], p: float, given: dict[str, Any]
) -> None:
    check(node, pattern, shape, p, seed=2**64 - 5, step=2**63 + 1, **given)


# A T that follows from 64 halvings is right for each of these, or one place in 2**32 is not.
@settings(max_examples=150)
@given(
    st.floats(0.001, 0.999), st.integers(1, 40), st.integers(1, 12),
    st.sampled_from(["valid", "full"]), st.integers(0, 2**64 - 1),
)  # fmt: skip
def test_blocks_of_any_rate(
    node: Node, p: float, length: int, side: int, region: str, seed: int
) -> None:
    given = {"block": {"h": side, "w": 3}, "region": region, "seed": seed}
    check(node, "h w c -> h w c", (length, 11, 3), p, **given)


@settings(max_examples=100)
@given(draws(each=1))
def test_the_coin_of_a_value(node: Node, drawn: list[Draw]) -> None:
    """Both functions of the scripts, the plain and the fast, against plain loops."""
    case = drawn[0].case
    if math.prod(case.shape) == 0:
        return
    sizes = {n: v for n, v in case.options.items() if n not in reference.OPTIONS}
    axes, right = reference.read(case.pattern, case.shape, sizes)
    size_of = {name: n for factors in axes for name, n in factors}
    coins = tuple(size_of[name] for name in right)
    last = tuple(n - 1 for n in case.shape)
    indices = [last, tuple(n // 2 for n in last), tuple(n // 3 for n in last)]
    wanted = [
        int(np.ravel_multi_index(reference.coin_of(axes, right, index), coins)) if coins else 0
        for index in indices
    ]
    asked = options(case.pattern, case.shape, case.p, **case.options)
    came = node.ask("coins", {**asked, "indices": [list(map(float, i)) for i in indices]})
    assert came == [[number, number] for number in wanted]


def test_fast_enough_to_type_along(node: Node) -> None:
    asked = options("b c -> b c", (250, 400), 0.5, seed=7)
    node.ask("seconds", asked)
    assert min(node.ask("seconds", asked) for _ in range(3)) < 0.5


SPOILED = {
    "a constant of Philox": ("0xd251_1f53", "0xd251_1f51"),
    "a scale": ("? drawn / kept : 0", "? kept / drawn : 0"),
    "rounding": ("return floor + (rest > 0.5", "return floor + (rest > 0.75"),
    "an ellipsis": ("(name === ELLIPSIS ? covered : [name])", "(name === ELLIPSIS ? [] : [name])"),
    "a warning": ("always drops ${dropped}", "always drops ${n}"),
}


@pytest.mark.parametrize(("text", "instead"), SPOILED.values(), ids=SPOILED)
def test_faults_are_noticed(
    program: str, node: Node, tmp_path: Path, text: str, instead: str
) -> None:
    check_few(node)
    with (
        spoiled(program, tmp_path, "mask-v1.js", text, instead) as other,
        pytest.raises(AssertionError),
    ):
        check_few(other)


def check_few(node: Node) -> None:
    check(node, "b h w c -> b c", (4, 2, 2, 12), 0.5, seed=7, scale="sample")
    check(node, "b c -> b c", (4, 7), 0.35, seed=7, exact="c")
    check(node, "b ... -> b ...", (4, 3), 0.5, seed=7)
