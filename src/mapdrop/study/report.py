"""The study as text: a table, what the differences are worth, and what was not measured."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from mapdrop.study.rows import Row
from mapdrop.study.summary import Estimate, difference, estimate, pck_at, runs, step_ratios


def print_report(console: Console, rows: Sequence[Row]) -> None:
    """Prints a finished study; `rows` are all its rows, the first of kind "study"."""
    study = rows[0]
    console.print(table(rows))
    for line in differences(rows):
        console.print(line, markup=False, highlight=False)
    guess = study["guess"]
    small, large = (f"{100 * guess['pck'][f'{r:g}']:.1f} %" for r in study["data"]["radii"])
    console.print(
        f"Without looking (each joint's mean place in training): {small} and {large}, "
        f"{guess['mean_error']:.1f} px.",
        markup=False,
        highlight=False,
    )
    console.print()
    console.print("What this cannot tell:", style="bold")
    for line in limits(rows):
        console.print(f"- {line}", markup=False, highlight=False)


def table(rows: Sequence[Row]) -> Table:
    """One line for each condition."""
    data = rows[0]["data"]
    seeds = len(next(iter(runs(rows).values())))
    shown = Table(
        box=SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
        title=f"Which dropout for {data['name']}?",
        caption=f"mean ± standard deviation over {_count(seeds, 'seed')}; "
        f"px: {data['unit']}; step: time of a training step{_blocks(rows)}",
        title_justify="left",
        caption_justify="left",
    )
    small, large = data["radii"]
    shown.add_column("dropout", no_wrap=True)
    for header in (
        f"test %\n≤ {small:g} px",
        f"test %\n≤ {large:g} px",
        f"train %\n≤ {small:g} px",
        f"train %\n≤ {large:g} px",
        "test\nerror px",
        "step\n× none",
    ):
        shown.add_column(header, justify="right", no_wrap=True)
    ratios = step_ratios(rows)
    for condition, of in runs(rows).items():
        shares = [
            estimate(of, partial(pck_at, part=part, radius=radius))
            for part in ("test", "train")
            for radius in (small, large)
        ]
        error = estimate(of, lambda row: row["metrics"]["test"]["mean_error"])
        shown.add_row(condition.label, *map(_cell, [*shares, error]), f"{ratios[condition]:.2f}")
    return shown


def differences(rows: Sequence[Row]) -> list[str]:
    """Each condition against the first one, seed by seed."""
    found = runs(rows)
    (base, base_runs), *others = found.items()
    radius = rows[0]["data"]["radii"][0]
    value = partial(pck_at, part="test", radius=radius)
    best = max(found, key=lambda condition: estimate(found[condition], value).mean)
    lines = [
        f"Highest on test within {radius:g} px: {best.label}. Against {base.label}, seed by seed:"
    ]
    for condition, of in others:
        gap = difference(of, base_runs, value)
        lines.append(f"  {condition.label:<12} {_cell(gap, sign='+')}; {_worth(gap)}")
    return lines


def limits(rows: Sequence[Row]) -> list[str]:
    """What the figures don't cover."""
    study, found = rows[0], runs(rows)
    seeds = len(next(iter(found.values())))
    train, test = study["data"]["train"], study["data"]["test"]
    lines = [
        f"One split, {train} training and {test} test images: the seeds vary the start weights, "
        "the order and shifts of images and the masks, not the data (--data-seed).",
        "The network is small and briefly trained: width "
        f"{study['settings']['width']} (the paper: 128), {study['settings']['recipe']['steps']} "
        "steps. With more of either the order may change.",
        study["data"]["limits"],
    ]
    if seeds < 5:
        lines.insert(
            0, f"{_count(seeds, 'seed')} can't show a small difference; more can (--seeds)."
        )
    if len({condition.drop for condition in found}) < len(found):
        lines.append("Rates were compared on the test images, so the best one looks too good.")
    else:
        lines.append("Each dropout ran at one rate; another may suit this task better (--rates).")
    timing = next(row for row in rows if row["kind"] == "timing")
    lines.append(
        f"Step times are medians of {timing['rounds']} interleaved steps on this machine "
        f"({_count(study['machine']['threads'], 'thread')}); small differences are noise."
    )
    return lines


def _worth(gap: Estimate) -> str:
    if gap.interval is None or gap.spread is None:
        return "one seed, so no difference is shown"
    low, high = gap.interval
    if low > 0 or high < 0:
        verdict = "a difference"
    elif abs(gap.mean) <= gap.spread:
        verdict = "within the spread"
    else:
        verdict = f"not settled by {_count(gap.seeds, 'seed')}"
    return f"95 %: {low:+.1f} to {high:+.1f}, {verdict}"


def _cell(value: Estimate, sign: str = "") -> str:
    mean = f"{value.mean:{sign}.1f}"
    return mean if value.spread is None else f"{mean} ±{value.spread:.1f}"


def _blocks(rows: Sequence[Row]) -> str:
    """What "block" means, if it ran."""
    sides = {c.block_size for c in runs(rows) if c.drop == "block"}
    return "".join(f"; block: {side}x{side} pixels of a map" for side in sides)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + "s" * (number != 1)
