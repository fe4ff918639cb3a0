"""Where and with what a row was measured."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from datetime import date
from importlib.metadata import version
from pathlib import Path

# Those that the process has loaded are named.
PACKAGES = ("numpy", "numba", "torch", "jax", "flax", "tensorflow", "keras")


def environment() -> dict[str, object]:
    """The fields that every committed row ends with."""
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    return {
        "date": date.today().isoformat(),
        "commit": commit.stdout.strip() or None,
        "processor": _processor(),
        "threads": _threads(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **{name: _version(name) for name in PACKAGES if name in sys.modules},
    }


def _threads() -> int:
    torch = sys.modules.get("torch")
    return int(torch.get_num_threads()) if torch else len(os.sched_getaffinity(0))


def _version(name: str) -> str:
    return str(getattr(sys.modules[name], "__version__", None) or version(name))


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
