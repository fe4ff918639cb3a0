"""Each part of PyTorch that is not documented may go: the masks stay, or something says why not."""

from __future__ import annotations

import ast
import ctypes
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock
from torch import nn

import mapdrop
import mapdrop.torch as md
from mapdrop.backends.torch import _internals
from tests.backends.torch.without import PARTS, WRONG

ROOT = Path(__file__).parents[3]
SOURCE = Path(mapdrop.__file__).parent

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="each part goes in a forked child")

COMPACT = r"nothing is skipped: PyTorch \S+ lacks what mapdrop.torch.compact needs: .*{}"
SEEDED = r"RuntimeError: PyTorch \S+ lacks what a seeded layer needs: .*{}; give drop"
SHARDED = r"RuntimeError: PyTorch \S+ lacks what mapdrop.torch.shard needs: .*{}; drop whole"
AUDITED = r"RuntimeError: PyTorch \S+ lacks what mapdrop.torch.audit needs: .*{}"
OPAQUE = r"does not let mapdrop say how Inductor may take a drop apart, .*{}"
TRANSFORMED = "nothing is skipped: its inputs are not plain tensors, or something transforms them"
# What a check finds instead of "same": by the part that is missing and the check.
OTHERWISE = {
    ("_current_level", "compact"): TRANSFORMED,
    ("_len_torch_dispatch_stack", "compact"): TRANSFORMED,
    ("_are_functorch_transforms_active", "compact"): TRANSFORMED,
    ("_current_graph_task_id", "seeded"): SEEDED,
    ("_current_graph_task_id", "sharded"): SHARDED,
    ("_stash_obj_in_tls", "sharded"): SHARDED,
    ("_is_key_in_tls", "sharded"): SHARDED,
    ("_get_obj_in_tls", "sharded"): SHARDED,
    ("_save_to_state_dict", "seeded"): SEEDED,
    ("_load_from_state_dict", "seeded"): SEEDED,
    ("_apply", "seeded"): SEEDED,
    ("_replicate_for_data_parallel", "seeded"): SEEDED,
    ("register_decomposition", "compiled"): OPAQUE,
    ("cache_clear", "compiled"): OPAQUE,
    ("_pytree", "compact_compiled"): COMPACT,
    ("_pytree", "audited"): AUDITED,
    ("TorchDispatchMode", "audited"): AUDITED,
}
RUNS_AS_IT_IS = (
    "_pytree",
    "FakeTensorMode",
    "HigherOrderOperator",
    "DisableTorchFunction",
    "_disable_current_modes",
    "_global_forward_hooks",
    "_global_forward_pre_hooks",
    "_global_backward_hooks",
    "_global_backward_pre_hooks",
)
OTHERWISE |= {(name, "compact"): COMPACT for name in RUNS_AS_IT_IS}


