"""A spec: its options as a call has them, what it remembers, its arguments' checks."""

from __future__ import annotations

import math
import pickle
import warnings
from dataclasses import fields
from inspect import signature
from typing import Any

import numpy as np
import pytest

from mapdrop import PatternError
from mapdrop.spec import mask_spec as specs
from mapdrop.spec.mask_spec import MaskSpec, mask_spec
from mapdrop.spec.numpy_coins import NumpySpace, kept


def groups() -> MaskSpec:
    return mask_spec("b (g k) h -> b g", 0.25, exact="g", scale="batch", sizes=(("k", 2),))


def test_options_as_a_call_has_them() -> None:
    assert groups().options == ("g", None, (), "valid", "batch", (("k", 2),), False)
    assert groups().keywords == ["exact='g'", "scale='batch'", "k=2"]
    blocks = mask_spec("b h -> b h", 0.1, block=(("h", 3),), region="full", scale=None)
    assert blocks.keywords == ["block={'h': 3}", "region='full'", "scale=None"]
    assert mask_spec("b -> b", 0.1, ragged=True).keywords == []
    with pytest.raises(ValueError, match="shorter"):
        specs.keywords(("g", None))


def test_equal_arguments_are_one_spec() -> None:
    made = groups()
    assert groups() is made
    assert mask_spec("b (g k) h -> b g", 0.25, "g", None, (), "valid", "batch", (("k", 2),)) == made
    copy = pickle.loads(pickle.dumps(made))
    assert copy == made
    assert copy.pattern.text == made.pattern.text
    assert mask_spec("b c -> b", 1) != mask_spec("b c -> b", 0.5)
    half: Any = np.float32(0.5)
    assert type(mask_spec("b c -> b", half).p) is float
    specs.forget_specs()
    assert groups() is not made
    assert groups() == made
    assert hash(groups()) == hash(made)


def test_what_a_backend_remembers_makes_no_other_spec() -> None:
    one = mask_spec("b -> b", 0.5)
    specs.forget_specs()
    other = mask_spec("b -> b", 0.5)
    one.memo["key"] = "value"
    one.bind((2,))
    assert one == other
    assert "memo" not in repr(one)
    assert "_bound" not in repr(one)
    assert one.memo is not other.memo


def test_the_defaults_are_those_of_the_call() -> None:
    defaults = {field.name: field.default for field in fields(MaskSpec) if field.init}
    assert list(defaults) == ["pattern", "p", *(name for name, _ in specs.OPTIONS)]
    assert {name: defaults[name] for name, _ in specs.OPTIONS} == dict(specs.OPTIONS)
    given = signature(mask_spec).parameters
    assert {name: given[name].default for name, _ in specs.OPTIONS} == dict(specs.OPTIONS)
    assert not dict(specs.OPTIONS)["ragged"]


def test_binding_warns_unless_told_not_to() -> None:
    far = mask_spec("b c -> b c", 0.3, exact="c")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        far.bind((2, 2), warn=False)
    for _ in range(2):
        with pytest.warns(UserWarning, match="always drops 1 of 2"):
            far.bind((2, 2))


def test_the_same_shape_is_the_same_object() -> None:
    spec = mask_spec("b c -> b", 0.5)
    assert spec.bind((2, 3)) is spec.bind((2, 3))
    assert spec.bind((3, 2)) is not spec.bind((2, 3))


def test_a_memo_forgets_all_before_it_grows() -> None:
    memo: dict[Any, Any] = {}
    for number in range(1024):
        MaskSpec.remember(memo, number, str(number))
    assert len(memo) == 1024
    MaskSpec.remember(memo, "next", 0)
    assert memo == {"next": 0}


def test_at_another_rate() -> None:
    bound = mask_spec("b c -> b c", 0.5, exact="c").bind((2, 4))
    other = bound.at(0.25)
    assert (other.law.p, other.law.exact) == (0.25, 1)
    assert (other.binding, other.scale) == (bound.binding, bound.scale)
    assert other.expected == 4 / 3
    assert (bound.first, bound.starts.tolist()) == (0, [0])
    assert bound.starts.dtype == np.int64


