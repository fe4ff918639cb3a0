"""`import mapdrop` imports no framework, and does little more than `import numpy`.

Each guard has a twin, which shows that it can fail.
"""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache

import pytest

from tests.conftest import framework

pytestmark = pytest.mark.subprocess

FRAMEWORKS = {"torch", "jax", "tensorflow", "keras", "flax", "equinox", "numba", "matplotlib"}
OTHERS = {"scipy", "pandas", "PIL", "sklearn", "rich", "typer", "ml_dtypes"}
MOST_CALLS = 8000  # Of Python functions: about 30 ms, on a machine that has nothing else to do.


@cache
def _bytecode() -> str:
    """Where the interpreters keep bytecode, as an installed package has it from the start."""
    folder = tempfile.mkdtemp(prefix="mapdrop-bytecode-")
    atexit.register(shutil.rmtree, folder)
    return folder


def _python(code: str, warnings: str = "error", **environment: str) -> str:
    command = [sys.executable, "-W", warnings, "-c", code]
    given = {**os.environ, **environment}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=given)
    return done.stdout


def _imported(code: str, warnings: str = "error") -> set[str]:
    """The modules that a fresh interpreter has after the code."""
    return set(_python(f"{code}\nimport sys\nprint(*sys.modules)", warnings).split())


_REFUSED = "try:\n    mapdrop.drop([1.0], 'n -> n', 0)\nexcept TypeError:\n    pass"
USES = {
    "import": "import mapdrop",
    "parse": "from mapdrop.spec.binding import bind; bind('b c -> b', (2, 3))",
    "p = 0": "import mapdrop, numpy; mapdrop.drop(numpy.ones(3), 'n -> n', 0)",
    "refused": f"import mapdrop\n{_REFUSED}",
}


@pytest.mark.parametrize("code", USES.values(), ids=USES)
def test_no_framework_is_imported(code: str) -> None:
    imported = _imported(code)
    assert {"mapdrop", "numpy"} <= imported
    assert not imported & (FRAMEWORKS | OTHERS)


def test_numpy_s_drop_imports_no_other_framework() -> None:
    used = _imported("import mapdrop, numpy; mapdrop.drop(numpy.ones(3), 'n -> n', 0.5)")
    assert not used & (FRAMEWORKS - {"numba"})


def test_jax_s_drop_imports_no_other_framework() -> None:
    framework("jax")
    used = _imported("import jax, mapdrop; mapdrop.drop(jax.numpy.ones(3), 'n -> n', 0.5)")
    assert "jax" in used
    assert not used & (FRAMEWORKS - {"jax", "numba"})


def test_torch_s_layers_import_no_other_framework_nor_the_compiler() -> None:
    """PyTorch's compiler takes as long to import as the rest of PyTorch."""
    framework("torch")
    used = _imported("import mapdrop.torch", warnings="default")
    assert {"torch", "torch.nn.functional"} <= used
    assert not used & {*(FRAMEWORKS - {"torch", "numba"}), "torch._dynamo"}


def test_labels_are_read_without_what_makes_scenes() -> None:
    framework("torch")
    used = _imported("import mapdrop.localize.data", warnings="default")
    assert not used & {"sklearn", "scipy", "h5py", "sleap_io", "pandas", "av"}


def test_what_measures_on_a_borrowed_gpu_needs_little() -> None:
    framework("torch")
    used = _imported("import benchmarks.gpu", warnings="default")
    assert "torch" in used
    assert not used & {"rich", "typer", "matplotlib", "scipy", "pandas", "numba"}


def test_tensorflow_s_drop_imports_no_other_framework() -> None:
    framework("tensorflow")
    # TensorFlow brings Keras, which imports these where it finds them: seconds.
    hidden = "import sys\nsys.modules.update(dict.fromkeys(('matplotlib', 'sklearn')))\n"
    code = f"{hidden}import mapdrop, tensorflow as tf\nmapdrop.drop(tf.ones(3), 'n -> n', 0.5)"
    used = _imported(code, warnings="default")
    assert "tensorflow" in used
    assert not used & {"torch", "flax", "equinox", "numba"}  # TensorFlow itself imports JAX.


def test_a_framework_that_is_only_half_imported_is_passed_over() -> None:
    code = "import sys, types, mapdrop, numpy\nsys.modules['tensorflow'] = types.ModuleType('t')\n"
    assert "mapdrop" in _imported(code + "mapdrop.drop(numpy.ones(3), 'n -> n', 0.5)\n" + _REFUSED)


def test_framework_twin() -> None:
    framework("numba")
    assert "numba" in _imported("import mapdrop, numba") & FRAMEWORKS


def _calls(code: str) -> int:
    """The calls of Python functions that the code makes after `import numpy`.

    They are counted in a second interpreter: the first may compile to bytecode.
    """
    # Set to nothing, the former is as if it were not set.
    kept = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": _bytecode()}
    counted = f"""
import numpy, sys
calls = 0
def count(frame, event, argument):
    global calls
    calls += event == "call"
sys.setprofile(count)
{code}
sys.setprofile(None)
print(calls)"""
    return [int(_python(counted, **kept)) for _ in range(2)][1]


def test_import_makes_few_calls() -> None:
    assert 1000 < _calls("import mapdrop") < MOST_CALLS


def test_import_makes_few_calls_twin() -> None:
    assert _calls("import mapdrop, asyncio") > MOST_CALLS
