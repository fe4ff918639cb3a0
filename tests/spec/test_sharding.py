"""Which indices a part of an axis holds, against lists that are cut and dealt."""

from __future__ import annotations

import pytest

from mapdrop.spec.sharding import LocalRange, Shard, local_ranges, read, written

SIZES = [(size, ranks) for size in range(9) for ranks in range(1, 6)]


def parts(size: int, ranks: int, strided: bool) -> list[list[int]]:
    """Return each part's indices: dealt like cards, or cut into pieces of equal length."""
    every = list(range(size))
    if strided:
        return [every[rank::ranks] for rank in range(ranks)]
    length = (size + ranks - 1) // ranks
    return [every[rank * length :][:length] for rank in range(ranks)]


@pytest.mark.parametrize("strided", [False, True])
@pytest.mark.parametrize(("size", "ranks"), SIZES)
def test_a_part_holds_what_is_cut_off_for_it(size: int, ranks: int, strided: bool) -> None:
    for rank, wanted in enumerate(parts(size, ranks, strided)):
        shard = Shard(0, rank, ranks, strided=strided)
        held = shard.range(size)
        assert shard.local(size) == len(wanted)
        assert held.indices(len(wanted)).tolist() == wanted
        assert held.size == size
        assert 0 <= held.start <= max(size, ranks)
        assert strided or held.start <= size


@pytest.mark.parametrize("inner", [Shard(0, 1, 2), Shard(0, 1, 2, strided=True)], ids=str)
@pytest.mark.parametrize("outer", [Shard(0, 1, 3), Shard(0, 1, 3, strided=True)], ids=str)
def test_a_part_of_a_part(outer: Shard, inner: Shard) -> None:
    first = parts(12, 3, outer.strided)[1]
    wanted = [first[i] for i in parts(len(first), 2, inner.strided)[1]]
    (held,) = local_ranges([outer, inner], (len(wanted),)).values()
    assert held.indices(len(wanted)).tolist() == wanted
    assert held.size == 12


def test_a_part_of_a_part_of_a_part() -> None:
    cuts = [Shard(0, 1, 2), Shard(0, 2, 3), Shard(0, 4, 5)]
    assert local_ranges(cuts, (1,)) == {0: LocalRange(15 + 10 + 4, 1, 30)}


def test_a_given_size_is_that_of_what_is_cut() -> None:
    """Of 7 rows the last of 3 parts has 1; without the size, all parts have as many."""
    held = local_ranges([Shard(0, 2, 3, size=7)], (1,))
    assert held == {0: LocalRange(6, 1, 7)}
    assert local_ranges([Shard(0, 2, 3)], (3,)) == {0: LocalRange(6, 1, 9)}
    cuts = [Shard(0, 0, 2, size=7), Shard(0, 1, 2, size=4)]
    assert local_ranges(cuts, (2,)) == {0: LocalRange(2, 1, 7)}


def test_each_axis_has_its_own_cuts_in_order() -> None:
    shards = [Shard(-1, 1, 2), Shard(0, 0, 2, strided=True), Shard(1, 0, 3)]
    wanted = {0: LocalRange(0, 2, 4), 1: LocalRange(0, 1, 9), 2: LocalRange(4, 1, 8)}
    assert list(local_ranges(shards, (2, 3, 4)).items()) == list(wanted.items())


def test_an_axis_from_either_end_is_counted_from_the_last() -> None:
    assert Shard(1, 0, 2).from_the_last(3) == Shard(-2, 0, 2)
    assert Shard(0, 0, 2).from_the_last(3) == Shard(-3, 0, 2)
    kept = Shard(-3, 0, 2)
    assert kept.from_the_last(3) is kept
    for dim in (3, -4):
        with pytest.raises(ValueError, match=f"axis {dim} is cut into 2 parts, .* has 3 axes"):
            Shard(dim, 0, 2).from_the_last(3)


def test_an_array_of_another_length_is_refused() -> None:
    message = "part 1 of 2, 0 of 3 of an axis of 12 has 2 indices, axis 1 of the array has 5"
    with pytest.raises(ValueError, match=message):
        local_ranges([Shard(1, 1, 2, size=12), Shard(1, 0, 3)], (4, 5))


TEXT = {
    "1:0:2::": (Shard(1, 0, 2),),
    "-3:5:7:100:s": (Shard(-3, 5, 7, 100, True),),
    "0:0:1::s,2:1:4:0:": (Shard(0, 0, 1, strided=True), Shard(2, 1, 4, 0)),
}


@pytest.mark.parametrize(("text", "shards"), TEXT.items(), ids=TEXT)
def test_shards_as_text(text: str, shards: tuple[Shard, ...]) -> None:
    assert written(shards) == text
    assert read(text) == shards
