"""Where something ran, so that its figures can be understood years later."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from mapdrop.system.cores import usual_threads


@dataclass(frozen=True)
class Machine:
    """What times depend on.

    Attributes:
        system: "Linux".
        platform: the system with its version.
        architecture: "x86_64".
        processor: the processor's name, where the system gives it.
        cores: how many the machine has.
        threads: how many this process computes with: PyTorch's where it is imported.
    """

    system: str
    platform: str
    architecture: str
    processor: str
    cores: int | None
    threads: int

    @classmethod
    def here(cls) -> Machine:
        """Return this machine, as it is now."""
        torch = sys.modules.get("torch")
        return cls(
            platform.system(),
            platform.platform(),
            platform.machine(),
            _processor(),
            os.cpu_count(),
            int(torch.get_num_threads()) if torch else usual_threads(),
        )


def commit() -> str | None:
    """Return the commit of mapdrop's own checkout, or None where it is not in one."""
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


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
