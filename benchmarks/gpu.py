"""All that a GPU decides, in one run of some minutes: `python -m benchmarks.gpu`.

First the bits: every kind of mask on the GPU against NumPy's, eager and compiled. Then each drop
against its peers and a copy, drops in compiled graphs, training steps of four convolutions of 256
maps, and those of ViT-L's blocks under drop path. Rows are appended to results/*-cuda.jsonl as they
are made, so that a run that is cut off leaves what it had. Of packages it needs NumPy and PyTorch
with Triton alone.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

import mapdrop
from benchmarks import compiled, fused, samples
from benchmarks.models.vit import Size
from benchmarks.pages import RESULTS
from mapdrop.tools.adapters.torch import Adapter
from mapdrop.tools.bench.case import BOTH, FORWARD, LAST, PLAIN, Case
from mapdrop.tools.bench.comparison import comparison
from mapdrop.tools.bench.environment import environment
from mapdrop.tools.bench.measure import measure
from mapdrop.tools.bench.shapes import find
from mapdrop.tools.drop_kinds import DROP_KINDS

SECONDS = 1.0
CASES = [
    Case(operation, find(shape), direction, layout, dtype, "cuda")
    for operation, shapes in (
        ("element", ("wrn-28-10-1", "tompson")),
        ("spatial", ("wrn-28-10-1", "tompson")),
        ("block", ("resnet50-2",)),
        ("path", ("vit-b16",)),
    )
    for shape in shapes
    for direction in (FORWARD, BOTH)
    for layout, dtype in ((PLAIN, "float32"), (PLAIN, "bfloat16"), (LAST, "bfloat16"))
    if layout == PLAIN or len(find(shape).places) == 2
]
STACK = ("64-256-256-256-256, 56x56, batch 64", ((256,) * 5, 56, 64))
VIT_L = Size(width=1024, heads=16, depth=24, tokens=256, batch=64)
COMPILED_DEPTH = 6  # Compilers take time by the operation, and all blocks are alike.
GPU = samples.Place("cuda", torch.bfloat16)
MASKS: dict[str, dict[str, Any]] = {
    **{
        kind.name: {"pattern": kind.first, **kind.options}
        for kind in DROP_KINDS.values()
        if kind.layer
    },
    "element, crosswise": {"pattern": "b c h w -> b h w c"},
    "grouped": {"pattern": "b (g k) h w -> b g", "k": 4},
    "exact": {"pattern": "(m s) c h w -> m c", "s": 2, "exact": "c"},
    "stream and step": {"pattern": "b c h w -> b c", "stream": "a", "step": 2**40},
}
"""Every kind of mask, for `mapdrop.drop`."""


def bits() -> None:
    """Raise where a value on the GPU is not NumPy's."""
    for name, options in MASKS.items():
        torch._dynamo.reset()  # It gives up on a function compiled many times over.
        for layout in (torch.contiguous_format, torch.channels_last):
            x = torch.randn(8, 16, 33, 29).contiguous(memory_format=layout)
            wanted = mapdrop.mask(shape=tuple(x.shape), p=0.4, seed=7, **options).apply(x)

            def drop(x: torch.Tensor, options: dict[str, Any] = options) -> torch.Tensor:
                y: torch.Tensor = mapdrop.drop(x.abs(), p=0.4, seed=7, **options)
                return y

            for run in (drop, torch.compile(drop, fullgraph=True)):
                torch.testing.assert_close(run(x.cuda()).cpu(), wanted.abs(), rtol=0, atol=0)
        print("the same bits:", name, flush=True)


def operations() -> Iterator[dict[str, Any]]:
    """Each drop alone."""
    where = environment(Adapter.versions() | Adapter.hardware())
    for case in CASES:
        yield {"framework": "torch"} | measure(case, comparison(Adapter, case), SECONDS) | where


def graphs() -> Iterator[dict[str, Any]]:
    """Drops among what they fuse with."""
    for operation in Adapter.peers_of:
        for dtype in ("float32", "bfloat16"):
            made = fused.row(operation, "resnet50-2", "last", "cuda", dtype)
            yield made | Adapter.hardware()


def steps() -> Iterator[dict[str, Any]]:
    """Training steps without what is dropped."""

    def like(made: Any) -> Any:
        return made.to("cuda", torch.bfloat16, memory_format=torch.channels_last)

    for mode in ("default", "reduce-overhead"):
        for share in (8, 64):
            row = compiled.row(*STACK, share, like, torch.cuda.synchronize, mode=mode)
            yield row | {"mode": mode} | Adapter.hardware()


def branches(
    size: Size = VIT_L,
    depth: int = COMPILED_DEPTH,
    place: samples.Place = GPU,
) -> Iterator[dict[str, Any]]:
    """Training steps of blocks under drop path: eager, and of `depth` of them compiled."""
    where = environment(Adapter.versions() | Adapter.hardware())
    for row in (
        samples.vit_row(size, 0.4, both=True),
        samples.vit_row(replace(size, depth=depth), 0.4, compiled=True),
    ):
        yield samples.measured(row, place) | {"dtype": str(place.dtype)} | where


PARTS: dict[str, Callable[[], Iterator[dict[str, Any]]]] = {
    "operations": operations,
    "fused": graphs,
    "compiled": steps,
    "samples": branches,
}


def main() -> None:
    """Check, measure, and keep what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", default=",".join(PARTS), help="those alone, in this order")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the folder for the rows")
    chosen = parser.parse_args()
    if not torch.cuda.is_available():
        parser.error("PyTorch finds no GPU here")
    started = time.monotonic()
    bits()
    for part in chosen.parts.split(","):
        with (chosen.out / f"{part}-cuda.jsonl").open("a", encoding="utf-8") as file:
            for row in PARTS[part]():
                print(json.dumps(row), file=file, flush=True)
                print(f"{time.monotonic() - started:.0f} s:", json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
