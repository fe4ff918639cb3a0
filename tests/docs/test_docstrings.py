"""Every example in a docstring is run, and every public name has one."""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import pkgutil
import re
import textwrap
from typing import Any

import numpy as np
import pytest

import mapdrop
from tests.conftest import framework

MODULES = ["mapdrop", *(m.name for m in pkgutil.walk_packages(mapdrop.__path__, "mapdrop."))]
LAYERS = (
    "Drop", "Dropout", "SpatialDropout1d", "SpatialDropout2d", "SpatialDropout3d",
    "DropBlock1d", "DropBlock2d", "DropBlock3d", "DropPath",
)  # fmt: skip
PUBLIC = {
    f"{module}.{name}": (module, name)
    for module, names in {
        "mapdrop": ("drop", "mask", "residual", "Mask", "Pattern", "PatternError"),
        "mapdrop.torch": (
            *LAYERS, "seeded", "replay", "shard", "compact", "compact_report",
            "predict", "Prediction", "audit", "convert", "convert_report", "remove_drops",
            "schedule",
        ),
        "mapdrop.torch.compact": ("compact", "compact_report", "calibrate", "Costs"),
        "mapdrop.rates": ("linear", "early", "late"),
        "mapdrop.flax": LAYERS,
        "mapdrop.equinox": LAYERS,
        "mapdrop.keras": (
            *(re.sub("([123])d$", r"\1D", name) for name in LAYERS),
            "RateSchedule",
        ),
    }.items()
    for name in names
}  # fmt: skip
HOMES = {module for module, _ in PUBLIC.values()}


def _names() -> dict[str, Any]:
    """What examples may use without importing it."""
    torch, jax, flax, _, keras = map(framework, ("torch", "jax", "flax", "equinox", "keras"))
    for module in HOMES:
        importlib.import_module(module)
    return {
        "mapdrop": mapdrop, "np": np, "torch": torch, "nn": torch.nn,
        "jax": jax, "jnp": jax.numpy, "nnx": flax.nnx, "keras": keras,
    }  # fmt: skip


def _run(thing: Any, name: str, module: Any) -> doctest.TestResults:
    """The results of all examples of a module, or of one function or class."""
    finder, runner = doctest.DocTestFinder(exclude_empty=True), doctest.DocTestRunner()
    framework("torch").manual_seed(0)
    np.random.seed(0)
    for test in finder.find(thing, name, module, extraglobs=_names()):
        runner.run(test)
    return runner.summarize(verbose=False)


@pytest.mark.parametrize("name", MODULES)
def test_module_s_examples(name: str) -> None:
    module = importlib.import_module(name)
    assert _run(module, name, module).failed == 0


@pytest.mark.parametrize(("module", "name"), PUBLIC.values(), ids=PUBLIC)
def test_public_name_has_an_example(module: str, name: str) -> None:
    _names()  # Every framework that the examples use, or a word of what is missing.
    thing = getattr(importlib.import_module(module), name)
    assert inspect.getdoc(thing)
    home = importlib.import_module(thing.__module__)
    results = _run(thing, name, home)
    assert results.attempted > 0
    assert results.failed == 0


def docstring_in_source(thing: Any) -> str:
    """The docstring of a class, as tools read it that run nothing."""
    (statement,) = ast.parse(textwrap.dedent(inspect.getsource(thing))).body
    assert isinstance(statement, ast.ClassDef)
    return ast.get_docstring(statement) or ""


def test_public_names_are_all_here() -> None:
    for module in HOMES:
        found = {
            name
            for name, thing in vars(importlib.import_module(module)).items()
            if not name.startswith("_") and not inspect.ismodule(thing)
        }
        assert found == {name for home, name in PUBLIC.values() if home == module}


def _wrong() -> None:
    """
    >>> 1 + 1
    3
    """


def test_a_wrong_example_fails(capsys: pytest.CaptureFixture[str]) -> None:
    results = _run(_wrong, "_wrong", importlib.import_module(__name__))
    assert (results.attempted, results.failed) == (1, 1)
    assert "Got:\n    2" in capsys.readouterr().out
