"""Where something ran."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from mapdrop.system.cores import usable_cores, usual_threads
from mapdrop.system.environment import Machine, commit

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="Linux can bind to a core")
def test_cores_that_this_process_may_not_use_do_not_count() -> None:
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from mapdrop.system.cores import usable_cores\nprint(usable_cores(), os.cpu_count())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    usable, there = map(int, done.stdout.split())
    assert usable == 1 <= there


@pytest.mark.parametrize(
    ("given", "threads"), [("3", 3), ("0", None), ("-2", None), ("many", None), ("", None)]
)
def test_threads_are_those_that_are_asked_for(
    given: str, threads: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", given)
    assert usual_threads() == (threads or usable_cores())


def test_threads_are_pytorch_s_where_it_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setitem(sys.modules, "torch", None)
    assert Machine.here().threads == 3
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(get_num_threads=lambda: 5))
    assert Machine.here().threads == 5


def test_outside_a_checkout_there_is_no_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("this is no checkout")
    assert commit()
    monkeypatch.setenv("PATH", "")
    assert commit() is None
