"""How the commands use each framework: an `Adapter` for each, in a module of its name.

Each is imported where its framework is: in a process of its own.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mapdrop.tools.adapters.adapter import Adapter


def adapter_class(name: str) -> type[Adapter]:
    """Import the framework of this name and return its adapter."""
    found: type[Adapter] = importlib.import_module(f"mapdrop.tools.adapters.{name}").Adapter
    return found
