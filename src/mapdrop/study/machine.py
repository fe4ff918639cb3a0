"""Where and with what a study ran, so that a row can be understood years later."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version

import torch

import mapdrop
from mapdrop.study.rows import Row


def versions() -> Row:
    """Of everything whose figures could change with it."""
    packages = ("torch", "numpy", "scipy", "scikit-learn", "pillow")
    return {
        "mapdrop": mapdrop.__version__,
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
    }


def machine() -> Row:
    """Of everything that times depend on."""
    return {
        "system": platform.platform(),
        "processor": platform.machine(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }
