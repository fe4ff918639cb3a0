"""The pattern language: every rule, every message, and what binding means, against plain loops."""

from __future__ import annotations

import inspect
import math
import pickle
import string
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mapdrop
from mapdrop import Pattern, PatternError
from mapdrop.spec.binding import ARGUMENTS, Binding, bind
from mapdrop.spec.pattern import Axis
from tests import reference

# --- What is said and what is meant.

SAME = {
    "spaces": ("b h w c -> b c", "  b\th  w c->b   c "),
    "placeholders": ("b h w c -> b c", "b h w c -> b 1 1 c"),
    "group": ("b (g k) -> b g", "b(g k)->b g"),
    "ellipsis": ("b ... -> b", "b...->b"),
}


@pytest.mark.parametrize(("one", "other"), SAME.values(), ids=SAME)
def test_same_meaning_is_equal(one: str, other: str) -> None:
    a, b = Pattern.parse(one), Pattern.parse(other)
    assert a == b
    assert hash(a) == hash(b)
    assert str(a) == str(b) == one
    assert repr(a) == f"Pattern({one!r})"
    assert b.text == other


@pytest.mark.parametrize(
    ("one", "other"),
    [("b c -> b c", "b c -> c b"), ("b c -> b", "b c -> c"), ("b (g 4) -> g", "b (g 2) -> g")],
    ids=["order", "names", "literal"],
)
def test_other_meaning_is_not_equal(one: str, other: str) -> None:
    assert Pattern.parse(one) != Pattern.parse(other)


def test_parsed_once() -> None:
    text = "batch height width channel -> batch channel"
    assert Pattern.parse(text) is Pattern.parse("".join(text))
    assert Pattern.parse(Pattern.parse(text)) is Pattern.parse(text)
    assert bind(text, (2, 3, 4, 5)) is bind(text, [2, 3, 4, 5])


def test_pickle() -> None:
    pattern = Pattern.parse("b (g k) ... -> b g")
    copy = pickle.loads(pickle.dumps(pattern))
    assert copy == pattern
    assert copy.text == pattern.text
    with pytest.raises(PatternError) as caught:
        bind(pattern, (2, 9), {"k": 4})
    error = pickle.loads(pickle.dumps(caught.value))
    assert str(error) == str(caught.value)
    assert error.shape == (2, 9)


def test_not_a_string() -> None:
    with pytest.raises(TypeError, match=r"a pattern is a string such as .*, not int"):
        Pattern.parse(3)  # type: ignore[arg-type]


def test_binding() -> None:
    bound = bind("b ... (g k) -> g b", (2, 5, 6, 12), {"k": 4})
    assert bound.names == ("g", "b")
    assert bound.coins == (3, 2)
    assert bound.axes == (((2, 1),), ((5, None),), ((6, None),), ((3, 0), (4, None)))
    assert bound.factors == (2, 5, 6, 3, 4)
    assert (bound.values, bound.count) == (720, 6)
    assert bound.ungrouped is bound
    assert bound.repeats is None
    assert bound.axis("b", "exact") == 1


def test_sizes_may_be_any_whole_number() -> None:
    pattern = Pattern.parse("b (g k) -> b g")
    bound = bind(pattern, np.array([3, 8]), {"k": np.int64(4)})  # type: ignore[dict-item]
    assert bound is bind(pattern, (3, 8), {"k": 4})
    assert all(type(n) is int for n in (*bound.shape, *bound.coins))


def test_huge_shapes() -> None:
    bound = bind("a b c -> a c", (2**40, 3, 2**40))
    assert bound.count == 2**80
    assert bound.values == 3 * 2**80


def test_thirty_axes() -> None:
    names = [f"axis{i}" for i in range(30)]
    bound = bind(f"{' '.join(names)} -> {' '.join(reversed(names))}", range(30))
    assert bound.coins == tuple(range(29, -1, -1))


# --- Ragged: the last group of a batch may be smaller.


def test_ragged_group_is_rounded_up() -> None:
    bound = bind("(m n) c -> m c", (7, 3), {"n": 3}, ragged=True)
    assert bound.coins == (3, 3)
    assert bound.repeats == (0, 3, 7)
    assert bound.ungrouped.coins == (7, 3)
    assert bound.ungrouped.axes == (((7, 0),), ((3, 1),))


