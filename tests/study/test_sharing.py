"""The table of shared masks is that of the committed rows, and compares like with like."""

from __future__ import annotations

from benchmarks import sharing


def test_the_table_is_made_from_the_rows_beside_it() -> None:
    assert (sharing.HERE / "table.txt").read_text(encoding="utf-8") == sharing.table()


def test_every_condition_has_the_same_seeds() -> None:
    found = list(sharing.studies())
    assert {(name, batch) for name, batch, *_ in found} >= {("scenes", 8), ("mouse", 8)}
    for *_, values in found:
        seeds = [set(of) for of in values.values()]
        assert seeds[0]
        assert all(other == seeds[0] for other in seeds)


def test_masks_are_counted_and_an_interval_that_leaves_out_0_has_a_star() -> None:
    names = {"none": "none", "spatial": "16 independent", "share=5+balanced": "4 balanced"}
    assert {drop: sharing.masks(drop, 16) for drop in names} == names
    assert sharing.interval([1.0, 2.0, 1.5]).endswith("]*")
    assert sharing.interval([-1.0, 2.0, 1.5]).endswith("]")


def test_balanced_masks_meet_as_many_independent_ones_at_every_batch_size() -> None:
    values: sharing.Values = {
        "spatial": {0: (10.0, 0.0), 1: (10.0, 0.0)},
        "share=1+balanced": {0: (11.0, 0.0), 1: (12.0, 0.0)},
        "share=16": {0: (20.0, 0.0), 1: (20.0, 0.0)},
        "share=16+balanced": {0: (23.0, 0.0), 1: (25.0, 0.0)},
    }
    lines = sharing.together("made up", [(32, values)])
    held = lines[lines.index("made up: balanced minus as many independent masks") + 1 :]
    assert [line.split()[:2] for line in held] == [["2", "+4.0"], ["32", "+1.5"]]
