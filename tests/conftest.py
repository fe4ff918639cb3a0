"""Settings of the suite, and what is missing: an error where CI asked for it, else a skip."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import tempfile
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import settings

if importlib.util.find_spec("triton"):
    # Before a test brings TensorFlow, after which Triton's LLVM ends the process; and
    # torch.compile, once it finds Triton installed, imports it.
    importlib.import_module("triton")

# PyTorch finds a graph that it compiled before by the operations in it, not by our code behind
# them: without a folder of their own, tests would run what an earlier version was compiled to.
_CODE = sorted((Path(__file__).parents[1] / "src" / "mapdrop" / "backends" / "torch").glob("*.py"))
_VERSION = hashlib.blake2b(b"".join(f.read_bytes() for f in _CODE), digest_size=8).hexdigest()
os.environ["TORCHINDUCTOR_CACHE_DIR"] = f"{tempfile.gettempdir()}/mapdrop-inductor-{_VERSION}"
# In a new folder it would compile a program for each set of instructions that the processor has,
# only to see whether they work: ten seconds.
os.environ.setdefault("TORCHINDUCTOR_VEC_ISA_OK", "1")

# XLA finds what it compiled before by the program itself: tests that trace alike share it, and so
# do the processes of a run.
os.environ["JAX_COMPILATION_CACHE_DIR"] = f"{tempfile.gettempdir()}/mapdrop-xla"
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"

settings.register_profile("ci", deadline=None, derandomize=True, database=None)
settings.load_profile("ci")

_SLOW = ("subprocess", "compiler", "training", "exhaustive")

DATA = Path(__file__).parents[2] / "shared" / "data"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put files with slow tests first, so that no process is left alone with one at the end."""
    slow = {item.path for item in items if any(map(item.get_closest_marker, _SLOW))}
    items.sort(key=lambda item: item.path not in slow)


def missing(what: str) -> None:
    """Skip with a reason; fail where the environment says CI, which has everything."""
    if os.environ.get("CI"):
        pytest.fail(f"{what} is missing, and CI is set", pytrace=False)
    pytest.skip(f"{what} is missing")


def framework(name: str) -> ModuleType:
    """The framework's module, for tests that need it."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as problem:
        if problem.name != name:
            raise
        missing(name)
        raise


@pytest.fixture(autouse=True)
def _generator() -> None:
    """NumPy's own generator starts alike in every test: what is fresh is the same each time."""
    np.random.seed(0)


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real data sets beside the repository."""
    if not DATA.is_dir():
        missing(str(DATA))
    return DATA
