"""The calls and sentences on the page are those of Python, and mean what they say."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mapdrop
from mapdrop.spec.mask_spec import BoundSpec
from mapdrop.tools.drop_kinds import DROP_KINDS
from mapdrop.tools.explain.equivalents import equivalents
from mapdrop.tools.explain.sentences import fall_together
from mapdrop.tools.explain.structure import Structure, structure
from tests.conftest import framework
from tests.docs.live.node import JavaScriptError, Node, options, spoiled
from tests.integration.everywhere.draws import Draw, draws
from tests.reference import OPTIONS
from tests.tools.explain.requests import request

_DRAWN = settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])


def bound(pattern: str, shape: tuple[int, ...], p: float, **given: Any) -> BoundSpec:
    """Bind what `mapdrop explain` would be asked."""
    law = {name: given[name] for name in ("exact", "balance", "block") if given.get(name)}
    sizes = {name: size for name, size in given.items() if name not in OPTIONS}
    return request(pattern, p, sizes=sizes, **law).bind(shape)


def check(node: Node, pattern: str, shape: tuple[int, ...], p: float, **given: Any) -> None:
    """Raise unless both say the same of what falls together, and of other libraries."""
    asked = options(pattern, shape, p, **{"seed": 7, **given})
    spec = bound(pattern, shape, p, **given)
    sentences = [fall_together(spec.binding.pattern)]
    sentences += filter(None, [spec.law.sentence(spec.binding.names, spec.binding.coins)])
    assert node.ask("sentences", asked) == sentences
    wanted = [vars(one) for one in equivalents(structure(spec), shape, p)]
    assert node.ask("elsewhere", asked) == wanted


@_DRAWN
@given(draws(each=1))
def test_drawn_cases(node: Node, drawn: list[Draw]) -> None:
    case = drawn[0].case
    check(node, case.pattern, case.shape, case.p, **case.options)


RANKS = [
    (rank, own)
    for rank in range(6)
    for many in range(rank + 1)
    for own in itertools.combinations(range(rank), many)
]


def test_every_set_of_axes(node: Node) -> None:
    for rank, own in RANKS:
        names = "abcde"[:rank]
        pattern = f"{' '.join(names)} -> {' '.join(names[axis] for axis in own)}"
        check(node, pattern, (2, 9, 8, 9, 7)[:rank], 0.25)


@given(
    st.sampled_from(["b c h w -> b c h w", "b c h w -> b h w", "b c d h w -> b c d h w"]),
    st.lists(st.integers(1, 9), min_size=2, max_size=2),
    st.booleans(),
)
def test_blocks_as_others_know_them(
    node: Node, pattern: str, sides: list[int], square: bool
) -> None:
    h, w = (sides[0], sides[0]) if square else sides
    block = {"h": h, "w": w, **({"d": h} if " d " in pattern else {})}
    check(node, pattern, (2, 3, 8, 8, 9)[: 5 if " d " in pattern else 4], 0.1, block=block)


# --- mapdrop's own calls are run.


def same_mask(one: mapdrop.Mask, other: mapdrop.Mask) -> bool:
    return (
        np.array_equal(one.coins, other.coins)
        and np.array_equal(one.scale, other.scale)
        and (one.shape, one.p, one.binding.axes) == (other.shape, other.p, other.binding.axes)
    )


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(draws(each=1))
def test_functions_are_this_very_mask(node: Node, drawn: list[Draw]) -> None:
    case = drawn[0].case
    drop, mask = node.ask("functions", options(case.pattern, case.shape, case.p, **case.options))
    wanted = mapdrop.mask(case.pattern, case.shape, case.p, **case.options)
    assert same_mask(eval(mask, {"mapdrop": mapdrop}), wanted)
    x = np.random.default_rng(0).standard_normal(case.shape)
    assert np.array_equal(eval(drop, {"mapdrop": mapdrop, "x": x}), wanted.apply(x))


LAYERS: dict[str, tuple[str, tuple[int, ...], dict[str, Any], list[str]]] = {
    "maps first": ("b c h w -> b c", (2, 5, 3, 4), {}, ["SpatialDropout2d(0.3)"]),
    "maps last": ("n y x k -> n k", (2, 5, 3, 4), {},
                  ['SpatialDropout2d(0.3, data_format="channels_last")']),
    "maps of sequences": ("b c t -> b c", (2, 5, 3), {}, ["SpatialDropout1d(0.3)"]),
    "shared": ("(m n) c h w -> m c", (6, 5, 3, 4), {"n": 3}, ["SpatialDropout2d(0.3, share=3)"]),
    "shared, balanced": ("(m n) c h w -> m c", (6, 5, 3, 4), {"n": 3, "balance": "m"},
                         ["SpatialDropout2d(0.3, share=3, balance=True)"]),
    "balanced": ("b c d h w -> b c", (6, 5, 3, 4, 2), {"balance": "b"},
                 ["SpatialDropout3d(0.3, balance=True)"]),
    "values": ("a b c -> a b c", (2, 5, 3), {}, ["Dropout(0.3)"]),
    "samples": ("b h w -> b", (9, 5, 3), {}, ["DropPath(0.3)"]),
    "samples, scaled": ("b h w -> b", (9, 5, 3), {"scale": "batch"},
                        ["DropPath(0.3, scale='batch')"]),
    "samples, balanced": ("b h w -> b", (9, 5, 3), {"balance": "b"},
                          ["DropPath(0.3, balance=True)"]),
    "blocks": ("b c h w -> b h w c", (2, 3, 9, 8), {"block": {"h": 3, "w": 3}},
               ["DropBlock2d(0.3, 3)"]),
    "oblong blocks": ("b c h w -> b h w c", (2, 3, 9, 8), {"block": {"h": 3, "w": 4},
                      "region": "full"}, ["DropBlock2d(0.3, (3, 4), region='full')"]),
    "blocks in another order": ("b c h w -> b c h w", (2, 3, 9, 8), {"block": {"h": 3, "w": 3}},
                                []),
    "maps in another order": ("b c h w -> c b", (2, 3, 9, 8), {}, []),
    "pixels": ("b c h w -> b h w", (2, 3, 9, 8), {}, []),
    "exact": ("b c h w -> b c", (2, 3, 9, 8), {"exact": "c"}, []),
}  # fmt: skip


@pytest.mark.parametrize(("pattern", "shape", "given", "wanted"), LAYERS.values(), ids=LAYERS)
def test_layers_by_name(
    node: Node, pattern: str, shape: tuple[int, ...], given: Any, wanted: list[str]
) -> None:
    asked = options(pattern, shape, 0.3, **{"seed": 7, **given})
    found = [row["call"] for row in node.ask("layers", asked) if row["library"] == "mapdrop.torch"]
    assert found[:-1] == wanted
    assert found[-1].startswith("Drop(")


def check_layer(call: str, mask: mapdrop.Mask, library: str, given: dict[str, Any]) -> None:
    """Raise unless a layer's pattern and options give the mask."""
    module = framework(library)
    layer = eval(f"module.{call}", {"module": module, "rngs": _rngs(library)})
    _, _, _, region, scale, _, _ = layer._mask_options
    law = {"exact": layer.exact, "balance": layer.balance, "block": dict(layer.block)}
    numbers = {name: given[name] for name in ("seed", "step", "stream") if name in given}
    rate = getattr(layer, layer.rate_name)
    made = mapdrop.mask(
        layer.pattern, mask.shape, rate, **law, **numbers, region=region, scale=scale,
        **dict(layer.sizes),
    )  # fmt: skip
    assert same_mask(made, mask), call


