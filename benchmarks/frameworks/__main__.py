"""Run them all, or those whose names have a word in them: `python -m benchmarks.frameworks WORD`.

Keras' backend is chosen when it is imported, and a framework's threads wait for work on the cores
that another is timed on: so each has a process.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import import_module

from benchmarks.run import RESULTS, run

FRAMEWORKS = ("jax", "tensorflow", "keras on tensorflow", "keras on torch", "keras on jax")


def main() -> None:
    asked = os.environ.get("BENCHMARK_FRAMEWORK")
    word = " ".join(sys.argv[1:])
    if asked is not None:
        rows = import_module(f"benchmarks.frameworks.{asked.split()[0]}_rows").rows()
        run(rows, RESULTS / "frameworks.jsonl", word)
        return
    for framework in FRAMEWORKS:
        environment = {
            **os.environ,
            "BENCHMARK_FRAMEWORK": framework,
            "KERAS_BACKEND": framework.split()[-1],
            "TF_CPP_MIN_LOG_LEVEL": "3",
        }
        subprocess.run([sys.executable, "-m", __spec__.name, word], env=environment, check=True)


if __name__ == "__main__":
    main()