def test_ragged_group_of_another_coin_axis() -> None:
    bound = bind("c (m n) -> c m", (3, 7), {"n": 3}, ragged=True)
    assert bound.repeats == (1, 3, 7)
    assert bound.ungrouped.coins == (3, 7)
    assert bound.ungrouped.ragged is None
    assert bound.ungrouped is bound.ungrouped


def test_no_group_is_ragged_unless_said() -> None:
    with pytest.raises(PatternError, match="does not split"):
        bind("(m n) c -> m c", (7, 3), {"n": 3})
    with pytest.raises(PatternError, match="does not split"):
        bind("(n m) c -> m c", (7, 3), {"n": 3}, ragged=True)


def test_axes_without_entries() -> None:
    bound = bind("b (g k) c -> b g", (0, 0, 3), {"k": 2})
    assert bound.axes == (((0, 0),), ((0, 1), (2, None)), ((3, None),))
    assert (bound.coins, bound.count, bound.values) == ((0, 0), 0, 0)


def test_ragged_that_divides_is_not_ragged() -> None:
    bound = bind("(m n) c -> m c", (6, 3), {"n": 3}, ragged=True)
    assert bound.repeats is None
    assert bound.coins == (2, 3)


@pytest.mark.parametrize("pattern", ["(m n) c -> m n c", "(m n) c -> n c", "(m n) c -> c"])
def test_ragged_members_have_no_coins(pattern: str) -> None:
    with pytest.raises(PatternError, match="in a smaller last group") as caught:
        bind(pattern, (7, 3), {"n": 3}, ragged=True)
    assert caught.value.at == 1


# --- Messages: the reason, the pattern, the caret's place, the shape, the remedy.

WRONG = {
    "no arrow": ("b c", "has 0", "   ^", "b h w c -> b c"),
    "two arrows": ("b -> c -> d", "has 2", "       ^", "b h w c -> b c"),
    "nothing": ("", "has 0", "^", "b h w c -> b c"),
    "twice on the left": ("b c b -> b", "'b' stands twice on the left", "    ^", "another name"),
    "twice on the right": ("b c -> b b", "'b' stands twice on the right", "         ^", "once"),
    "two ellipses": ("... b ... -> b", "'...' stands twice", "      ^", "another name"),
    "group in group": ("b (g (k l)) -> g", "a group inside a group", "     ^", "one level"),
    "empty group": ("b () -> b", "an empty group", "   ^", "(g k)"),
    "not closed": ("b (g k -> b", "'(' is never closed", "  ^", "(g k)"),
    "not opened": ("b g k) -> b", "')' without '('", "     ^", "(g k)"),
    "ellipsis in group": ("b (... k) -> b", "'...' inside a group", "   ^", "outside"),
    "sign": ("b c* -> b", "'*' means nothing here", "   ^", "names"),
    "dash": ("b - c -> b", "'-' means nothing here", "  ^", "names"),
    "number and name": ("b 2c -> b", "'2c' means nothing here", "  ^", "names"),
    "huge literal": (f"b {'9' * 20} -> b", "means nothing here", "  ^", "sizes"),
    "other digits": ("b ٣ -> b", "'٣' means nothing here", "  ^", "names"),
    "unknown on the right": ("b c -> b k", "'k' is not an axis on the left", "         ^", "b, c"),
    "ellipsis on the right": ("b c -> b ...", "'...' is not an axis", "         ^", "b, c"),
    "size on the right": ("b 4 -> b 4", "'4' is a size", "         ^", "on the left are b"),
    "group on the right": ("(g k) -> (g k)", "the right side has no groups", "         ^", "names"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "reason", "caret", "remedy"), WRONG.values(), ids=WRONG)
def test_wrong_pattern(text: str, reason: str, caret: str, remedy: str) -> None:
    with pytest.raises(PatternError) as caught:
        Pattern.parse(text)
    assert isinstance(caught.value, ValueError)
    lines = str(caught.value).split("\n")
    assert reason in lines[0]
    assert lines[1] == f"  {text}"
    assert lines[2] == f"  {caret}"
    assert lines[3].startswith("  instead: ")
    assert remedy in lines[3]
    assert len(lines) == 4