def _rngs(library: str) -> Any:
    return framework("flax.nnx").Rngs(0) if library == "mapdrop.flax" else None


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(draws(each=1, streams=False))
def test_drawn_layers_are_this_very_mask(node: Node, drawn: list[Draw]) -> None:
    """Of PyTorch: those of the others have the same code, and take longer to make."""
    case = drawn[0].case
    _check_layers(node, case.pattern, case.shape, case.p, case.options, ("mapdrop.torch",))


@pytest.mark.parametrize(("pattern", "shape", "given", "_"), LAYERS.values(), ids=LAYERS)
def test_layers_are_this_very_mask(
    node: Node, pattern: str, shape: tuple[int, ...], given: Any, _: Any
) -> None:
    _check_layers(node, pattern, shape, 0.3, {"seed": 7, **given})


def _check_layers(
    node: Node,
    pattern: str,
    shape: tuple[int, ...],
    p: float,
    given: dict[str, Any],
    libraries: tuple[str, ...] = ("mapdrop.torch", "mapdrop.keras", "mapdrop.flax"),
) -> None:
    mask = mapdrop.mask(pattern, shape, p, **given)
    rows = node.ask("layers", options(pattern, shape, p, **given))
    assert {row["library"] for row in rows} >= set(libraries)
    for row in (one for one in rows if one["library"] in libraries):
        check_layer(row["call"], mask, row["library"], given)


# --- The usual patterns, and what stands in a link.


def _asked(node: Node, preset: Any, order: str) -> dict[str, Any]:
    fields = {name: value for name, value in preset.items() if isinstance(value, str)}
    made: dict[str, Any] = node.ask("options", {**fields, **preset[order]})
    return made


