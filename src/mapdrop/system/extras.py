"""What is not installed, and the extra that brings it."""

from __future__ import annotations

from importlib.util import find_spec


def remedy(extra: str) -> str:
    """Return the command that installs an extra of mapdrop, or several with commas between."""
    return f'pip install "mapdrop[{extra}]"'


def require(package: str, extra: str, *modules: str) -> None:
    """Raise ModuleNotFoundError, with the remedy, where a module that a package needs is missing.

    It looks for the modules without importing them: one that is there but broken raises its own
    error when the package imports it.
    """
    for module in modules:
        if find_spec(module) is None:
            text = f"{package} needs {module}, which is not installed: {remedy(extra)}"
            raise ModuleNotFoundError(text, name=module)