UNFIT: dict[str, tuple[str, tuple[int, ...], dict[str, Any], str, str, str]] = {
    "rank": ("b h w c -> b c", (2, 3, 4), {}, "names 4 axes, the array has 3", "^", "'...'"),
    "rank with ellipsis": ("a b ... -> a", (2,), {}, "at least 2 axes", "^", "'...'"),
    "open": ("b (g k) -> b g", (2, 8), {}, "'g', 'k' are open", "     ^",
             "pass one of the sizes (k=2)"),
    "open argument": ("b (g step) -> g", (2, 8), {}, "are open", "     ^",
                      "rename 'step', which is an arg"),
    "does not divide": ("b (g k) -> b g", (2, 8), {"k": 3}, "axis of 8 does not split into parts "
                        "of 3", "   ^", "divides 8"),
    "product": ("b (g k) -> b g", (2, 8), {"g": 3, "k": 3}, "g x k is 9, the array's axis has 8",
                "   ^", "product is 8"),
    "literal": ("b 3 -> b", (2, 8), {}, "3 is 3, the array's axis has 8", "  ^", "product is 8"),
    "literal 0": ("b (g 0) -> b", (2, 0), {}, "does not split into parts of 0", "   ^", "divides"),
    "size of an axis": ("b c -> b", (2, 8), {"c": 7}, "c is 7, the array's axis has 8", "  ^", ""),
    "unknown size": ("b c -> b", (2, 8), {"k": 2}, "k=2 gives a size for an axis", "^", "b, c"),
    "size of ellipsis": ("b ... -> b", (2, 8), {"...": 2}, "gives a size for an axis", "^", "b"),
    "size 0": ("b (g k) -> b", (2, 8), {"k": 0}, "k=0 is not a size", "     ^", "at least 1"),
    "size below 0": ("b (g k) -> b", (2, 8), {"k": -2}, "k=-2 is not a size", "     ^", "least 1"),
    "size True": ("b (g k) -> b", (2, 8), {"k": True}, "k=True is not a size", "     ^", "least"),
    "size 2.0": ("b (g k) -> b", (2, 8), {"k": 2.0}, "k=2.0 is not a size", "     ^", "at least"),
    "size list": ("b (g k) -> b", (2, 8), {"k": [2]}, "k=[2] is not a size", "     ^", "at least"),
    "size text": ("b (g k) -> b", (2, 8), {"k": "2"}, "k='2' is not a size", "     ^", "at least"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "shape", "sizes", "reason", "caret", "remedy"), UNFIT.values(), ids=UNFIT
)
def test_unfit_shape(
    text: str, shape: tuple[int, ...], sizes: dict[str, Any], reason: str, caret: str, remedy: str
) -> None:
    # What equals a wrong size, and is right, must not make it right: bound first, to be cached.
    if type(sizes.get("k")) in (bool, float):
        bind(text, shape, {"k": int(sizes["k"])})
    with pytest.raises(PatternError) as caught:
        bind(text, shape, sizes)
    assert caught.value.at == len(caret) - 1
    lines = str(caught.value).split("\n")
    assert reason in lines[0]
    assert lines[1:4] == [f"  {text}", f"  {caret}", f"  shape: {shape}"]
    assert lines[4].startswith("  instead: ")
    assert remedy in lines[4]


def test_the_largest_literal_has_nineteen_digits() -> None:
    assert Pattern.parse(f"b {'9' * 19} -> b").left[1] == (Axis(None, 10**19 - 1),)


def test_the_axis_that_a_pattern_names_without_a_shape() -> None:
    pattern = Pattern.parse("b h w c -> c b")
    assert pattern.coin_axis("exact", "b") == 1
    with pytest.raises(PatternError, match=r"exact='h' does not name .*\n.*\n.*\n.*'c', 'b'"):
        pattern.coin_axis("exact", "h")


def test_errors_without_a_place_point_at_the_start() -> None:
    assert str(PatternError("why", "b c")) == "why\n  b c\n  ^"
    assert str(PatternError("why")) == "why"
    assert Pattern.parse("b c -> b").error("why", "k").at == 0
    assert Axis("b").at == 0


