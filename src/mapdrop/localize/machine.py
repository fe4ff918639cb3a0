"""Where and with what something ran, so that its figures can be understood years later."""

from __future__ import annotations

import platform
from importlib.metadata import version
from typing import Any

import torch

import mapdrop
from mapdrop.system.environment import Machine


def versions() -> dict[str, Any]:
    """Return the version of everything that figures could depend on."""
    packages = ("torch", "numpy", "scipy", "scikit-learn", "pillow", "safetensors")
    return {
        "mapdrop": mapdrop.__version__,
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
    }


def machine() -> dict[str, Any]:
    """Return everything that times depend on."""
    here = Machine.here()
    return {
        "system": here.platform,
        "processor": here.architecture,
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "cores": here.cores,
        "threads": here.threads,
    }
