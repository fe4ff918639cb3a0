"""How each framework makes an array of a drawn case, drops it, and is read again.

A way has the draw and gives (x, result) as NumPy arrays. Frameworks are imported where they are
used: JAX must not have started when other tests ask for devices.
"""

from __future__ import annotations

import ast
import contextlib
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import mapdrop
from mapdrop.spec import words as generator
from tests.checks import without_kernels
from tests.conftest import framework
from tests.integration.everywhere.draws import Draw

Result = tuple[NDArray[Any], NDArray[Any]]
Drop = Callable[[Any, Draw], Any]
Run = Callable[[Draw], Result]


@dataclass(frozen=True)
class Way:
    """A framework and a form of calling it; how many cases CI draws, and how many the long form."""

    run: Run
    few: int
    many: int


def plainly(x: Any, draw: Draw) -> Any:
    """The public function. A rate of 0 gives x itself."""
    came = mapdrop.drop(x, draw.case.pattern, draw.case.p, **draw.case.options)
    assert draw.case.p > 0 or came is x
    return came


def by_a_mask(x: Any, draw: Draw) -> Any:
    """The mask made first, and then applied."""
    case = draw.case
    return mapdrop.mask(case.pattern, case.shape, case.p, **case.options).apply(x)


def _split(draw: Draw) -> tuple[str, int, int]:
    """What compiled code knows, as text, and what it is given: the seed and the step."""
    options = dict(draw.case.options)
    seed, step = options.pop("seed"), options.pop("step")
    return repr({"pattern": draw.case.pattern, "p": draw.case.p, **options}), seed, step


def _read(fixed: str) -> Any:
    return ast.literal_eval(fixed)


# --- NumPy.


def _same(memory: NDArray[Any], before: NDArray[Any]) -> bool:
    """Equal to the bit, whatever NaN is there."""
    return memory.tobytes() == before.tobytes()


def numpy(drop: Drop, draw: Draw) -> Result:
    memory, x = draw.laid_out()
    before, x_before = memory.copy(), x.copy()
    came = drop(x, draw)
    assert _same(memory, before), "the input was written to"
    return x_before, came


def _numpy_in_place(draw: Draw) -> Result:
    memory, x = draw.laid_out(overlapping=False)
    before, x_before = memory.copy(), x.copy()
    came = mapdrop.drop(x, draw.case.pattern, draw.case.p, inplace=True, **draw.case.options)
    assert came is x
    came = came.copy()
    x[...] = x_before
    assert _same(memory, before), "memory that is not the array's was written to"
    return x_before, came


# --- PyTorch.


