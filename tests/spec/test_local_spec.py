"""A part of an array is dropped as in the whole array, and draws no more than the law asks for."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mapdrop.spec import law as laws
from mapdrop.spec.law import BlockAxis
from mapdrop.spec.local_spec import (
    Box,
    LocalSpec,
    bound_locally,
    bound_to_rows,
    global_shape,
    local_spec,
)
from mapdrop.spec.mask_spec import BoundSpec, MaskSpec, mask_spec
from mapdrop.spec.numpy_coins import Bits, NumpySpace
from mapdrop.spec.sharding import Shard
from mapdrop.spec.words import Words
from mapdrop.spec.words import words as words_of

KEY, STEP = 2**63 + 5, 3


class BoxSpace(NumpySpace):
    """The coins of a box."""

    def __init__(self, box: Box) -> None:
        super().__init__(box.sizes, KEY, STEP)
        self.box, self.shape = box, box.shape

    def words(self, axis: int | None = None) -> Words:
        starts, run = self.box.runs(axis)
        index = (starts[:, None] + np.arange(run)).astype(np.uint64)
        shape = [1 if a == axis else n for a, n in enumerate(self.shape)]
        return words_of(index, self.key, self.step).reshape(shape)

    def erode(self, kept: Bits, block: BlockAxis) -> Bits:
        return super().erode(kept, self.box.local(block))


def spread(coins: NDArray[Any], bound: BoundSpec | LocalSpec) -> NDArray[Any]:
    """Return what each value of the array gets of the coins."""
    binding = bound.binding
    if binding.repeats is not None:
        axis, members, size = binding.repeats
        coins = coins.take(np.arange(size) // members, axis)
        binding = binding.ungrouped
    order, lined_up = binding.lineup
    each = np.broadcast_to(coins.transpose(order).reshape(lined_up), binding.factors)
    return each.reshape(binding.shape)


def factors_of_whole(bound: BoundSpec) -> NDArray[Any]:
    space = NumpySpace(bound.binding.coins, KEY, STEP)
    kept = laws.kept(bound.law, space)
    return spread(kept * np.asarray(bound.factor(space, kept)), bound)


def factors_of_part(part: LocalSpec) -> NDArray[Any]:
    space = BoxSpace(part.box)
    kept = laws.kept(part.law, space)
    made = kept * np.asarray(part.bound.factor(space, kept))
    made = made.transpose(part.order).reshape(part.merged)
    for axis, take in enumerate(part.takes):
        made = made if take is None else made.take(take, axis)
    assert made.shape == part.binding.coins
    return spread(made, part)


SHAPE = (6, 8, 5)
DROPS: dict[str, tuple[str, dict[str, Any]]] = {
    "values": ("b c t -> b c t", {}),
    "values in another order": ("b c t -> t b c", {}),
    "maps": ("b c t -> b c", {}),
    "maps in another order": ("b c t -> c b", {}),
    "one for the batch": ("b c t -> c t", {}),
    "one": ("b c t ->", {}),
    "groups": ("b (g k) t -> b g", {"sizes": (("k", 2),)}),
    "groups of one": ("b (g k) t -> b g k", {"sizes": (("k", 1),)}),
    "members": ("b (g k) t -> b k", {"sizes": (("k", 2),)}),
    "groups and members": ("b (g k) t -> k g b", {"sizes": (("k", 2),)}),
    "groups of samples": ("(m s) c t -> m c", {"sizes": (("s", 3),)}),
    "a smaller last group": ("(m s) c t -> m c", {"sizes": (("s", 4),), "ragged": True}),
    "exact": ("b c t -> b c", {"exact": "c"}),
    "balanced over the batch": ("b c t -> b c", {"balance": "b"}),
    "balanced, another order": ("b c t -> t c b", {"balance": "c"}),
    "blocks": ("b c t -> b c t", {"block": (("t", 3),)}),
    "blocks of even size": ("b c t -> b c t", {"block": (("c", 4), ("b", 2)), "region": "full"}),
    "counted by sample": ("b c t -> b c t", {"scale": "sample"}),
    "counted": ("b c t -> b c t", {"scale": "batch"}),
    "unscaled": ("b c t -> b c t", {"scale": None}),
}
HELD: dict[str, dict[int, list[int]]] = {
    "first rows": {0: [0, 1]},
    "some rows": {0: [1, 4]},
    "last row": {0: [5]},
    "no row": {0: []},
    "channels": {1: [4, 5, 6, 7]},
    "every other": {0: [1, 3, 5], 1: [0, 2, 4, 6]},
    "three axes": {0: [2, 3, 4], 1: [1, 2, 3], 2: [3, 4]},
}


@pytest.mark.parametrize("held", HELD.values(), ids=HELD)
@pytest.mark.parametrize("drop", DROPS.values(), ids=DROPS)
def test_a_part_is_dropped_as_in_the_whole(
    drop: tuple[str, dict[str, Any]], held: dict[int, list[int]]
) -> None:
    pattern, options = drop
    bound = mask_spec(pattern, 0.5, **options).bind(SHAPE)
    whole = factors_of_whole(bound)
    assert pattern == "b c t ->" or 0 < (whole != 0).sum() < whole.size
    index = np.ix_(*(held.get(axis, range(n)) for axis, n in enumerate(SHAPE)))
    places = {axis: np.array(found, np.int64) for axis, found in held.items()}
    shape = tuple(len(held[a]) if a in held else n for a, n in enumerate(SHAPE))
    part = local_spec(bound, shape, places)
    assert part.binding.shape == shape
    assert part.binding.ragged is None
    np.testing.assert_array_equal(factors_of_part(part), whole[tuple(i.astype(int) for i in index)])


BOXES: dict[str, tuple[str, dict[str, Any], dict[int, list[int]], list[list[int]]]] = {
    "own coins alone": ("b c t -> b c", {}, {0: [1, 4]}, [[1, 4], [*range(8)]]),
    "a group's coin once": (
        *("b (g k) t -> g", {"sizes": (("k", 2),)}, {1: [2, 3, 7]}),
        [[1, 3]],
    ),
    "the whole axis of exact": ("b c -> b c", {"exact": "c"}, {0: [2], 1: [3]}, [[2], [*range(8)]]),
    "what centres reach": ("t -> t", {"block": (("t", 4),)}, {0: [7, 8]}, [[*range(6, 11)]]),
    "up to the border": ("t -> t", {"block": (("t", 5),)}, {0: [1]}, [[*range(4)]]),
    "up to the last": ("t -> t", {"block": (("t", 5),)}, {0: [18]}, [[16, 17, 18, 19]]),
    "not along other axes": (
        *("b t -> b t", {"block": (("t", 3),)}, {0: [0, 3], 1: [5]}),
        [[0, 3], [4, 5, 6]],
    ),
    "all that is counted": ("b c -> b c", {"scale": "batch"}, {0: [1]}, [[*range(6)], [*range(8)]]),
    "a sample's that is counted": ("b c -> b c", {"scale": "sample"}, {0: [1]}, [[1], [*range(8)]]),
}


@pytest.mark.parametrize(("pattern", "options", "held", "places"), BOXES.values(), ids=BOXES)
def test_no_more_coins_are_drawn_than_the_law_asks_for(
    pattern: str, options: dict[str, Any], held: dict[int, list[int]], places: list[list[int]]
) -> None:
    rank = len(pattern.split("->")[0].replace("(g k)", "g").split())
    whole = {1: (20,), 2: (6, 8), 3: SHAPE}[rank]
    bound = mask_spec(pattern, 0.5, **options).bind(whole)
    shape = tuple(len(held[a]) if a in held else n for a, n in enumerate(whole))
    part = local_spec(bound, shape, {a: np.array(i, np.int64) for a, i in held.items()})
    assert [found.tolist() for found in part.box.places] == places
    assert all(found.dtype == np.int64 for found in part.box.places)


RUNS: dict[str, tuple[list[list[int]], int | None, list[int], int]] = {
    "all": ([[0, 1], [0, 1, 2], [0, 1, 2, 3]], None, [0], 24),
    "rows": ([[1], [0, 1, 2], [0, 1, 2, 3]], None, [12], 12),
    "the last axis alone": ([[0, 1], [1, 2], [1, 2]], None, [5, 9, 17, 21], 2),
    "two axes": ([[0, 1], [1, 2], [0, 1, 2, 3]], None, [4, 16], 8),
    "gaps": ([[1], [0, 2], [0, 2]], None, [12, 14, 20, 22], 1),
    "none": ([[0, 1], [0, 1], []], None, [], 1),
    "lines along the last": ([[1], [0, 1, 2], [0, 3]], 2, [27], 3),
    "lines along the first": ([[0, 1], [1, 2], [1, 2]], 0, [29, 33], 2),
}


@pytest.mark.parametrize(("places", "along", "starts", "run"), RUNS.values(), ids=RUNS)
def test_runs_of_consecutive_coins(
    places: list[list[int]], along: int | None, starts: list[int], run: int
) -> None:
    box = Box((2, 3, 4), tuple(np.array(found, np.int64) for found in places))
    found, length = box.runs(along)
    assert (found.tolist(), length) == (starts, run)


FIRST: dict[str, tuple[str, dict[str, Any], dict[int, list[int]], list[int]]] = {
    "consecutive": ("b c -> b c", {}, {0: [2, 3]}, [16]),
    "runs": ("b c -> b c", {}, {0: [1, 4]}, [8, 32]),
    "another order": ("b c -> c b", {}, {0: [2, 3]}, [*range(2, 48, 6)]),
    "a coin of two values": ("b (g k) -> g b", {"sizes": (("k", 2),)}, {0: [1], 1: [2, 3]}, []),
    "an axis in another order": ("b (g k) -> k g b", {"sizes": (("k", 2),)}, {0: [1]}, []),
    "taken": ("b c -> b c", {"exact": "c"}, {0: [2], 1: [3, 5]}, []),
}


@pytest.mark.parametrize(("pattern", "options", "held", "starts"), FIRST.values(), ids=FIRST)
def test_where_runs_begin_if_coins_are_as_the_values(
    pattern: str, options: dict[str, Any], held: dict[int, list[int]], starts: list[int]
) -> None:
    bound = mask_spec(pattern, 0.5, **options).bind((6, 8))
    shape = tuple(len(held[a]) if a in held else n for a, n in enumerate((6, 8)))
    part = local_spec(bound, shape, {a: np.array(i, np.int64) for a, i in held.items()})
    assert part.starts.tolist() == starts
    assert part.first == (starts[0] if len(starts) == 1 else None)


def test_a_part_has_the_law_and_the_scale_of_the_whole() -> None:
    spec = mask_spec("b c -> b c", 0.3, exact="c", scale="sample")
    bound = spec.bind((6, 8), warn=False)
    part = local_spec(bound, (1, 8), {0: np.array([2])})
    assert (part.law, part.scale, part.expected) == (bound.law, "sample", bound.expected)
    assert part.most == bound.most == 36
    assert part.counted_axes == bound.counted_axes == (1,)


def test_a_part_s_axes_have_the_names_of_their_coins() -> None:
    bound = mask_spec("b (g k) t -> g b t", 0.5, sizes=(("k", 2),)).bind(SHAPE)
    part = local_spec(bound, (2, 8, 5), {0: np.array([0, 1])})
    assert part.binding.names == ("g", "b", "t")
    assert part.binding.coins == (8, 2, 5)
    bound = mask_spec("b (g k) t -> g k b", 0.5, sizes=(("k", 2),)).bind(SHAPE)
    assert local_spec(bound, (2, 8, 5), {0: np.array([0, 1])}).binding.names == ("g", "b")


def test_shards_say_what_a_part_holds() -> None:
    spec = mask_spec("b c -> b c", 0.5)
    shards = (Shard(0, 1, 3), Shard(1, 0, 2, strided=True))
    assert global_shape((2, 4), shards) == (6, 8)
    part = bound_locally(spec, (2, 4), shards)
    assert isinstance(part, LocalSpec)
    assert part is bound_locally(spec, (2, 4), shards)
    assert [found.tolist() for found in part.box.places] == [[2, 3], [0, 2, 4, 6]]
    assert bound_locally(spec, (2, 4), ()) is spec.bind((2, 4))


@pytest.mark.parametrize(
    ("shards", "places"),
    [((), [[0, 1], [1, 4]]), ((Shard(1, 1, 2),), [[0, 1], [7, 10]])],
    ids=["whole", "shard"],
)
def test_rows_are_some_of_what_is_held(shards: tuple[Shard, ...], places: list[list[int]]) -> None:
    spec = mask_spec("b c -> b c", 0.5)
    part = bound_to_rows(spec, (2, 6), shards, 1, np.array([1, 4]))
    assert part.binding.shape == (2, 2)
    assert [found.tolist() for found in part.box.places] == places


def far_from_its_rate() -> MaskSpec:
    return mask_spec("b c -> b c", 0.3, exact="c")


def test_binding_a_part_warns_once_asked() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bound_locally(far_from_its_rate(), (2, 2), (Shard(0, 0, 3),), warn=False)
        bound_locally(far_from_its_rate(), (2, 2), (), warn=False)
        bound_to_rows(far_from_its_rate(), (2, 2), (), 0, np.array([0]))
    for shards in ((), (Shard(0, 0, 5),)):
        with pytest.warns(UserWarning, match="exact='c' always drops 1 of 2"):
            bound_locally(far_from_its_rate(), (2, 2), shards)
