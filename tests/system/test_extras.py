"""A package whose framework is missing says so, with the remedy; one that is there stays silent.

Each import runs in a process in which the module cannot be imported, whether it is installed or
not; on an installation of NumPy alone nothing has to be hidden.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from mapdrop.system.extras import remedy, require

MISSING = [
    ("mapdrop.torch", "torch", "torch"),
    ("mapdrop.keras", "keras", "keras,tensorflow"),
    ("mapdrop.flax", "jax", "flax"),
    ("mapdrop.flax", "flax", "flax"),
    ("mapdrop.equinox", "jax", "equinox"),
    ("mapdrop.equinox", "equinox", "equinox"),
    ("mapdrop.localize.command", "typer", "study"),
    ("mapdrop.localize.data", "PIL", "study"),
    ("mapdrop.localize.run", "torch", "study"),
]


def _python(code: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONUTF8": "1"}
    )


@pytest.mark.subprocess
@pytest.mark.parametrize(("package", "missing", "extra"), MISSING)
def test_the_remedy_is_the_last_line(package: str, missing: str, extra: str) -> None:
    others = {name for _, name, _ in MISSING} - {missing}
    # Modules without content stand for the others, so that it is this one that is missed.
    code = f"""
import importlib.machinery, sys, types
for name in {sorted(others)}:
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__spec__ = importlib.machinery.ModuleSpec(name, None)
sys.modules[{missing!r}] = None
import {package}
"""
    done = _python(code)
    text = f"{package} needs {missing}, which is not installed: {remedy(extra)}"
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"ModuleNotFoundError: {text}"


@pytest.mark.subprocess
def test_the_command_names_its_extra() -> None:
    done = _python("import sys\nsys.modules['typer'] = None\nimport mapdrop.cli")
    assert done.returncode == 1
    assert done.stderr == 'The mapdrop command needs its extra: pip install "mapdrop[study]"\n'


def test_the_error_has_the_name_of_what_is_missing() -> None:
    with pytest.raises(ModuleNotFoundError) as caught:
        require("mapdrop.layers", "some", "json", "no_such_module")
    assert caught.value.name == "no_such_module"


def test_what_is_there_is_not_missed() -> None:
    require("mapdrop.layers", "some", "json", "numpy")


def test_several_extras_are_one_command() -> None:
    assert remedy("keras,tensorflow") == 'pip install "mapdrop[keras,tensorflow]"'
