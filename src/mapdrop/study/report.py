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
    for line in (*differences(rows), *savings(rows)):
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
        f"px: {data['unit']}; step: time of a training step{_terms(rows)}",
        title_justify="left",
        caption_justify="left",
    )
    small, large = data["radii"]
    # Long names are wrapped where the page is narrow, so that every figure fits.
    shown.add_column("dropout")
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
    longest = max(len(condition.label) for condition in found)
    radius = rows[0]["data"]["radii"][0]
    value = partial(pck_at, part="test", radius=radius)
    best = max(found, key=lambda condition: estimate(found[condition], value).mean)
    lines = [
        f"Highest on test within {radius:g} px: {best.label}. Against {base.label}, seed by seed:"
    ]
    for condition, of in others:
        gap = difference(of, base_runs, value)
        lines.append(f"  {condition.label:<{longest}}  {_cell(gap, sign='+')}; {_worth(gap)}")
    return lines


def savings(rows: Sequence[Row]) -> list[str]:
    """What a compact step costs of a plain one, where both ran on the same masks."""
    found, ratios = runs(rows), step_ratios(rows)
    steps = rows[0]["settings"]["recipe"]["steps"]
    value = partial(pck_at, part="test", radius=rows[0]["data"]["radii"][0])
    lines = []
    for condition, of in found.items():
        plain = condition.plain
        if plain != condition and plain in found:
            gap = difference(of, found[plain], value)
            lines.append(
                f"{condition.label} is {plain.label} with steps that take "
                f"{ratios[condition] / ratios[plain]:.2f} of the time; the accuracy differs by "
                f"what {_count(steps, 'step')} make of rounding: {_cell(gap, sign='+')}."
            )
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


def _terms(rows: Sequence[Row]) -> str:
    """What the words in the names mean, of those that ran."""
    found = runs(rows)
    sides = {f"{condition.block_size}x{condition.block_size}" for condition in found}
    terms = {
        "block": f"{' or '.join(sorted(sides))} pixels of a map",
        "share": "so many samples have one mask",
        "balanced": "a batch's masks drop every map equally often, give or take one",
        "compact": "dropped maps are not computed",
    }
    used = [term for term in terms if any(term in condition.drop for condition in found)]
    return "".join(f"; {term}: {terms[term]}" for term in used)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + "s" * (number != 1)
