"""What compact costs besides the operations: `python -m benchmarks.overhead`.

A residual network of 254 modules: the microseconds that compact adds to a step in which it skips
nothing, those of a step that skips (PyTorch's guards, and handing over 202 parameters), and the
seconds of the first call, of one with another batch size, and of those after that. Without
arithmetic where microseconds are asked for. And the milliseconds of `import mapdrop` after
`import numpy`. The row goes to results/overhead-cpu.jsonl.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mapdrop.system.timing import interleaved
from mapdrop.tools.bench.environment import environment
from mapdrop.torch import compact
from mapdrop.torch.compact import Costs
from mapdrop.torch.compact.schedule import Schedule

RESULTS = Path(__file__).parent / "results" / "overhead-cpu.jsonl"
ALWAYS = Costs(
    flops=1e9, own=1e20, call=0, own_call=0, weights=1e20, activations=1e20, margin=-1, least=-1
)
NEVER = Costs(margin=1e9)


class Residual(nn.Module):
    """50 residual blocks of convolution, BatchNorm, ReLU and drop."""

    def __init__(self, blocks: int = 50, width: int = 8) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, width, 3, padding=1),
                nn.BatchNorm2d(width),
                nn.ReLU(),
                nn.Dropout2d(0.5),
            )
            for _ in range(blocks)
        )
        self.head = nn.Linear(width, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = x + block(x)
        y: Tensor = self.head(x.mean((2, 3)))
        return y


class Idle(Residual):
    """The same modules, none of which is called."""

    def forward(self, x: Tensor) -> Tensor:
        return x * 2


def main() -> None:
    torch.set_num_threads(1)
    compact(Residual(2))(_image(2))  # Imports what a first call imports.
    record: dict[str, Any] = {"modules": len(list(Residual().modules())), **_added(), **_first()}
    record["ms, import mapdrop"] = _import()
    print(json.dumps(record, indent=1))
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("a") as file:
        file.write(json.dumps(record | environment({"torch": torch.__version__})) + "\n")


def _image(samples: int) -> Tensor:
    return torch.ones(samples, 3, 4, 4)


def _added() -> dict[str, float]:
    """Microseconds that a call takes more than the model's own."""
    idle, x = Idle(), _image(2)
    whole, skipping = compact(idle, NEVER), compact(Residual(), ALWAYS)
    whole(x)
    outputs = (skipping(x).detach(),)
    run, Schedule.run = Schedule.run, lambda self, inputs: outputs  # type: ignore[method-assign]
    try:
        works = {
            "model": lambda: idle(x),
            "skips nothing": lambda: whole(x),
            "skips": lambda: skipping(x),
        }
        times = {name: t.least * 1e6 for name, t in interleaved(works, 2000).items()}
    finally:
        Schedule.run = run  # type: ignore[method-assign]
    return {f"us added, {name}": times[name] - times["model"] for name in list(works)[1:]}


def _first() -> dict[str, float]:
    """Seconds of the first calls of each of 17 and 50 blocks, by their batch sizes."""
    found = {}
    for blocks in (17, 50):
        fast = compact(Residual(blocks), ALWAYS)
        for samples in (4, 3, 5):
            start = time.perf_counter()
            fast(_image(samples))
            found[f"s, {blocks} blocks, batch {samples}"] = time.perf_counter() - start
    return found


def _import() -> float:
    """Milliseconds of `import mapdrop` after `import numpy`: the least of seven interpreters."""
    clock = "time.perf_counter()"
    code = f"import numpy, time; t = {clock}; import mapdrop; print({clock} - t)"
    command = [sys.executable, "-c", code]
    runs = [subprocess.run(command, check=True, capture_output=True, text=True) for _ in range(7)]
    return 1e3 * min(float(run.stdout) for run in runs)


if __name__ == "__main__":
    main()
