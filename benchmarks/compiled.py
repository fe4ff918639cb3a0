"""One compiled graph, with and without what dropout drops: `python -m benchmarks.compiled`.

Whole training steps of four convolutions, in one run, against the same compiled and not. The rows
go to results/compiled-cpu.jsonl.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from mapdrop.bench.environment import environment
from mapdrop.bench.timing import interleaved, ratio
from mapdrop.torch import Drop, compact

RESULTS = Path(__file__).parent / "results" / "compiled-cpu.jsonl"
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
    """Milliseconds of each way, and how much longer than ours the others take.

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


def main() -> None:
    """Measure, write, and show."""
    records = [row(name, size, share) for name, size in STACKS.items() for share in (8, 32)]
    RESULTS.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    table = Table("training step", "than", "faster", title=OURS)
    for record in records:
        for than, gain in record["gains"].items():
            table.add_row(record["row"], than, f"{gain:.2f}x")
    Console().print(table)


if __name__ == "__main__":
    main()
