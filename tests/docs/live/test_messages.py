"""What is wrong is said by JavaScript in Python's very words: class, message, caret, remedy."""

from __future__ import annotations

import math
import unicodedata
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import mapdrop
from mapdrop.backends import cpu
from mapdrop.spec.binding import ARGUMENTS
from tests.docs.live.node import JavaScriptError, Node, options, spoiled
from tests.spec.test_pattern import UNFIT, WRONG, patterns

Outcome = tuple[Any, ...]


def of_python(pattern: Any, shape: Any, p: Any, **arguments: Any) -> Outcome:
    """Return the error of `mapdrop.mask`, or the coins' axes; no coin is drawn."""
    nothing = np.zeros(0, bool), 1.0
    with mock.patch.object(cpu, "drawn", return_value=nothing):
        try:
            mask = mapdrop.mask(pattern, shape, p, **arguments)
        except (TypeError, ValueError) as error:
            return type(error).__name__, str(error)
    return list(mask.binding.names), list(map(str, mask.binding.coins))


def of_javascript(node: Node, pattern: Any, shape: Any, p: Any, **arguments: Any) -> Outcome:
    try:
        planned = node.ask("plan", options(pattern, shape, p, **arguments))
    except JavaScriptError as error:
        return error.name, error.message
    return planned["names"], planned["sizes"]


def check(node: Node, pattern: Any, shape: Any, p: Any = 0.5, **arguments: Any) -> Outcome:
    """Raise unless both languages say the same; return it."""
    arguments = {"seed": 7, **arguments}
    wanted = of_python(pattern, shape, p, **arguments)
    assert of_javascript(node, pattern, shape, p, **arguments) == wanted
    return wanted


# --- Listed.


@pytest.mark.parametrize("text", [row[0] for row in WRONG.values()], ids=WRONG)
def test_wrong_pattern(node: Node, text: str) -> None:
    assert check(node, text, (2, 8))[0] == "PatternError"


@pytest.mark.parametrize("name", [name for name in UNFIT if name != "size 2.0"])
def test_unfit_shape(node: Node, name: str) -> None:
    """2.0 is 2 in JavaScript."""
    text, shape, sizes, *_ = UNFIT[name]
    # A size by an argument's name cannot be passed in Python.
    assert check(node, text, shape, **sizes)[0] == "PatternError"


