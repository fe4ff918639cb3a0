"""`mapdrop check` from the outside. What starts a framework costs seconds: each is started once."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mapdrop.backends.registry import FRAMEWORKS
from mapdrop.cli import app
from tests.conftest import missing

SOURCE = Path(__file__).parents[3] / "src"
ALL = {
    ("numpy", "plain"), ("numpy", "Numba"),
    ("torch", "eager"), ("torch", "torch.compile"),
    ("jax", "eager"), ("jax", "jit"),
    ("tensorflow", "eager"), ("tensorflow", "tf.function"), ("tensorflow", "XLA"),
    ("keras (tensorflow)", "layer"), ("keras (tensorflow)", "compiled"),
    ("keras (torch)", "layer"),
    ("keras (jax)", "layer"), ("keras (jax)", "compiled"),
}  # fmt: skip
LAID_OUT = {("numpy", "plain"), ("numpy", "Numba"), ("torch", "eager")}  # In several ways.
FIELDS = {
    "framework", "device", "device_name", "mode", "status", "vectors", "values", "differs",
    "digests", "ms", "own_ms", "own", "reason", "versions",
}  # fmt: skip
# Modules that stand in for frameworks, and break as real ones do.
BROKEN = {
    "torch": "import sys\nprint('no kernel image', file=sys.stderr)\nsys.exit(3)",
    "jax": "import os\nprint('loading the driver', flush=True)\nos.abort()",
    "tensorflow": "raise ImportError('libcudart.so.12: cannot open shared object file')",
    "numba": "raise ImportError('Numba needs NumPy 2.3 or less')",
}
# Keras imports them where it finds them, for what no layer needs: seconds in each process.
UNUSED = ("matplotlib", "sklearn")


def check(
    *arguments: str, path: Path | None = None, without: tuple[str, ...] = (), **environment: str
) -> subprocess.CompletedProcess[str]:
    """The command in a fresh interpreter, which finds no module of the names in `without`."""
    program = (
        f"import sys\nsys.modules.update(dict.fromkeys({without!r}))\n"
        "from mapdrop.cli import main\nmain()"
    )
    parts = [str(part) for part in (path, SOURCE, os.environ.get("PYTHONPATH")) if part]
    given = {"PYTHONPATH": os.pathsep.join(parts), "COLUMNS": "80", **environment}
    return subprocess.run(
        [sys.executable, "-c", program, "check", *arguments],
        capture_output=True, text=True, env={**os.environ, **given}, check=False,
    )  # fmt: skip


def rows(done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, Any]]:
    """The JSON's rows by framework and mode."""
    return {
        f"{row['framework']} {row['mode']}".strip(): row for row in json.loads(done.stdout)["rows"]
    }


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    for name, code in BROKEN.items():
        (tmp_path / f"{name}.py").write_text(code)
    return tmp_path


@pytest.fixture
def lean(tmp_path: Path) -> Path:
    for name in UNUSED:
        (tmp_path / f"{name}.py").write_text("raise ImportError")
    return tmp_path


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """mapdrop once more, to be spoiled; with its compiled kernels, which take long to make."""
    shutil.copytree(SOURCE / "mapdrop", tmp_path / "mapdrop")
    return tmp_path


