"""Prints mean PCK and the paired difference to spatial, for each study in docs/study/sharing.

    python -m benchmarks.sharing

Only seeds that ran in every condition of their study count, so an interrupted study compares like
with like. Splits of the data (-data0, -data1, ...) are put together: a pair is a (split, seed).
"""

from __future__ import annotations

import json
import math
import re
from collections import defaultdict
from pathlib import Path
from statistics import fmean, stdev

from scipy.stats import t as student_t

HERE = Path(__file__).parents[1] / "docs" / "study" / "sharing"
BASE = "spatial"


def interval(values: list[float]) -> str:
    mean = fmean(values)
    if len(values) < 2:
        return f"{mean:+6.1f}  (one pair)       "
    half = float(student_t.ppf(0.975, len(values) - 1)) * stdev(values) / math.sqrt(len(values))
    star = "*" if abs(mean) > half else " "
    return f"{mean:+6.1f}  [{mean - half:+6.1f}, {mean + half:+6.1f}]{star}"


def masks(drop: str, batch: int) -> str:
    """How many masks a batch has, and how they are drawn."""
    if drop == "none":
        return "none"
    share = int(drop.split("+")[0].removeprefix("share=")) if drop.startswith("share=") else 1
    return f"{-(-batch // share)} {'balanced' if '+balanced' in drop else 'independent'}"


# {(data, batch): {drop: {(split, seed): (small, large)}}}
cells: dict = defaultdict(lambda: defaultdict(dict))
radii: dict = {}
for path in sorted(HERE.glob("*-batch*.jsonl")):
    data, batch = re.fullmatch(r"(\w+)-batch(\d+)", path.stem).groups()
    split = 0
    runs: dict = defaultdict(dict)
    lines = path.read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    names = [row["drop"] for row in rows if row["kind"] == "timing"]
    for row in rows:
        if row["kind"] == "run":
            pck = row["metrics"]["test"]["pck"]
            radii[data] = list(pck)
            runs[row["seed"]][row["drop"]] = tuple(100 * share for share in pck.values())
    for seed, of in runs.items():
        if set(of) >= set(names):
            for drop, values in of.items():
                cells[data, int(batch)][drop][split, seed] = values

for (data, batch), of in sorted(cells.items()):
    small, large = radii[data]
    pairs = len(of[BASE])
    print(f"\n{data}, batch {batch}: {pairs} seeds complete in every condition; test PCK in %")
    print(
        f"{'masks a batch':<16} {'condition':<18} {'<=' + small:>6} {'<=' + large:>6}"
        f"   {'less spatial, <=' + small:<28} less spatial, <={large}"
    )
    for drop, values in sorted(of.items(), key=lambda kv: (kv[0] != "none", kv[0] != BASE)):
        means = [fmean(v[i] for v in values.values()) for i in (0, 1)]
        gaps = [[v[i] - of[BASE][key][i] for key, v in values.items()] for i in (0, 1)]
        shown = ["", ""] if drop == BASE else [interval(gap) for gap in gaps]
        print(
            f"{masks(drop, batch):<16} {drop:<18} {means[0]:6.1f} {means[1]:6.1f}"
            f"   {shown[0]:<28} {shown[1]}"
        )

print(
    "\nAll batch sizes together: pairs of one data set, batch, split and seed, <= the small radius"
)
for data in sorted(radii):
    pooled: dict = defaultdict(list)
    even: dict = defaultdict(list)
    for (name, batch), of in cells.items():
        if name != data:
            continue
        for drop, values in of.items():
            for key, v in values.items():
                if drop != BASE:
                    pooled[masks(drop, batch)].append(v[0] - of[BASE][key][0])
                twin = of.get(drop.removesuffix("+balanced"), {}) if "+bal" in drop else {}
                if drop == "share=1+balanced":
                    twin = of[BASE]
                if twin:
                    even[masks(drop, batch).split()[0]].append(v[0] - twin[key][0])
    print(f"\n{data}: less spatial (one mask for each sample)")
    order = sorted(pooled, key=lambda m: (m != "none", int(m.split()[0]) if m != "none" else 0, m))
    for m in order:
        print(f"  {m:<16} {interval(pooled[m])}  {len(pooled[m])} pairs")
    print(f"{data}: balanced less independent masks, as many of them")
    for m in sorted(even, key=int):
        print(f"  {m:<16} {interval(even[m])}  {len(even[m])} pairs")
    if even:
        both = [gap for gaps in even.values() for gap in gaps]
        print(f"  {'all':<16} {interval(both)}  {len(both)} pairs (not all independent)")
print("\n* the 95 % t interval leaves out 0. Many intervals: about one in twenty does by chance.")