def test_an_axis_is_known_by_its_name_and_size() -> None:
    assert Axis("b", 2, 5) == Axis("b", 2) != Axis("b", 3)
    assert (str(Axis("b", 2)), str(Axis(None, 2))) == ("b", "2")


def test_negative_shape() -> None:
    with pytest.raises(PatternError, match="negative size") as caught:
        bind("b c -> b", (2, -1))
    assert caught.value.at == 0


def test_errors_at_the_first_axis() -> None:
    with pytest.raises(PatternError, match="does not split") as caught:
        bind("(g k) -> g", (8,), {"k": 3})
    assert caught.value.at == 1
    with pytest.raises(PatternError, match="c is 7") as caught:
        bind("c -> c", (8,), {"c": 7})
    assert caught.value.at == 0


def test_shape_of_floats() -> None:
    with pytest.raises(TypeError, match="float"):
        bind("b c -> b", (2.0, 3))  # type: ignore[arg-type]


@pytest.mark.parametrize("read", [str, Pattern.parse], ids=["text", "pattern"])
def test_an_error_shows_the_spelling_that_came(read: Callable[[str], Any]) -> None:
    """Also where another spelling of the same pattern was bound before, and is remembered."""
    for spelling in ("b h c->b", "b h c -> b 1 1", " b  h c->b"):
        mapdrop.mask(read(spelling), (2, 3, 4), 0.5)
        with pytest.raises(PatternError) as caught:
            mapdrop.mask(read(spelling), (2, 3, 4), 0.5, exact="h")
        _, shown, caret, *_ = str(caught.value).split("\n")
        assert shown == f"  {spelling}"
        assert caret.index("^") == shown.index("h")


def test_not_a_coin_axis() -> None:
    with pytest.raises(PatternError) as caught:
        mapdrop.mask("b h w c -> b c", (2, 3, 3, 4), 0.5, exact="w")
    assert str(caught.value).split("\n") == [
        "exact='w' does not name an axis with coins of its own",
        "  b h w c -> b c",
        "      ^",
        "  shape: (2, 3, 3, 4)",
        "  instead: one of 'b', 'c'",
    ]


def test_what_cannot_be_printed_is_a_blank() -> None:
    with pytest.raises(PatternError) as caught:
        Pattern.parse("b\n* -> b")
    assert str(caught.value).split("\n")[1:3] == ["  b * -> b", "    ^"]


def test_names_of_arguments() -> None:
    calls = (mapdrop.drop, mapdrop.mask)
    names = {name for call in calls for name in inspect.signature(call).parameters}
    assert names - {"sizes"} == ARGUMENTS


# --- Properties, against plain loops over indices.

NAMES = st.sampled_from(
    [*sorted({*string.ascii_lowercase} - ARGUMENTS), "größe", "滴", "_", "h2", "long_name"]
)


@st.composite
def patterns(draw: st.DrawFn) -> tuple[str, tuple[int, ...], dict[str, int]]:
    """A valid pattern, a shape it fits, and sizes."""
    names = iter(draw(st.lists(NAMES, min_size=9, max_size=9, unique=True)))
    parts: list[str] = []
    shape: list[int] = []
    given: dict[str, int] = {}
    known: list[str] = []
    for _ in range(draw(st.integers(0, 3))):
        factors = draw(st.lists(st.integers(0, 3), min_size=1, max_size=3))
        left_open = draw(st.integers(0, len(factors) - 1))
        if len(factors) > 1:
            # A size of 0 follows from its axis: it can be neither given nor divided by.
            factors = [n if i == left_open else max(n, 1) for i, n in enumerate(factors)]
        group = []
        for i, size in enumerate(factors):
            literal = i != left_open and draw(st.booleans())
            name = str(size) if literal else next(names)
            group.append(name)
            if not literal:
                known.append(name)
                if i != left_open:
                    given[name] = size
        parts.append(group[0] if len(group) == 1 else f"({' '.join(group)})")
        shape.append(math.prod(factors))
    if draw(st.booleans()):
        at = draw(st.integers(0, len(parts)))
        parts.insert(at, "...")
        shape[at:at] = draw(st.lists(st.integers(0, 3), max_size=2))
        known.append("...")
    right = draw(st.permutations(known))[: draw(st.integers(0, len(known)))]
    for _ in range(draw(st.integers(0, 2))):
        right.insert(draw(st.integers(0, len(right))), "1")
    return f"{' '.join(parts)} -> {' '.join(right)}", tuple(shape), given