@pytest.mark.parametrize(
    ("options", "most"),
    [
        ({}, 60),
        ({"exact": "c"}, 45),
        ({"balance": "b"}, 60),
        ({"balance": "c"}, 45),
        ({"block": (("c", 2),)}, 60),
    ],
    ids=str,
)
def test_how_many_values_are_kept_at_most(options: dict[str, Any], most: int) -> None:
    assert mask_spec("b c h -> b c", 0.25, **options).bind((3, 4, 5)).most == most
    assert mask_spec("b c h -> b c", 0.25, **options).bind((3, 0, 5)).most == 0


@pytest.mark.parametrize(
    ("pattern", "scale", "axes"),
    [
        ("b c -> b c", "expected", None),
        ("b c -> b c", None, None),
        ("b c -> b c", "sample", (1,)),
        ("b c -> b c", "batch", (0, 1)),
        ("b c -> b", "sample", ()),
        ("b c ->", "sample", ()),
        ("b c ->", "batch", ()),
    ],
)
def test_what_is_counted(pattern: str, scale: str | None, axes: tuple[int, ...] | None) -> None:
    bound = mask_spec(pattern, 0.25, scale=scale).bind((4, 8))
    assert bound.counted_axes == axes
    space = NumpySpace(bound.binding.coins, 5, 0)
    coins = kept(bound.law, bound.binding.coins, 5, 0)
    factor = bound.factor(space, coins)
    if axes is None:
        assert factor == bound.expected == (1.0 if scale is None else 4 / 3)
    else:
        drawn = math.prod(coins.shape[a] for a in axes)
        number = coins.sum(axis=axes, keepdims=True)
        np.testing.assert_array_equal(factor, np.where(number > 0, drawn / number.clip(1), 0))


def test_the_spec_of_the_first_axis_alone() -> None:
    spec = mask_spec("(m s) (g k) -> m", 0.5, sizes=(("s", 2), ("k", 3)), balance="m")
    assert spec.rows == mask_spec("(m s) -> m", 0.5, sizes=(("s", 2),), balance="m")
    assert spec.rows is spec.rows
    assert str(mask_spec("... ->", 0.5).rows.pattern) == "rows ->"
    assert str(mask_spec("->", 0.5).rows.pattern) == "rows ->"
    with pytest.raises(PatternError, match="axis 'c' has coins of its own") as caught:
        _ = mask_spec("b c -> b c", 0.5).rows
    assert caught.value.at == 2
    with pytest.raises(PatternError, match=r"axis '...' has coins"):
        _ = mask_spec("... c -> ...", 0.5).rows


def test_the_spec_of_a_stack_of_arrays_with_one_mask() -> None:
    over = mask_spec("b c -> b", 0.5, balance="b").over_examples()
    assert str(over.pattern) == "examples b c -> b"
    assert over.balance == "b"
    assert str(mask_spec("examples b -> b", 0.5).over_examples().pattern) == (
        "examples_ examples b -> b"
    )


@pytest.mark.parametrize("p", [0, 1, 0.5, np.float32(0.5), np.float64(0.0)])
def test_rates(p: Any) -> None:
    found = specs.check_rate(p)
    assert (found, type(found)) == (p, float)


@pytest.mark.parametrize("p", [-1e-9, 1 + 1e-9, math.nan, math.inf], ids=str)
def test_rates_out_of_range(p: float) -> None:
    with pytest.raises(ValueError, match="q is the fraction to drop, from 0 to 1, not"):
        specs.check_rate(p, "q")


@pytest.mark.parametrize("p", [True, np.bool_(True), "0.5", None, np.ones(1), [0.5], 1j], ids=str)
def test_what_is_no_rate(p: Any) -> None:
    with pytest.raises(TypeError, match="p is the fraction to drop, a number"):
        specs.check_rate(p)