def _tensor(draw: Draw, overlapping: bool = True) -> tuple[Any, Any]:
    """(memory, tensor) of the drawn layout; PyTorch has no negative strides."""
    torch = framework("torch")
    memory, x = draw.laid_out(backwards=False, overlapping=overlapping)
    raw = torch.from_numpy(memory.view(f"i{memory.itemsize}"))
    whole = raw.view(getattr(torch, draw.dtype.name))
    return memory, whole.as_strided(x.shape, [n // x.itemsize for n in x.strides], 1)


def _from_tensor(x: Any, dtype: np.dtype[Any]) -> NDArray[Any]:
    torch = framework("torch")
    raw = x.detach().contiguous().view(getattr(torch, f"int{8 * dtype.itemsize}"))
    return np.array(raw.numpy()).view(dtype)


def _steps(x: Any) -> list[int]:
    """Strides, but for axes of size 1, where Inductor has others than eager code."""
    return [step for step, size in zip(x.stride(), x.shape, strict=True) if size > 1]


def torch(drop: Drop, draw: Draw) -> Result:
    memory, x = _tensor(draw)
    before, x_before = memory.copy(), _from_tensor(x, draw.dtype)
    came = drop(x, draw)
    assert _same(memory, before), "the input was written to"
    assert _steps(came) == _steps(framework("torch").empty_like(x)) or draw.case.p == 0
    return x_before, _from_tensor(came, draw.dtype)


def _torch_in_place(draw: Draw) -> Result:
    memory, x = _tensor(draw, overlapping=False)
    before, x_before = memory.copy(), x.clone()
    came = mapdrop.drop(x, draw.case.pattern, draw.case.p, inplace=True, **draw.case.options)
    assert came is x
    result = _from_tensor(came, draw.dtype)
    x.copy_(x_before)
    assert _same(memory, before), "memory that is not the tensor's was written to"
    return _from_tensor(x, draw.dtype), result


@functools.lru_cache(maxsize=1)
def _torch_function(backend: str, fixed: str) -> Any:
    torch_ = framework("torch")
    torch_._dynamo.reset()

    @functools.partial(torch_.compile, fullgraph=True, dynamic=False, backend=backend)
    def compiled(x: Any, seed: Any, step: Any) -> Any:
        return mapdrop.drop(x, seed=seed, step=step, **options)

    options = _read(fixed)
    return compiled


def _torch_compiled(backend: str, draw: Draw) -> Result:
    """The seed and the step as tensors, of the same bits."""
    fixed, seed, step = _split(draw)
    compiled = _torch_function(backend, fixed)
    numbers = [
        framework("torch").from_numpy(np.array([number], np.uint64).view(np.int64))
        for number in (seed, step)
    ]
    return torch(lambda x, _: compiled(x, *numbers), draw)


# --- JAX.


@contextlib.contextmanager
def _allowing(dtype: np.dtype[Any]) -> Iterator[Any]:
    """JAX has float64 only where it is asked for."""
    jax = framework("jax")
    with jax.enable_x64(dtype == np.float64):
        yield jax


def jax(drop: Drop, draw: Draw) -> Result:
    """XLA's kernels for the CPU take the smallest numbers, the subnormal ones, for 0."""
    with _allowing(draw.dtype) as jax_:
        _, x = draw.laid_out(subnormal=False)
        return x.copy(), np.asarray(drop(jax_.numpy.asarray(x), draw))


@functools.lru_cache(maxsize=1)
def _jitted(fixed: str) -> Any:
    return framework("jax").jit(functools.partial(mapdrop.drop, **_read(fixed)))


def jitted(x: Any, draw: Draw) -> Any:
    """Seed and step traced: as the two words of a key, and as an integer where 32 bits hold it."""
    jnp = framework("jax").numpy
    fixed, seed, step = _split(draw)
    key = jnp.array(generator.split(seed), jnp.uint32)
    if step < 2**32:
        return _jitted(fixed)(x, seed=key, step=jnp.uint32(step))
    late = functools.partial(mapdrop.drop, step=step, **_read(fixed))
    return framework("jax").jit(late)(x, seed=key)


# --- TensorFlow.


def tensorflow(drop: Drop, draw: Draw) -> Result:
    """Its kernels take the smallest numbers, the subnormal ones, for 0."""
    _, x = draw.laid_out(subnormal=False)
    return x.copy(), drop(framework("tensorflow").constant(x), draw).numpy()


@functools.lru_cache(maxsize=1)
def _graph(fixed: str, shape: tuple[int | None, ...], dtype: str, xla: bool) -> Any:
    tf, options = framework("tensorflow"), _read(fixed)
    number = tf.TensorSpec([], tf.uint64)
    return tf.function(
        lambda x, seed, step: mapdrop.drop(x, seed=seed, step=step, **options),
        input_signature=[tf.TensorSpec(shape, dtype), number, number],
        jit_compile=xla,
    )


def _traced(x: Any, draw: Draw, unknown: bool, xla: bool) -> Any:
    """In a graph whose inputs are seed and step too; it may know of the shape only the rank."""
    tf = framework("tensorflow")
    fixed, *numbers = _split(draw)
    shape = tuple(None if unknown else n for n in x.shape)
    graph = _graph(fixed, shape, x.dtype.name, xla)
    return graph(x, *(tf.constant(number, tf.uint64) for number in numbers))


# --- Keras, on the backend that the process has.


def keras(draw: Draw) -> Result:
    """The layer, whose generator is set to the drawn seed and number of the call."""
    keras_ = framework("keras")
    from mapdrop.keras import Drop

    options = draw.case.options
    step = options.pop("step")
    assert options.pop("stream") is None
    layer = Drop(draw.case.pattern, draw.case.p, dtype=draw.dtype.name, **options)
    if draw.case.p > 0:
        layer.seed_generator.state.assign([options["seed"] % 2**31, step])

    def drop(x: Any, _: Draw) -> Any:
        return layer(x, training=True)

    backend: Any = {"torch": torch, "jax": jax, "tensorflow": tensorflow}
    made: Result = backend[keras_.backend.backend()](drop, draw)
    return made


# --- All of them.


def _without_kernels(run: Run) -> Run:
    def plain(draw: Draw) -> Result:
        with without_kernels():
            return run(draw)

    return plain


def _ways() -> dict[str, Way]:
    part = functools.partial
    return {
        "numpy": Way(part(numpy, plainly), 300, 10_000),
        "numpy, no kernels": Way(_without_kernels(part(numpy, plainly)), 200, 3_000),
        "numpy, in place": Way(_numpy_in_place, 200, 3_000),
        "numpy, by a mask": Way(part(numpy, by_a_mask), 200, 3_000),
        "torch": Way(part(torch, plainly), 300, 10_000),
        "torch, no kernels": Way(_without_kernels(part(torch, plainly)), 200, 3_000),
        "torch, in place": Way(_torch_in_place, 200, 3_000),
        "torch, by a mask": Way(part(torch, by_a_mask), 200, 3_000),
        "torch, aot_eager": Way(part(_torch_compiled, "aot_eager"), 5, 500),
        "torch, inductor": Way(part(_torch_compiled, "inductor"), 4, 50),
        "jax": Way(part(jax, plainly), 60, 10_000),
        "jax, by a mask": Way(part(jax, by_a_mask), 10, 500),
        "jax, jit": Way(part(jax, jitted), 15, 500),
        "tensorflow": Way(part(tensorflow, plainly), 150, 10_000),
        "tensorflow, by a mask": Way(part(tensorflow, by_a_mask), 100, 3_000),
        "tensorflow, graph": Way(_in_a_graph(), 40, 500),
        "tensorflow, sizes unknown": Way(_in_a_graph(unknown=True), 40, 500),
        "tensorflow, XLA": Way(_in_a_graph(xla=True), 20, 200),
    }


def _in_a_graph(unknown: bool = False, xla: bool = False) -> Run:
    return functools.partial(tensorflow, functools.partial(_traced, unknown=unknown, xla=xla))


WAYS = _ways()
KERAS = Way(keras, 60, 10_000)
