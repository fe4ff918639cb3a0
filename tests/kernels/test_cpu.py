"""The cache of compiled kernels, and what happens if Numba is missing or broken."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numba import config
from numba.core import caching

import mapdrop
from mapdrop.kernels import cpu, float16, jit, parallel
from tests.conftest import missing

DROP = """
import numpy as np, mapdrop
mapdrop.drop(np.ones((4, 4096), np.float32), "b c -> b c", 0.5, seed=1)
from mapdrop.kernels import cpu
print(sum(cpu._elements.stats.cache_hits.values()), sum(cpu._elements.stats.cache_misses.values()))
"""


def python(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_second_process_loads_what_the_first_compiled(tmp_path: Path) -> None:
    assert python(DROP, NUMBA_CACHE_DIR=str(tmp_path)) == "0 1"
    assert python(DROP, NUMBA_CACHE_DIR=str(tmp_path)) == "1 0"


def double(x: int) -> int:
    return 2 * x


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    """Return what compiles `double` as a new process does, with a cache in tmp_path/cache."""
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path / "cache"))
    return lambda: jit.compiled()(double)


def lookups(kernel: Any) -> tuple[int, int]:
    """Call a kernel; return how often it was found in the cache, and how often not."""
    assert kernel(4) == 8
    return sum(kernel.stats.cache_hits.values()), sum(kernel.stats.cache_misses.values())


TORN: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "half": lambda content: content[: len(content) // 2],
    "short of a byte": lambda content: content[:-1],
    "zeros": lambda content: bytes(len(content)),
    "half zeros": lambda content: content[: len(content) // 2].ljust(len(content), b"\0"),
    "foreign": lambda content: b"not a pickle\n",
}


@pytest.mark.parametrize("torn", TORN.values(), ids=TORN)
@pytest.mark.parametrize("files", ["*.nbi", "*.nbc"], ids=["index", "data"])
def test_a_damaged_cache_is_compiled_again(
    files: str, torn: Callable[[bytes], bytes], kernel: Callable[[], Any], tmp_path: Path
) -> None:
    assert lookups(kernel()) == (0, 1)
    (path,) = tmp_path.rglob(files)
    path.write_bytes(torn(path.read_bytes()))
    assert lookups(kernel()) == (0, 1)
    assert lookups(kernel()) == (1, 0)


@contextmanager
def full_disk(index: Path) -> Iterator[None]:
    resource = pytest.importorskip("resource", reason="limits of POSIX")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def no_folder(index: Path) -> Iterator[None]:
    shutil.rmtree(index.parent)
    index.parent.touch()
    yield


@contextmanager
def folder_for_index(index: Path) -> Iterator[None]:
    index.mkdir()
    yield


@pytest.mark.parametrize("unwritable", [full_disk, no_folder, folder_for_index])
def test_a_cache_that_cannot_be_written_is_not_used(
    unwritable: Callable[[Path], AbstractContextManager[None]],
    kernel: Callable[[], Any],
    tmp_path: Path,
) -> None:
    made = kernel()
    with unwritable(Path(made._cache._cache_file._index_path)):
        assert lookups(made) == (0, 1)
    assert not list(tmp_path.rglob("*.nbc"))


@pytest.mark.parametrize(
    ("owner", "attribute"),
    [(caching.Cache, "_cache_file"), (caching.IndexDataCacheFile, "_source_stamp")],
    ids=["_cache_file", "_source_stamp"],
)
def test_without_numbas_stamp_nothing_is_cached(
    owner: Any,
    attribute: str,
    kernel: Callable[[], Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """If the stamp were ignored, kernels of other sources would be loaded."""
    begin = owner.__init__

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        begin(self, *args, **kwargs)
        self.renamed = self.__dict__.pop(attribute)

    monkeypatch.setattr(owner, "__init__", init)
    assert lookups(kernel()) == (0, 1)
    assert not list(tmp_path.rglob("*.nb?"))


def test_a_compiled_function_without_numbas_cache_is_compiled_in_each_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(jit, "njit", lambda **options: lambda function: function)
    assert not hasattr(len, "_cache")
    assert jit.compiled()(len) is len


def test_without_numba_everything_works_with_the_same_bits() -> None:
    code = """
import sys
sys.modules["numba"] = None
import numpy as np, mapdrop, torch
x = np.ones((4, 512), np.float32)
y = mapdrop.drop(x, "b c -> b c", 0.5, seed=1)
z = mapdrop.drop(torch.from_numpy(x), "b c -> b c", 0.5, seed=1)
assert (z.numpy() == y).all() and "mapdrop.kernels.cpu" not in sys.modules
print(y.tobytes().hex())
"""
    x = np.ones((4, 512), np.float32)
    assert python(code) == mapdrop.drop(x, "b c -> b c", 0.5, seed=1).tobytes().hex()


def test_a_broken_numba_warns_and_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "numba.py").write_text("raise ImportError('needs another NumPy')")
    code = """