ARGUMENT: dict[str, tuple[Any, Any, Any, dict[str, Any]]] = {
    "p above 1": ("b c -> b", (2, 3), 1.5, {}),
    "p below 0": ("b c -> b", (2, 3), -1e-07, {}),
    "p a whole number": ("b c -> b", (2, 3), 2, {}),
    "p large": ("b c -> b", (2, 3), 1e16, {}),
    "p larger": ("b c -> b", (2, 3), 1.5e300, {}),
    "p nan": ("b c -> b", (2, 3), math.nan, {}),
    "p inf": ("b c -> b", (2, 3), math.inf, {}),
    "p -inf": ("b c -> b", (2, 3), -math.inf, {}),
    "p text": ("b c -> b", (2, 3), "0.5", {}),
    "p text with quotes": ("b c -> b", (2, 3), "it's \"\\\n\t\x00\x7f é\u200b\U0001f600'", {}),
    "p text with one quote": ("b c -> b", (2, 3), "it's", {}),
    "p true": ("b c -> b", (2, 3), True, {}),
    "p none": ("b c -> b", (2, 3), None, {}),
    "p list": ("b c -> b", (2, 3), [0.5, "a"], {}),
    "p before the pattern": ("b c", (2, 3), 2, {}),
    "shape before p": ("b c", (2, -3), 2, {}),
    "shape of floats": ("b c -> b", (2, 3.5), 0.5, {}),
    "shape of text": ("b c -> b", (2, "x"), 0.5, {}),
    "shape of 2**64": ("b c -> b", (2, 2**64), 0.5, {}),
    "shape of true": ("b c -> b", (2, True), 0.5, {}),
    "pattern a number": (3, (2, 3), 0.5, {}),
    "pattern none": (None, (2, 3), 0.5, {}),
    "pattern a list": (["b"], (2, 3), 0.5, {}),
    "seed below 0": ("b c -> b", (2, 3), 0.5, {"seed": -1}),
    "seed of 65 bits": ("b c -> b", (2, 3), 0.5, {"seed": 2**64}),
    "seed text": ("b c -> b", (2, 3), 0.5, {"seed": "seven"}),
    "seed with a fraction": ("b c -> b", (2, 3), 0.5, {"seed": 1.5}),
    "seed true": ("b c -> b", (2, 3), 0.5, {"seed": True}),
    "step below 0": ("b c -> b", (2, 3), 0.5, {"step": -1}),
    "step text": ("b c -> b", (2, 3), 0.5, {"step": ""}),
    "step before seed": ("b c -> b", (2, 3), 0.5, {"step": -1, "seed": -1}),
    "step with p = 0": ("b c -> b", (2, 3), 0.0, {"step": -1}),
    "seed with p = 0": ("b c -> b", (2, 3), 0.0, {"seed": -1}),
    "stream a number": ("b c -> b", (2, 3), 0.5, {"stream": 3}),
    "stream after the shape": ("b c -> b", (2,), 0.5, {"stream": 3}),
    "region": ("b c -> b c", (2, 3), 0.5, {"block": {"c": 2}, "region": "inside"}),
    "scale": ("b c -> b c", (2, 3), 0.5, {"scale": "mean"}),
    "scale number": ("b c -> b c", (2, 3), 0.5, {"scale": 2}),
    "exact and balance": ("b c -> b c", (2, 3), 0.5, {"exact": "b", "balance": "c"}),
    "all three": ("b c -> b c", (2, 3), 0.5, {"exact": "b", "balance": "c", "block": {"b": 1}}),
    "block and exact": ("b c -> b c", (2, 3), 0.5, {"exact": "b", "block": {"c": 2}}),
    "exact not a coin axis": ("b h w c -> b c", (2, 3, 3, 4), 0.5, {"exact": "w"}),
    "exact unknown": ("b h w c -> b c", (2, 3, 3, 4), 0.5, {"exact": "größe"}),
    "exact empty": ("b c -> b c", (2, 3), 0.5, {"exact": ""}),
    "exact of no coin": ("b c ->", (2, 3), 0.5, {"exact": "b"}),
    "exact of an ellipsis": ("b ... -> b ...", (2, 3), 0.5, {"exact": "..."}),
    "exact within an ellipsis": ("b ... -> b ...", (2, 3), 0.5, {"exact": "...0"}),
    "balance unknown": ("b c -> b c", (2, 3), 0.5, {"balance": "k"}),
    "block unknown": ("b c -> b c", (2, 3), 0.5, {"block": {"h": 3}}),
    "block of 0": ("b c -> b c", (2, 3), 0.5, {"block": {"c": 0}}),
    "block of 1.5": ("b c -> b c", (2, 3), 0.5, {"block": {"c": 1.5}}),
    "block of text": ("b c -> b c", (2, 3), 0.5, {"block": {"c": "3"}}),
    "block of true": ("b c -> b c", (2, 3), 0.5, {"block": {"c": True}}),
    "block a number": ("b c -> b c", (2, 3), 0.5, {"block": 3}),
    "block a list": ("b c -> b c", (2, 3), 0.5, {"block": [3]}),
    "huge": ("b c -> b c", (2**40, 3, 2**40), 0.5, {}),
    "huge product": ("(b c) -> b c", (2**63,), 0.5, {"b": 3}),
    "beyond the plane": ("滴 \U0001d4b3 b* -> 滴", (2, 3), 0.5, {}),
    "sorted names": ("\uff21 \U0001d4b3 a_ a ... -> q", (2, 3), 0.5, {}),
}  # fmt: skip


@pytest.mark.parametrize(("pattern", "shape", "p", "given"), ARGUMENT.values(), ids=ARGUMENT)
def test_wrong_argument(node: Node, pattern: Any, shape: Any, p: Any, given: Any) -> None:
    said = check(node, pattern, shape, p, **given)
    right = given == {"seed": -1} and p == 0.0, given == {"exact": "...0"}
    assert any(right) or said[0] in ("PatternError", "TypeError", "ValueError")


@pytest.mark.parametrize("name", sorted(ARGUMENTS))
def test_sizes_that_cannot_be_passed(node: Node, name: str) -> None:
    assert "which is an argument of drop()" in check(node, f"b (g {name}) -> b", (2, 8))[1]


def test_names_of_arguments(node: Node) -> None:
    assert set(node.ask("arguments")) == ARGUMENTS


# --- Drawn.

_SIZES = st.one_of(st.integers(-1, 9), st.integers(-1, 2**70))
_SHAPES = st.lists(_SIZES, max_size=4).map(tuple)
# What only a newer Unicode knows is no letter to one of the languages, and may be to the other.
_TEXT = st.text(st.characters(exclude_categories=("Cn", "Cs")), max_size=20)
_LANGUAGE = st.text(alphabet="abk1290.()->_ \n…→*٣é²滴\U0001d4b3", max_size=20)
_NAMES = st.one_of(st.sampled_from(list("bcghkw")), _TEXT.filter(lambda s: not s.isdecimal()))
_GIVEN = st.dictionaries(_NAMES.filter(lambda name: name not in ARGUMENTS), _SIZES, max_size=2)
_DRAWN = settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])


@_DRAWN
@given(st.one_of(_TEXT, _LANGUAGE), _SHAPES, _GIVEN)
def test_any_text(node: Node, text: str, shape: tuple[int, ...], given: dict[str, int]) -> None:
    check(node, text, shape, **given)


