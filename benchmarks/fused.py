"""Drops in compiled graphs, among the operations they fuse with: `python -m benchmarks.fused`.

Forward and backward of an activation and a drop, compiled by Inductor, against other libraries'
drops compiled, the same without any drop, and ours uncompiled. All in one run, interleaved; the
rows go to results/fused-cpu.jsonl, and from there into docs/compiled.md.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.pages import DOCS, RESULTS, measured_on, newest, placed
from mapdrop.system.timing import interleaved, ratio
from mapdrop.tools.bench import peers
from mapdrop.tools.bench.environment import environment
from mapdrop.tools.bench.operations import BLOCK, OPERATIONS
from mapdrop.tools.bench.shapes import find
from mapdrop.torch import DropBlock2d, Dropout, DropPath, SpatialDropout2d

ROWS = RESULTS / "fused-cpu.jsonl"
PAGE = DOCS / "compiled.md"
ROUNDS, OURS, EAGER, NONE = 15, "mapdrop", "mapdrop, not compiled", "no drop"

WAIT: dict[str, Callable[[], object]] = {"cpu": lambda: None, "cuda": torch.cuda.synchronize}
Drop = Callable[[Tensor], Tensor]
# operation: ours, and others'.
DROPS: dict[str, tuple[Callable[[float], Drop], dict[str, Callable[..., Tensor]]]] = {
    "spatial": (SpatialDropout2d, {"F.dropout2d": functional.dropout2d}),
    "path": (DropPath, {"timm's": peers.timm_drop_path}),
    "block": (
        partial(DropBlock2d, block_size=BLOCK),
        {"torchvision's": partial(peers.torchvision_drop_block2d, block_size=BLOCK)},
    ),
    "element": (Dropout, {"F.dropout": functional.dropout}),
}
ASKED = [
    *((operation, "resnet50-2", layout) for operation in DROPS for layout in ("first", "last")),
    ("path", "vit-b16", "first"),
    ("element", "vit-b16", "first"),
]


def block(drop: Drop, residual: bool) -> Drop:
    """What is compiled: a closure of its own, because Dynamo keeps code by function."""

    def run(x: Tensor) -> Tensor:
        dropped = drop(functional.silu(x))
        return x + dropped if residual else dropped

    return run


def step(function: Drop, x: Tensor, gradient: Tensor) -> None:
    """Forward and backward."""
    x.grad = None
    function(x).backward(gradient)


def row(
    operation: str, shape: str, layout: str, device: str = "cpu", dtype: str = "float32"
) -> dict[str, Any]:
    """Milliseconds of each way, and ours through each other's."""
    torch._dynamo.reset()
    p, (ours, others) = OPERATIONS[operation].p, DROPS[operation]
    drops: dict[str, Drop] = {
        OURS: ours(p),
        **{name: partial(other, p=p) for name, other in others.items()},
        NONE: lambda x: x,
    }
    residual = operation == "path"
    ways = {name: torch.compile(block(drop, residual)) for name, drop in drops.items()}
    ways[EAGER] = block(ours(p), residual)
    x = torch.randn(find(shape).first, device=device, dtype=getattr(torch, dtype))
    if layout == "last":
        x = x.contiguous(memory_format=torch.channels_last)
    x.requires_grad_()
    gradient = torch.randn_like(x)
    runs = {n: partial(step, way, x, gradient) for n, way in ways.items()}
    times = interleaved(runs, ROUNDS, wait=WAIT[device])
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
    records = [row(*asked) for asked in ASKED]
    ROWS.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    print(table())


if __name__ == "__main__":
    main()