def test_presets_are_the_usual_kinds(node: Node) -> None:
    presets = {preset["id"]: preset for preset in node.ask("presets")}
    assert set(DROP_KINDS) <= set(presets)
    for name, kind in DROP_KINDS.items():
        for order, pattern in (("channels_last", kind.last), ("channels_first", kind.first)):
            asked = _asked(node, presets[name], order)
            shape = tuple(asked["shape"])
            assert asked["p"] == kind.p
            assert asked["block"] == (kind.options.get("block") or {})
            ours: Structure = structure(bound(asked["pattern"], shape, 0.5, block=asked["block"]))
            assert ours == structure(bound(pattern, shape, 0.5, **kind.options))


def test_presets_are_right_in_both_orders(node: Node) -> None:
    for preset in node.ask("presets"):
        counts = set()
        for order in ("channels_last", "channels_first"):
            asked = _asked(node, preset, order)
            sizes = asked.pop("sizes")
            pattern, shape, p = (asked.pop(name) for name in ("pattern", "shape", "p"))
            asked["block"] = {name: int(size) for name, size in asked["block"].items()}
            mask = mapdrop.mask(pattern, shape, p, seed=7, **asked, **sizes)
            counts.add((math.prod(shape), mask.coins.size))
        assert len(counts) == 1, preset


FIELDS = {"pattern": "größe (g 2) ... -> 1 g +&#%=,", "shape": "2, x", "stream": "a+b c&d=e#%20"}


@given(
    st.fixed_dictionaries(
        {},
        optional={
            name: st.text(st.characters(exclude_categories=["Cs"]))
            for name in (*FIELDS, "p", "seed", "at", "law")
        },
    )
)
def test_links_keep_every_field(node: Node, fields: dict[str, str]) -> None:
    came = node.ask("fragment", {**FIELDS, **fields})
    assert came | FIELDS | fields == came


READ = {
    "shapes": ({"shape": "(2, 8,8 12,)"}, {"shape": [2, 8, 8, 12]}),
    "crosses": ({"shape": "2x8 × 3"}, {"shape": [2, 8, 3]}),
    "no axes": ({"shape": "()"}, {"shape": []}),
    "rates": ({"p": " 1e-3"}, {"p": 0.001}),
    "blocks": ({"law": "block", "block": "h=7,w = 3,"}, {"block": {"h": 7, "w": 3}}),
    "sizes": ({"sizes": "k=4"}, {"sizes": {"k": 4}}),
    "laws": ({"law": "exact", "axis": "c", "block": "h=7"}, {"exact": "c", "block": {}}),
    "streams": ({"stream": ""}, {"stream": None}),
}  # fmt: skip


@pytest.mark.parametrize(("fields", "wanted"), READ.values(), ids=READ)
def test_fields_are_read(node: Node, fields: Any, wanted: Any) -> None:
    came = node.ask("options", fields)
    assert came | wanted == came


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"sizes": "k"}, "sizes are written name=size, as k=4, not 'k'"),
        ({"sizes": "k=4, k=5"}, "'k' has a size already, 4"),
        ({"sizes": "seed=4"}, "'seed' is an argument of drop(), not a size: rename the axis"),
        ({"law": "block", "block": "=3"}, "blocks are written name=size, as k=4, not '=3'"),
    ],
)
def test_fields_that_cannot_be_read(node: Node, fields: Any, said: str) -> None:
    with pytest.raises(JavaScriptError) as caught:
        node.ask("options", fields)
    assert (caught.value.name, caught.value.message) == ("ValueError", said)


# --- The comparisons can fail.

SPOILED: dict[str, tuple[str, str, str, str, dict[str, Any]]] = {
    "a note": ("no layer takes a mask shape", "nothing", "b c h w -> b", "other", {}),
    "a sentence": ("share a coin and fall", "share coins and fall", "b c h w -> b", "other", {}),
    "even blocks": ("side % 2 === 0", "side % 2 === 2", "b c h w -> b c h w", "other",
                    {"block": {"h": 2, "w": 2}}),
    "a layer": ('usual: "channels_first"', 'usual: "channels_last"', "b h w c -> b c", "layers",
                {}),
    "a keyword": ("balance=${repr(balance)}", "exact=${repr(balance)}", "b c h w -> b c", "layers",
                  {"balance": "c"}),
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "instead", "pattern", "kind", "given"), SPOILED.values(), ids=SPOILED
)
def test_faults_are_noticed(
    program: str, node: Node, tmp_path: Path, text: str, instead: str, pattern: str, kind: str,
    given: dict[str, Any],
) -> None:  # fmt: skip
    def compare(one: Node) -> None:
        if kind == "other":
            check(one, pattern, (9, 4, 4, 5), 0.5, **given)
        else:
            _check_layers(one, pattern, (9, 4, 4, 5), 0.3, {"seed": 7, **given})

    compare(node)
    with (
        spoiled(program, tmp_path, "calls.js", text, instead) as other,
        pytest.raises(AssertionError),
    ):
        compare(other)
