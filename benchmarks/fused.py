"""Drops in compiled graphs, among the operations they fuse with: `python -m benchmarks.fused`.

Forward and backward of an activation and a drop, compiled by Inductor, against other libraries'
drops compiled, the same without any drop, and ours uncompiled. All in one run, interleaved; the
rows go to results/fused-cpu.jsonl, and from there into docs/compiled.md.
"""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.pages import DOCS, RESULTS, measured_on, newest, placed
from mapdrop.system.timing import interleaved, ratio
from mapdrop.tools.adapters.adapter import Drop
from mapdrop.tools.adapters.torch import Adapter
from mapdrop.tools.bench.environment import environment
from mapdrop.tools.bench.shapes import find
from mapdrop.tools.drop_kinds import DROP_KINDS

ROWS = RESULTS / "fused-cpu.jsonl"
PAGE = DOCS / "compiled.md"
ROUNDS, OURS, EAGER, NONE = 15, "mapdrop", "mapdrop, not compiled", "no drop"

CASES = [
    *(
        (operation, "resnet50-2", layout)
        for operation in Adapter.peers_of
        for layout in ("first", "last")
    ),
    ("path", "vit-b16", "first"),
    ("element", "vit-b16", "first"),
]


def block(drop: Drop, residual: bool) -> Drop:
    """What is compiled: a closure of its own, because Dynamo keeps code by function."""

    def run(x: Tensor) -> Tensor:
        dropped: Tensor = drop(functional.silu(x))
        return x + dropped if residual else dropped

    return run


def step(function: Drop, x: Tensor, gradient: Tensor) -> None:
    """Forward and backward."""
    x.grad = None
    function(x).backward(gradient)


def row(
    operation: str, shape: str, layout: str, device: str = "cpu", dtype: str = "float32"
) -> dict[str, Any]:
    """Return the milliseconds of each drop, and ours through each other's."""
    torch._dynamo.reset()
    kind, size, adapter = DROP_KINDS[operation], find(shape).first, Adapter(device)
    drops: dict[str, Drop] = {
        OURS: adapter.ours(kind, size),
        **adapter.peers(kind, size),
        NONE: lambda x: x,
    }
    residual = operation == "path"
    functions = {name: torch.compile(block(drop, residual)) for name, drop in drops.items()}
    functions[EAGER] = block(adapter.ours(kind, size), residual)
    x = adapter.random(size, dtype, f"channels {layout}").requires_grad_()
    gradient = torch.randn_like(x)
    runs = {n: partial(step, function, x, gradient) for n, function in functions.items()}
    times = interleaved(runs, ROUNDS, wait=adapter.synchronize)
    return {
        "row": f"{operation}, {shape}, channels {layout}",
        "device": device,
        "dtype": dtype,
        "milliseconds": {n: t.median * 1e3 for n, t in times.items()},
        "ratios": {n: 1 / ratio(times[OURS], t) for n, t in times.items() if n != OURS},
    } | environment({"torch": torch.__version__})


def table() -> str:
    """Markdown, from the committed rows."""
    records = newest(ROWS)
    lines = [
        "| drop | mapdrop | peer, ours / theirs | ours / no drop | ours / not compiled |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, record in records.items():
        ratios = record["ratios"]
        peer = "; ".join(f"{n} **{r:.2f}**" for n, r in ratios.items() if n not in (NONE, EAGER))
        milliseconds = f"{record['milliseconds'][OURS]:.1f} ms"
        cells = [name, milliseconds, peer, f"{ratios[NONE]:.2f}", f"{ratios[EAGER]:.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", measured_on(records.values()), ""])


def filled(text: str) -> str:
    """docs/compiled.md with the table in its place."""
    return placed(text, "fused", table())


def main() -> None:
    """Measure, write, and fill the page."""
    records = [row(*case) for case in CASES]
    ROWS.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    print(table())


if __name__ == "__main__":
    main()