def spoil(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert text.count(old) == 1
    file.write_text(text.replace(old, new), encoding="utf-8")


def test_every_framework_has_the_specification_s_bits(lean: Path) -> None:
    for name in FRAMEWORKS:
        if importlib.util.find_spec(name) is None:
            missing(name)
    done = check("--quick", "--json", path=lean)
    assert done.returncode == 0, done.stdout + done.stderr
    outcome = json.loads(done.stdout)
    assert outcome["ok"] is True
    assert outcome["specification"] == 1
    assert {"mapdrop", "python", "numba", *FRAMEWORKS} == set(outcome["versions"])
    assert set(outcome["machine"]) == {"system", "processor", "cores"}
    assert outcome["disagreements"] == {}
    assert set(outcome["digests"]) == {"masks", "float32", "float16", "bfloat16"}
    on_cpu = [row for row in outcome["rows"] if row["device"] == "cpu"]
    assert {(row["framework"], row["mode"]) for row in on_cpu} == ALL
    for row in outcome["rows"]:
        assert set(row) == FIELDS
        if row["mode"] == "torch.compile" and not shutil.which("g++"):
            assert row["status"] == "unavailable"
            continue
        assert row["status"] == "same", row
        assert row["digests"] == outcome["digests"]
        assert row["vectors"] == [7, 7]
        assert row["values"] == (
            [10, 10] if (row["framework"], row["mode"]) in LAID_OUT else [4, 4]
        )
        assert row["ms"] > 0
        assert (row["own_ms"] is None) == (row["framework"] == "numpy")
    for name in ("numpy: cpu plain", "jax: cpu jit", "keras (torch): importing"):
        assert f"checking {name}\n" in done.stderr


def test_every_vector_in_80_columns() -> None:
    done = check("--only", "numpy")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^numpy +cpu +plain +97/97 +13/13 +[\d.]+ +same", done.stdout, re.MULTILINE)
    assert re.search(r"^ +cpu +Numba +97/97 +13/13 +[\d.]+ +same", done.stdout, re.MULTILINE)
    assert "mask specification 1" in done.stdout
    assert "The specification's bits in every row: masks " in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_a_vector_that_is_not_reproduced_is_named(copy: Path) -> None:
    file = copy / "mapdrop" / "vectors.json"
    row = next(line for line in file.read_text("utf-8").splitlines() if '"maps-3d"' in line)
    spoil(file, row, row.replace('"kept": "e7', '"kept": "67'))
    done = check("--only", "numpy", path=copy)
    assert done.returncode == 1, done.stdout + done.stderr
    assert len(re.findall(r" 96/97 +13/13 .* differ", done.stdout)) == 2
    for mode in ("plain", "Numba"):
        assert f"numpy cpu {mode}: maps-3d: 8 of 168 values;" in done.stdout
    assert "at (0, 0, 0, 0, 0) it is" in done.stdout
    assert "Not as the specification says: numpy cpu plain, numpy cpu Numba." in done.stdout
    assert "bits in every row" not in done.stdout


def test_an_implementation_that_differs_is_told_from_one_that_does_not(copy: Path) -> None:
    few = copy / "mapdrop" / "kernels" / "small.py"
    spoil(few, ">= U64(limit)", "< U64(limit)")
    many = copy / "mapdrop" / "backends" / "cpu_coins.py"
    spoil(many, "        return drawn\n", "        return ~drawn\n")
    for last in ("threshold, self.threads)", "*law)"):  # Of coins, and of blocks.
        spoil(many, f"{last}\n        return made\n", f"{last}\n        return ~made\n")
    done = check("--only", "numpy", "--quick", "--json", path=copy)
    assert done.returncode == 1, done.stdout + done.stderr
    found = rows(done)
    assert found["numpy plain"]["status"] == "same"
    wrong = found["numpy Numba"]
    assert wrong["status"] == "differs"
    assert {"groups", "exact-last", "float16, channels last"} <= set(wrong["differs"])
    assert wrong["vectors"][0] == 7 - sum("float" not in name for name in wrong["differs"])
    assert set(json.loads(done.stdout)["disagreements"]) >= {"masks", "float32"}


def test_frameworks_that_crash_are_rows_with_their_errors(broken: Path) -> None:
    only = ("--only", "numpy,torch,jax,tensorflow", "--quick")
    done = check(*only, "--json", path=broken)
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    found = rows(done)
    assert found.pop("numpy plain")["status"] == "same"
    assert {name: row["status"] for name, row in found.items()} == dict.fromkeys(
        ("numpy Numba", "torch", "jax", "tensorflow"), "failed"
    )
    assert found["numpy Numba"]["reason"] == "ImportError: Numba needs NumPy 2.3 or less"
    assert "exit code 3; its last words: no kernel image" in found["torch"]["reason"]
    assert "died of SIGABRT; its last words: loading the driver" in found["jax"]["reason"]
    assert found["tensorflow"]["reason"].startswith("ImportError: libcudart.so.12: cannot open")
    shown = check("--only", "tensorflow", path=broken)
    assert shown.returncode == 1
    assert re.search(r"^tensorflow +failed", shown.stdout, re.MULTILINE)
    assert "tensorflow: ImportError: libcudart.so.12: cannot open" in shown.stdout


def test_frameworks_that_are_missing_are_named_with_the_remedy() -> None:
    frameworks = ("torch", "jax", "tensorflow", "keras")
    done = check("--only", ",".join(frameworks), without=frameworks)
    assert done.returncode == 0, done.stdout + done.stderr
    for name in frameworks:
        assert re.search(rf"^{name} +not here", done.stdout, re.MULTILINE)
    for extra in ("torch", "jax", "tensorflow", "keras,tensorflow"):
        assert f'not installed: pip install "mapdrop[{extra}]"' in done.stdout
    assert "bits in every row" not in done.stdout  # Nothing was compared.
    if importlib.util.find_spec("keras") is None:
        missing("keras")
    done = check("--only", "keras", "--json", without=frameworks[:-1])
    assert done.returncode == 0, done.stdout + done.stderr
    row = rows(done)["keras"]
    assert row["status"] == "missing"
    assert 'no backend here: pip install "mapdrop[keras,tensorflow]"' in row["reason"]


@pytest.mark.parametrize("only", ["nobody", "numpy,", "numpy,Torch"])
def test_a_name_that_is_not_known(only: str) -> None:
    result = CliRunner().invoke(app, ["check", "--only", only])
    assert result.exit_code == 2
    assert "is not one of numpy, torch, jax, tensorflow, keras" in result.stderr
    assert not result.stdout
    assert "Traceback" not in result.stderr


def test_a_missing_rich_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "mapdrop.tools.check.report", raising=False)
    monkeypatch.setitem(sys.modules, "rich.table", None)
    result = CliRunner().invoke(app, ["check", "--only", "numpy"])
    assert result.exit_code == 1
    assert 'pip install "mapdrop[study]"' in result.stderr


def test_the_command_itself_imports_no_framework(broken: Path) -> None:
    """The twin: torch is imported in the other process, where it breaks."""
    program = (
        "import sys\nfrom mapdrop.cli import app\n"
        "try:\n    app(['check', '--only', 'torch'])\n"
        "except SystemExit as end:\n    print('code', end.code)\n"
        "heavy = {'torch', 'jax', 'tensorflow', 'keras', 'numba'}\n"
        "print('loaded', *sorted(heavy & set(sys.modules)))"
    )
    path = os.pathsep.join((str(broken), str(SOURCE)))
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    assert "exit code 3" in done.stdout
    assert done.stdout.splitlines()[-2:] == ["code 1", "loaded"]