import warnings
import numpy as np, mapdrop
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    mapdrop.drop(np.ones(4), "n -> n", 0.5)
print([str(w.message) for w in caught])
"""
    assert "does not import, so mapdrop is slower: needs another NumPy" in python(
        code, PYTHONPATH=str(tmp_path)
    )


def test_without_a_cache_folder_kernels_are_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    def no_locator(**options: Any) -> Any:
        asked.append(bool(options.get("cache")))
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        return lambda function: function

    monkeypatch.setattr(jit, "njit", no_locator)
    assert jit.compiled()(len) is len
    assert asked == [True, False]


@pytest.fixture(params=["OpenMP", "pool"])
def team(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    if request.param == "pool":
        monkeypatch.setattr(parallel, "_openmp", lambda loaded: None)
    elif not (Path(torch.__file__).parent / "lib" / "libgomp.so.1").exists():
        missing("the libgomp of PyTorch's Linux builds")


@pytest.mark.usefixtures("team")
@pytest.mark.parametrize("count", [0, 1, 7, 8, 100, 1000])
@pytest.mark.parametrize("number", [1, 2, 5])
def test_ranges_cover_each_unit_once(count: int, number: int) -> None:
    seen: list[tuple[int, int]] = []
    parallel.spread(lambda low, high: seen.append((low, high)), count, number, 10, 8)
    units = [unit for low, high in sorted(seen) for unit in range(low, high)]
    assert units == list(range(count))
    assert all(low % 8 == 0 for low, _ in seen)


@pytest.mark.parametrize("count", [60, 120, 150, 1200])
@pytest.mark.parametrize("number", [2, 3, 5])
def test_each_thread_gets_as_many_units(count: int, number: int) -> None:
    seen: list[int] = []
    parallel.spread(lambda low, high: seen.append(high - low), count, number, 10, 1)
    assert len(seen) % number == 0
    assert len(set(seen)) == 1


@pytest.mark.parametrize("pattern", ["b n -> b", "b n ->", "b n -> n"])
def test_few_long_rows_are_many_units(pattern: str, monkeypatch: pytest.MonkeyPatch) -> None:
    units: list[int] = []

    def spread(work: Any, count: int, threads: int, *rest: Any) -> None:
        units.append(count)
        parallel.spread(work, count, threads, *rest)

    monkeypatch.setattr(cpu, "spread", spread)
    mapdrop.drop(np.ones((2, 1 << 20), np.float32), pattern, 0.5, seed=1)
    assert units[-1] == 16


@pytest.mark.usefixtures("team")
def test_the_number_of_threads_is_respected() -> None:
    meet = threading.Barrier(3, timeout=30)  # Passed only by three threads at once.
    idents: set[int] = set()

    def work(low: int, high: int) -> None:
        if threading.get_ident() not in idents:
            idents.add(threading.get_ident())
            meet.wait()

    parallel.spread(work, 1000, 3, 10, 1)
    assert len(idents) == 3


@pytest.mark.usefixtures("team")
def test_an_error_in_any_thread_is_raised() -> None:
    def fail_late(low: int, high: int) -> None:
        if high == 1000:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        parallel.spread(fail_late, 1000, 3, 10, 1)


def test_a_forked_child_has_threads_of_its_own() -> None:
    code = """
import os, signal
import numpy as np, mapdrop, torch
x = np.ones((64, 200, 200), np.float32)
want = mapdrop.drop(x, "... -> ...", 0.5, seed=1)
torch.ones(1 << 22).add_(1)  # PyTorch's OpenMP has its threads now.
child = os.fork()
if child == 0:
    signal.alarm(60)  # A child that waits for its parent's threads waits for ever.
    os._exit(0 if np.array_equal(mapdrop.drop(x, "... -> ...", 0.5, seed=1), want) else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert python(code, OMP_NUM_THREADS="2") == "0"


def test_the_processor_is_queried_once_for_float16() -> None:
    """A query takes six times as long as to drop a small array."""
    mapdrop.drop(np.ones((4, 8), np.float16), "b c -> b c", 0.5, seed=1)
    asked = float16.float16_in_hardware.cache_info().misses
    mapdrop.drop(np.ones((8, 4), np.float16), "b c -> b c", 0.5, seed=2)
    assert float16.float16_in_hardware.cache_info().misses == asked == 1


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("shape", [(2, 70, 5, 7), (1, 129, 37, 31), (3, 64, 40, 60)])
def test_a_mask_in_another_order_is_transposed_tile_by_tile(
    shape: tuple[int, ...], inplace: bool, dtype: Any
) -> None:
    given: dict[str, Any] = {"p": 0.1, "seed": 5, "block": {"h": 3, "w": 4}}
    x = np.random.default_rng(0).normal(size=shape).astype(dtype)
    last = mapdrop.drop(np.moveaxis(x, 1, 3).copy(), "b h w c -> b h w c", **given)
    first = mapdrop.drop(x, "b c h w -> b h w c", inplace=inplace, **given)
    assert np.array_equal(np.moveaxis(first, 1, 3), last)
    assert 0 < (last == 0).mean() < 0.2
