"""One compiled graph, with and without what dropout drops: `python -m benchmarks.compiled`.

Whole training steps of four convolutions, in one run, against the same compiled and not. The rows
go to results/compiled-cpu.jsonl, and from there into docs/compiled.md.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.pages import DOCS, RESULTS, measured_on, newest, placed
from mapdrop.system.timing import interleaved, ratio
from mapdrop.tools.bench.environment import environment
from mapdrop.torch import Drop, compact

ROWS = RESULTS / "compiled-cpu.jsonl"
PAGE = DOCS / "compiled.md"
ROUNDS, OURS = 12, "compact, compiled"

Stack = tuple[tuple[int, ...], int, int]  # Maps, side, batch.
STACKS: dict[str, Stack] = {
    "64-128-128-128-128, 32x32, batch 32": ((64, 128, 128, 128, 128), 32, 32),
    "64-256-256-256-256, 16x16, batch 32": ((64, 256, 256, 256, 256), 16, 32),
}


def stack(widths: tuple[int, ...], drop: Callable[[], nn.Module]) -> nn.Module:
    """Convolutions, each followed by ReLU and a drop."""
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU(), drop()]
    return nn.Sequential(*layers)


def step(model: Any, x: Tensor, gradient: Tensor) -> None:
    """Forward and backward."""
    model.zero_grad(set_to_none=True)
    model(x).backward(gradient)


def row(
    name: str,
    size: Stack,
    share: int,
    like: Callable[[Any], Any] = lambda made: made,
    wait: Callable[[], object] = lambda: None,
    **options: Any,
) -> dict[str, Any]:
    """Return the milliseconds of each model, and how much longer than ours the others take.

    `like` moves a model or an array to where, and to what type, it is timed; `options` are those of
    torch.compile.
    """
    widths, side, batch = size
    torch._dynamo.reset()
    exact = partial(Drop, "(b s) c h w -> b c", 0.5, exact="c", s=share)
    dense = partial(nn.Dropout2d, 0.5)
    models: dict[str, Any] = {
        OURS: torch.compile(compact(like(stack(widths, exact))), fullgraph=True, **options),
        "compact": compact(like(stack(widths, exact))),
        "nn.Dropout2d, compiled": torch.compile(like(stack(widths, dense)), **options),
        "nn.Dropout2d": like(stack(widths, dense)),
        "no dropout, compiled": torch.compile(like(stack(widths, nn.Identity)), **options),
    }
    x = like(torch.randn(batch, widths[0], side, side))
    gradient = like(torch.randn(batch, widths[-1], side, side))
    runs = {n: partial(step, m, x, gradient) for n, m in models.items()}
    times = interleaved(runs, ROUNDS, wait=wait)
    return {
        "row": f"{name}, share={share}",
        "milliseconds": {n: t.median * 1e3 for n, t in times.items()},
        "gains": {n: ratio(times[OURS], t) for n, t in times.items() if n != OURS},
    } | environment({"torch": torch.__version__})


def table() -> str:
    """Markdown, from the committed rows."""
    records = newest(ROWS)
    others = list(next(iter(records.values()))["gains"])
    lines = [
        f"| training step | {OURS} | {' | '.join(f'than {name}' for name in others)} |",
        f"| --- | --- |{' --- |' * len(others)}",
    ]
    for name, record in records.items():
        gains = [f"**{record['gains'][other]:.2f}x**" for other in others]
        cells = [name, f"{record['milliseconds'][OURS]:.0f} ms", *gains]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", measured_on(records.values()), ""])


def filled(text: str) -> str:
    """docs/compiled.md with the table in its place."""
    return placed(text, "compiled", table())


def main() -> None:
    """Measure, write, and fill the page."""
    records = [row(name, size, share) for name, size in STACKS.items() for share in (8, 32)]
    ROWS.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    print(table())


if __name__ == "__main__":
    main()