@st.composite
def _mutated(draw: st.DrawFn) -> tuple[str, tuple[int, ...], dict[str, Any]]:
    """A pattern that was right, with a shape and options that were, until something changed."""
    text, shape, given = draw(patterns())
    arguments: dict[str, Any] = {**given}
    kind = draw(st.sampled_from(["text", "text", "shape", "size", "exact", "balance", "block"]))
    if kind == "text":
        for _ in range(draw(st.integers(1, 3))):
            at = draw(st.integers(0, len(text)))
            pieces = ["", "(", ")", "...", "->", " ", "1", "0", "a", "-", ".", "4 ", "\t"]
            piece = draw(st.sampled_from(pieces))
            text = text[:at] + piece + text[at + draw(st.integers(0, 2)) :]
    elif kind == "shape":
        sizes = list(shape)
        sizes.insert(draw(st.integers(0, len(sizes))), draw(_SIZES))
        shape = tuple(sizes[draw(st.integers(0, 1)) :])
    elif kind == "size" and given:
        arguments[draw(st.sampled_from(sorted(given)))] = draw(_SIZES)
    else:
        name = draw(st.sampled_from([*text.replace("(", " ").replace(")", " ").split(), "zz"]))
        arguments |= {kind if kind != "size" else "exact": name}
        if kind == "block":
            arguments["block"] = {name: draw(st.integers(-1, 4))}
    return text, shape, arguments


@_DRAWN
@given(_mutated())
def test_changed_patterns(node: Node, case: tuple[str, tuple[int, ...], dict[str, Any]]) -> None:
    text, shape, arguments = case
    # Whole numbers are the first keys of an object in JavaScript, in whichever order they came.
    assume(not any(name.isdecimal() for name in arguments.get("block", {})))
    check(node, text, shape, **arguments)


@_DRAWN
@given(st.lists(st.floats(allow_nan=True), min_size=5, max_size=5))
def test_floats_as_python_writes_them(node: Node, values: list[float]) -> None:
    assert node.ask("floats", values) == list(map(repr, values))
    positive = [abs(value) for value in values if math.isfinite(value)]
    wanted = [[f"{value:g}", f"{value:.3g}"] for value in positive]
    assert node.ask("general", positive) == wanted


def test_whole_numbers_up_to_a_thousand_and_powers_of_ten(node: Node) -> None:
    """Whole numbers of as many digits as are shown have no point behind them."""
    values = [*map(float, range(1001)), *(10.0**k for k in range(-8, 20))]
    wanted = [[f"{value:g}", f"{value:.3g}"] for value in values]
    assert node.ask("general", values) == wanted


def test_ties_of_rounded_digits(node: Node) -> None:
    """3/16, 5/16 and the like lie half-way between two numbers of three digits."""
    values = [k / 2**n for n in range(1, 12) for k in range(1, 2**n)]
    wanted = [[f"{value:g}", f"{value:.3g}"] for value in values]
    assert node.ask("general", values) == wanted


def test_every_kind_of_character(node: Node) -> None:
    """White space, letters, digits and what can be printed, as Python knows them."""
    codes = [*range(0x3400), *range(0x3400, 0xD800, 97), *range(0xE000, 0x20000, 23)]
    characters = [c for c in map(chr, codes) if unicodedata.category(c) != "Cn"]
    assert node.ask("reprs", characters) == list(map(repr, characters))
    # As a name, within a name, and alone on the right, where digits are no names.
    texts = [text for c in characters for text in (f"{c} ->", f"a{c} ->", f"a -> {c}")]
    assert node.ask("readings", texts) == [_reading(text) for text in texts]


def _reading(text: str) -> dict[str, Any]:
    try:
        return {"value": {"left": len(mapdrop.Pattern.parse(text).left)}}
    except mapdrop.PatternError as error:
        return {"error": ["PatternError", str(error)]}


SPOILED = {
    "a word": ('"list it once"', '"write it once"', "b c -> b b"),
    "a caret": ("characters += Array.from(text.slice(units, at)).length", "characters = at",
                "\U0001d4b3 b* -> b"),
    "a blank": ("\\\\u2028\\\\u2029", "", "b \u2028 -> b"),
    "an order": (".sort(byCodePoints)", ".sort()", "\uff21 \U0001d4b3 -> q"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "instead", "pattern"), SPOILED.values(), ids=SPOILED)
def test_faults_are_noticed(
    program: str, node: Node, tmp_path: Path, text: str, instead: str, pattern: str
) -> None:
    check(node, pattern, (2, 3))
    with (
        spoiled(program, tmp_path, "mask-v1.js", text, instead) as other,
        pytest.raises(AssertionError),
    ):
        check(other, pattern, (2, 3))
