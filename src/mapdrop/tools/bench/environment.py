"""Where and with what a row was measured."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
from datetime import date

import mapdrop
from mapdrop.backends.registry import FRAMEWORKS
from mapdrop.system.environment import Machine, commit


def environment(versions: dict[str, str]) -> dict[str, object]:
    """Return the fields that every row ends with; `versions` are those of what took part."""
    machine = Machine.here()
    return {
        "date": date.today().isoformat(),
        "commit": commit(),
        "processor": machine.processor,
        "threads": machine.threads,
        "cores": machine.cores,
        "python": platform.python_version(),
        "mapdrop": mapdrop.__version__,
        **versions,
    }


def layer_versions(name: str) -> dict[str, str]:
    """Return the versions of the other packages here with layers for a framework's arrays."""
    here = filter(importlib.util.find_spec, FRAMEWORKS[name].layers)
    return {package: importlib.metadata.version(package) for package in here}