def _meeting(bound: Binding) -> np.ndarray[Any, Any]:
    """For each value of the array, the number of its coin."""
    numbers = np.arange(bound.count).reshape(bound.coins)
    order, lined_up = bound.lineup
    spread = numbers.transpose(order).reshape(lined_up)
    return np.broadcast_to(spread, bound.factors).reshape(bound.shape)


@given(patterns())
def test_binding_is_the_loop_over_indices(
    case: tuple[str, tuple[int, ...], dict[str, int]],
) -> None:
    text, shape, sizes = case
    bound = bind(text, shape, sizes)
    axes, right = reference.read(text, shape, sizes)
    size_of = {name: size for factors in axes for name, size in factors}
    coins = tuple(size_of[name] for name in right)
    assert bound.coins == coins
    number = {index: n for n, index in enumerate(reference.places(coins))}
    loop = [number[reference.coin_of(axes, right, index)] for index in reference.places(shape)]
    assert _meeting(bound).ravel().tolist() == loop


@given(patterns(), st.data())
def test_layout_does_not_matter(
    case: tuple[str, tuple[int, ...], dict[str, int]], data: st.DataObject
) -> None:
    """The same right side: the axes of the array in another order have the same coins."""
    text, shape, sizes = case
    if "..." in text:
        return
    left, right = text.split("->")
    axes, _ = reference.read(text, shape, sizes)
    parts = [
        " ".join(n if " at " not in n else str(size) for n, size in factors) for factors in axes
    ]
    order = data.draw(st.permutations(range(len(shape))))
    turned = " ".join(f"({parts[i]})" for i in order) + " ->" + right
    options: dict[str, Any] = {"seed": 5, **sizes}
    one = mapdrop.mask(text, shape, 0.5, **options)
    other = mapdrop.mask(turned, tuple(shape[i] for i in order), 0.5, **options)
    assert np.array_equal(one.coins, other.coins), (left, turned)
    x = np.arange(1.0, 1 + one.binding.values).reshape(shape)
    assert np.array_equal(one.apply(x).transpose(order), other.apply(x.transpose(order)))


@given(patterns())
def test_text_reads_back(case: tuple[str, tuple[int, ...], dict[str, int]]) -> None:
    pattern = Pattern.parse(case[0])
    assert Pattern.parse(str(pattern)) == pattern


# --- Fuzzing: nothing but PatternError, whatever the text.


def _survives(text: str, shape: tuple[int, ...], sizes: dict[str, int]) -> None:
    try:
        bound = bind(text, shape, sizes)
    except PatternError as error:
        shown = str(error).split("\n")
        assert shown[2].strip() == "^"
        assert len(shown[2]) - 3 <= len(text)
    else:
        assert bound.values == math.prod(shape)


SHAPES = st.lists(st.integers(-1, 2**70), max_size=4).map(tuple)
SIZES = st.dictionaries(st.one_of(NAMES, st.text()), st.integers(-1, 2**70), max_size=2)


@given(st.text(), SHAPES, SIZES)
def test_any_text(text: str, shape: tuple[int, ...], sizes: dict[str, int]) -> None:
    _survives(text, shape, sizes)


@given(st.text(alphabet="abk1290.()->_ \n…→*٣é", max_size=20), SHAPES, SIZES)
def test_text_of_the_language(text: str, shape: tuple[int, ...], sizes: dict[str, int]) -> None:
    _survives(text, shape, sizes)


@given(patterns(), st.data())
def test_mutated_patterns(
    case: tuple[str, tuple[int, ...], dict[str, int]], data: st.DataObject
) -> None:
    text, shape, sizes = case
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text)))
        piece = data.draw(
            st.sampled_from(["", "(", ")", "...", "->", " ", "1", "0", "a", "-", "."])
        )
        text = text[:at] + piece + text[at + data.draw(st.integers(0, 2)) :]
    _survives(text, shape, sizes)


def test_fuzzing_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Binding:
        raise IndexError

    monkeypatch.setattr(sys.modules[__name__], "bind", broken)
    with pytest.raises(IndexError):
        _survives("b -> b", (2,), {})