def test_an_array_without_axes_is_a_rate() -> None:
    assert specs.check_rate(np.array(0.5)) == 0.5


@pytest.mark.parametrize("size", [1, 7, np.int64(3)])
def test_sizes_of_blocks(size: Any) -> None:
    found = specs.check_block_size("h", size)
    assert (found, type(found)) == (size, int)


@pytest.mark.parametrize("size", [0, -1, 2.0, True, "3"], ids=repr)
def test_what_is_no_size_of_a_block(size: Any) -> None:
    with pytest.raises(ValueError, match=r"block=\{'h': .*\} is not a size: a whole number from 1"):
        specs.check_block_size("h", size)


def test_regions_and_scales() -> None:
    assert [specs.check_region(region) for region in specs.REGIONS] == ["valid", "full"]
    assert [specs.check_scale(scale) for scale in specs.SCALES] == list(specs.SCALES)
    with pytest.raises(ValueError, match="region is one of 'valid', 'full', not 'half'"):
        specs.check_region("half")
    with pytest.raises(ValueError, match=r"scale is one of 'expected', .*None, not 'mean'"):
        specs.check_scale("mean")


def test_sizes_by_name_as_pairs() -> None:
    assert specs.as_sizes(None, "block") == ()
    assert specs.as_sizes({"h": 3, "w": 2}, "block") == (("h", 3), ("w", 2))
    with pytest.raises(TypeError, match="block gives a size for each axis"):
        specs.as_sizes([("h", 3)], "block")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "given", [{"exact": "c", "balance": "b"}, {"balance": "b", "block": (("c", 2),)}], ids=str
)
def test_ties_exclude_each_other(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{' and '.join(given)} exclude each other"):
        mask_spec("b c -> b c", 0.5, **given)


@pytest.mark.parametrize("size", [2.0, True], ids=str)
@pytest.mark.parametrize("option", ["block", "sizes"])
def test_what_equals_a_size_is_not_taken_for_it(option: str, size: Any) -> None:
    pattern = "(c k) -> c" if option == "sizes" else "c k -> c"
    name = "k" if option == "sizes" else "c"
    shape = (4,) if option == "sizes" else (4, 2)
    right: dict[str, Any] = {option: ((name, int(size)),)}
    wrong: dict[str, Any] = {option: ((name, size),)}
    mask_spec(pattern, 0.5, **right).bind(shape)
    with pytest.raises(ValueError, match="is not a size"):
        mask_spec(pattern, 0.5, **wrong).bind(shape)


def test_what_cannot_be_looked_up_is_checked() -> None:
    with pytest.raises(TypeError, match="a pattern is a string"):
        mask_spec([], 0.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"region is one of .*, not \[\]"):
        mask_spec("b -> b", 0.5, region=[])  # type: ignore[arg-type]


WARNED = {
    "more than a tenth of p": (0.3, 2, "always drops 1 of 2, which is 0.5 and not p=0.3"),
    "a tenth of p": (0.5, 5, ""),
    "of 1 - p": (0.95, 2, "always drops 2 of 2, which is 1 and not p=0.95"),
    "exactly": (0.5, 4, ""),
    "more than a tenth": (0.45, 2, "always drops 1 of 2, which is 0.5 and not p=0.45"),
}


@pytest.mark.parametrize(("p", "n", "message"), WARNED.values(), ids=WARNED)
def test_what_is_said_of_another_rate(p: float, n: int, message: str) -> None:
    bound = mask_spec("b c -> b c", p, exact="c").bind((2, n), warn=False)
    if n == 5:
        message = "always drops 3 of 5, which is 0.6 and not p=0.5"
    assert message in bound.warning
    assert (message == "") == (bound.warning == "")
    assert mask_spec("b c -> b c", p, balance="c").bind((2, n)).warning == ""
