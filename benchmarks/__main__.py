"""PyTorch's and NumPy's rows: `python -m benchmarks [WORD]`."""

from __future__ import annotations

import sys

from benchmarks.rows import ROWS
from benchmarks.run import RESULTS, run

if __name__ == "__main__":
    run(ROWS, RESULTS / "cpu.jsonl", " ".join(sys.argv[1:]))
