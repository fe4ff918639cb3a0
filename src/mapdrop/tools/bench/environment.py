"""Where and with what a row was measured."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from datetime import date
from pathlib import Path

import mapdrop


def environment(versions: dict[str, str]) -> dict[str, object]:
    """The fields that every row ends with; `versions` are those of what took part."""
    return {
        "date": date.today().isoformat(),
        "commit": _commit(),
        "processor": _processor(),
        "threads": _threads(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "mapdrop": mapdrop.__version__,
        **versions,
    }


def _commit() -> str | None:
    """Of mapdrop's own checkout, where it is in one."""
    here = Path(__file__)
    git = ["git", "-C", str(here.parent)]
    try:
        subprocess.run(
            [*git, "ls-files", "--error-unmatch", here.name], capture_output=True, check=True
        )
        described = subprocess.run(
            [*git, "describe", "--always", "--dirty"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):  # No git, or no checkout.
        return None
    return described.stdout.strip()


def _threads() -> int:
    torch = sys.modules.get("torch")
    if torch:
        return int(torch.get_num_threads())
    # Not on every system.
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