@pytest.fixture(scope="session")
def found(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> dict[str, dict[str, str]]:
    """What the checks find without each part, by part and check."""
    if worker_id == "master":
        return _found()
    shared = tmp_path_factory.getbasetemp().parent / "without.json"
    with FileLock(f"{shared}.lock"):  # One worker runs the checks, the others read what it found.
        if not shared.exists():
            shared.write_text(json.dumps(_found()))
        result: dict[str, dict[str, str]] = json.loads(shared.read_text())
    return result


def _found() -> dict[str, dict[str, str]]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.backends.torch.without"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, dict[str, str]] = json.loads(done.stdout)
    return result


CHECKS = [(part, check.__name__) for part, (_, checks) in PARTS.items() for check in checks]


@pytest.mark.subprocess
@pytest.mark.parametrize(("part", "check"), CHECKS)
def test_without_a_part_the_mask_is_the_same(
    part: str, check: str, found: dict[str, dict[str, str]]
) -> None:
    otherwise = OTHERWISE.get((part, check))
    if otherwise is None:
        assert found[part] == {**found[part], check: "same"}
    else:
        assert re.search(otherwise.format(part), found[part][check]), found[part][check]


def test_what_is_found_otherwise_is_checked() -> None:
    assert OTHERWISE.keys() <= set(CHECKS)


@pytest.mark.subprocess
@pytest.mark.parametrize("answer", WRONG)
def test_a_wrong_answer_is_found(answer: str, found: dict[str, dict[str, str]]) -> None:
    assert "Error: " in "".join(found[answer].values())


def test_a_wrapper_that_holds_its_model_under_another_name_is_refused() -> None:
    wrapper = type("OptimizedModule", (nn.Module,), {"__module__": "torch.somewhere"})()
    wrapper.held = md.Dropout(0.5)
    with pytest.raises(RuntimeError, match=r"a OptimizedModule of PyTorch .* has no _orig_mod"):
        md.seeded(nn.Sequential(wrapper), 1)


# --- No other file uses such a part.

ALLOWED = {
    "_replace": "NamedTuple",
    "_asdict": "NamedTuple",
    "_flatten_layers": "Keras': the layers of a model, in models inside it too",
    "_tracker": "Keras': unlocked to add state to a layer that is built, as its LoRA does",
    "_getframe": "sys",
    "_typeshed.DataclassInstance": "of type checkers",
    "_cache": "Numba's, guarded in kernels/jit.py",
    "_cache_file": "Numba's, guarded in kernels/jit.py",
    "_source_stamp": "Numba's, guarded in kernels/jit.py",
}


def _private(name: str) -> bool:
    return re.fullmatch(r"_[A-Za-z]\w*", name) is not None


def _defined(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif (
            isinstance(node, ast.Attribute)
            and isinstance(node.ctx, ast.Store)
            and isinstance(node.value, ast.Name)
            and node.value.id in ("self", "cls", "view")
        ):
            yield node.attr


def _used(tree: ast.AST) -> Iterator[str]:
    """The dotted names that a file imports from elsewhere, and the attributes that it reads."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not str(node.module).startswith("mapdrop"):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            module = re.fullmatch(r"torch(\.\w+)+", node.value) is not None
            yield from [node.value] if module or hasattr(nn.Module(), node.value) else []


def foreign(text: str, own: set[str]) -> set[str]:
    """The private names in a file that are nobody's in mapdrop."""
    names = _used(ast.parse(text))
    return {
        name for name in names if any(_private(p) and p not in own for p in name.split("."))
    } - ALLOWED.keys()


@pytest.fixture(scope="module")
def own() -> set[str]:
    """The names that mapdrop defines."""
    return {name for path in SOURCE.rglob("*.py") for name in _defined(ast.parse(path.read_text()))}


def test_only_one_file_uses_what_pytorch_does_not_document(own: set[str]) -> None:
    files = {str(path.relative_to(SOURCE)): path.read_text() for path in SOURCE.rglob("*.py")}
    assert foreign(files.pop("backends/torch/_internals.py"), own)
    used = {name: foreign(text, own) for name, text in files.items()}
    assert not {name: private for name, private in used.items() if private}


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("import torch\nif torch._C._is_tracing(): pass", "_is_tracing"),
        ("from torch.utils import _pytree as pytree", "torch.utils._pytree"),
        ("import torch._dynamo", "torch._dynamo"),
        ("def version(x):\n    return x._version", "_version"),
        ("if 'torch._inductor' in modules: pass", "torch._inductor"),
        ("hooks = getattr(module, '_forward_hooks')", "_forward_hooks"),
    ],
)
def test_another_use_is_found(text: str, name: str, own: set[str]) -> None:
    assert name in foreign(text, own)


def test_what_is_looked_up_is_what_pytorch_has() -> None:
    """With the version that the project is developed with, nothing is missing."""
    names = ("COMPACT_LACKS", "SEEDS_LACK", "SHARDS_LACK", "AUDIT_LACKS")
    assert [getattr(_internals, name) for name in names] == [""] * 4
    assert _internals.dispatch_modes is torch._C._len_torch_dispatch_stack
    assert _internals.function_transforms is torch._C._are_functorch_transforms_active
    assert _internals.is_tracing is torch._C._is_tracing


def _borrowing() -> Callable[[str, Any], None]:
    """Return a stash that takes no reference and gives one back, as that of PyTorch 2.8."""
    release = ctypes.pythonapi["Py_DecRef"]
    release.argtypes, release.restype = [ctypes.py_object], None
    stashed: dict[str, Any] = {}

    def stash(key: str, value: Any) -> None:
        stashed[key] = value
        release(value)

    return stash


@pytest.mark.parametrize(
    "stash", [torch._C._stash_obj_in_tls, _borrowing()], ids=["PyTorch's", "borrowing"]
)
def test_what_is_stashed_stays_alive_as_long(stash: Callable[[str, Any], None]) -> None:
    keep, value = _internals._alive(stash), ["a value"]
    before = sys.getrefcount(value)
    for _ in range(3):
        keep("tests", value)
        assert sys.getrefcount(value) == before + 1
    keep("tests", ["another"])
    assert sys.getrefcount(value) == before
