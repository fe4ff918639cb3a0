"""Where and with what something ran, so that its figures can be understood years later."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from typing import Any

import torch

import mapdrop


def versions() -> dict[str, Any]:
    """Of everything whose figures could change with it."""
    packages = ("torch", "numpy", "scipy", "scikit-learn", "pillow", "safetensors")
    return {
        "mapdrop": mapdrop.__version__,
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
    }


def machine() -> dict[str, Any]:
    """Of everything that times depend on."""
    return {
        "system": platform.platform(),
        "processor": platform.machine(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }
