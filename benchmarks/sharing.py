"""Mean PCK and the paired difference to a mask for each sample, of the studies of shared masks.

    python -m benchmarks.sharing

writes docs/study/sharing/table.txt from the rows beside it. Only seeds that ran in every condition
of their study count, so that an interrupted study compares like with like.
"""

from __future__ import annotations

import json
import math
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean, stdev

from scipy.stats import t as student_t

HERE = Path(__file__).parents[1] / "docs" / "study" / "sharing"
BASE = "spatial"
_NOTE = "* the 95 % t interval excludes 0; of this many intervals, one in twenty does so by chance."

Values = dict[str, dict[int, tuple[float, ...]]]
"""For each condition and seed the PCK in % at the study's radii."""


def studies() -> Iterator[tuple[str, int, list[str], Values]]:
    """Data set, batch, radii and values of each file of rows."""
    for path in sorted(HERE.glob("*-batch*.jsonl")):
        name, batch = path.stem.split("-batch")
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        drops = [row["drop"] for row in rows if row["kind"] == "timing"]
        found: Values = {drop: {} for drop in drops}
        radii: list[str] = []
        for row in (row for row in rows if row["kind"] == "run"):
            pck = row["metrics"]["test"]["pck"]
            radii = list(pck)
            found[row["drop"]][row["seed"]] = tuple(100 * share for share in pck.values())
        complete = set.intersection(*(set(of) for of in found.values()))
        values = {d: {s: v for s, v in of.items() if s in complete} for d, of in found.items()}
        yield name, int(batch), radii, values


def masks(drop: str, batch: int) -> str:
    """How many masks a batch has, and how they are drawn."""
    if drop == "none":
        return "none"
    share = re.match("share=([0-9]+)", drop)
    number = -(-batch // int(share[1] if share else 1))
    return f"{number} {'balanced' if '+balanced' in drop else 'independent'}"


def interval(values: list[float]) -> str:
    """The mean and its 95 % interval."""
    mean = fmean(values)
    if len(values) < 2:
        return f"{mean:+6.1f}  (one pair)"
    half = float(student_t.ppf(0.975, len(values) - 1)) * stdev(values) / math.sqrt(len(values))
    return f"{mean:+6.1f}  [{mean - half:+6.1f}, {mean + half:+6.1f}]{'*' * (abs(mean) > half)}"


def differences(values: Values, drop: str, other: str, radius: int) -> list[float]:
    """Seed by seed, at one of the radii."""
    return [v[radius] - values[other][seed][radius] for seed, v in values[drop].items()]


def one_study(name: str, batch: int, radii: list[str], values: Values) -> list[str]:
    """Its lines: a condition each."""
    small, large = radii
    seeds = len(values[BASE])
    lines = [
        f"{name}, batch {batch}: {seeds} seeds complete in every condition; test PCK in %",
        f"{'masks a batch':<16} {'condition':<18} {'<=' + small:>6} {'<=' + large:>6}   "
        f"{'minus spatial, <=' + small:<28} minus spatial, <={large}",
    ]
    for drop in sorted(values, key=lambda d: (d != "none", d != BASE)):
        means = [fmean(v[i] for v in values[drop].values()) for i in (0, 1)]
        gaps = ["", ""]
        if drop != BASE:
            gaps = [interval(differences(values, drop, BASE, i)) for i in (0, 1)]
        lines.append(
            f"{masks(drop, batch):<16} {drop:<18} {means[0]:6.1f} {means[1]:6.1f}   "
            f"{gaps[0]:<28} {gaps[1]}".rstrip()
        )
    return lines


def together(name: str, of: list[tuple[int, Values]]) -> list[str]:
    """All batch sizes of a data set, at the small radius."""
    pooled: dict[str, list[float]] = defaultdict(list)
    even: dict[int, list[float]] = defaultdict(list)
    for batch, values in of:
        for drop in (drop for drop in values if drop != BASE):
            pooled[masks(drop, batch)] += differences(values, drop, BASE, 0)
            twin = drop.removesuffix("+balanced")
            if twin != drop:
                number = int(masks(drop, batch).split()[0])
                even[number] += differences(values, drop, BASE if twin == "share=1" else twin, 0)
    order = sorted(pooled, key=lambda m: (m != "none", int(m.split()[0]) if m != "none" else 0, m))
    lines = [f"{name}, all batch sizes: minus spatial (one mask for each sample)"]
    lines += [f"  {m:<16} {interval(pooled[m])}  {len(pooled[m])} pairs" for m in order]
    lines.append(f"{name}: balanced minus as many independent masks")
    lines += [f"  {n:<16} {interval(even[n])}  {len(even[n])} pairs" for n in sorted(even)]
    return lines


def table() -> str:
    """Of all studies."""
    parts, names = [], defaultdict(list)
    for name, batch, radii, values in studies():
        parts.append(one_study(name, batch, radii, values))
        names[name].append((batch, values))
    parts += [together(name, of) for name, of in names.items()]
    return "\n\n".join("\n".join(part) for part in [*parts, [_NOTE]]) + "\n"


if __name__ == "__main__":
    (HERE / "table.txt").write_text(table(), encoding="utf-8")
    print(table())
