"""Complex numbers are dropped whole: the mask is that of a real array of their shape."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import mapdrop
from tests.conftest import framework

SHAPE = (6, 5, 4)
PATTERNS: dict[str, tuple[str, dict[str, Any]]] = {
    "element": ("... -> ...", {}),
    "maps": ("b t c -> b c", {}),
    "exact": ("b t c -> b c", {"exact": "b", "stream": "s", "step": 3}),
    "balance, sample": ("b t c -> b t c", {"balance": "b", "scale": "sample"}),
    "block": ("b t c -> b t", {"block": {"t": 2}}),
}
patterns = pytest.mark.parametrize(("pattern", "options"), PATTERNS.values(), ids=PATTERNS)
dtypes = pytest.mark.parametrize("dtype", [np.complex64, np.complex128], ids=["64", "128"])
Drop = Callable[..., NDArray[Any]]


def _numpy(z: NDArray[Any], *asked: Any, **options: Any) -> Any:
    return mapdrop.drop(z, *asked, **options)


def _numpy_in_place(z: NDArray[Any], *asked: Any, **options: Any) -> Any:
    copy = z.copy()
    assert mapdrop.drop(copy, *asked, inplace=True, **options) is copy
    return copy


def _numpy_out(z: NDArray[Any], *asked: Any, **options: Any) -> Any:
    out = np.empty(z.shape[::-1], z.dtype).T
    assert mapdrop.drop(z, *asked, out=out, **options) is out
    return out


def _torch(z: NDArray[Any], *asked: Any, **options: Any) -> Any:
    return mapdrop.drop(framework("torch").from_numpy(z), *asked, **options).numpy()


def _torch_in_place(z: NDArray[Any], *asked: Any, **options: Any) -> Any:
    x = framework("torch").from_numpy(z.copy())
    assert mapdrop.drop(x, *asked, inplace=True, **options) is x
    return x.numpy()


def _torch_conjugate(z: NDArray[Any], *asked: Any, **options: Any) -> Any:
    x = framework("torch").from_numpy(z.conj()).conj()
    return mapdrop.drop(x, *asked, **options).resolve_conj().numpy()


def _torch_compiled(z: NDArray[Any], *asked: Any, **options: Any) -> Any:
    torch = framework("torch")
    torch.compiler.reset()

    @torch.compile(backend="aot_eager", fullgraph=True)  # type: ignore[untyped-decorator]
    def compiled(x: Any) -> Any:
        return mapdrop.drop(x, *asked, **options)

    return compiled(torch.from_numpy(z)).numpy()


def _jax(z: NDArray[Any], *asked: Any, **options: Any) -> Any:
    with framework("jax").enable_x64(True):
        return np.asarray(mapdrop.drop(framework("jax.numpy").asarray(z), *asked, **options))


def _jit(z: NDArray[Any], *asked: Any, **options: Any) -> Any:
    jax = framework("jax")
    with jax.enable_x64(True):
        x = jax.numpy.asarray(z)
        return np.asarray(jax.jit(lambda x: mapdrop.drop(x, *asked, **options))(x))


def _tensorflow(z: NDArray[Any], *asked: Any, **options: Any) -> Any:
    return mapdrop.drop(framework("tensorflow").constant(z), *asked, **options).numpy()


def _graph(z: NDArray[Any], *asked: Any, **options: Any) -> Any:
    tf = framework("tensorflow")
    step = tf.function(lambda x: mapdrop.drop(x, *asked, **options))
    return step(tf.constant(z)).numpy()


DROPS = {f.__name__[1:]: f for f in (
    _numpy, _numpy_in_place, _numpy_out, _torch, _torch_in_place, _torch_conjugate,
    _torch_compiled, _jax, _jit, _tensorflow, _graph,
)}  # fmt: skip
drops = pytest.mark.parametrize("drop", DROPS.values(), ids=DROPS)


def numbers(dtype: Any = np.complex64) -> NDArray[Any]:
    rng = np.random.default_rng(0)
    return np.asarray(rng.standard_normal(SHAPE) + 1j * rng.standard_normal(SHAPE), dtype)


@drops
@dtypes
@patterns
def test_both_parts_are_dropped_by_the_mask_of_a_real_array(
    drop: Drop, dtype: Any, pattern: str, options: dict[str, Any]
) -> None:
    z = numbers(dtype)
    came = drop(z, pattern, 0.4, seed=7, **options)
    real = mapdrop.drop(np.ascontiguousarray(z.real), pattern, 0.4, seed=7, **options)
    imag = mapdrop.drop(np.ascontiguousarray(z.imag), pattern, 0.4, seed=7, **options)
    assert came.dtype == dtype
    assert np.array_equal(came, real + 1j * imag)
    assert 0 < (came == 0).sum() < came.size


def _torch_gradient(z: NDArray[Any], *asked: Any, **options: Any) -> Any:
    torch = framework("torch")
    x = torch.from_numpy(z.copy()).requires_grad_()
    mapdrop.drop(x, *asked, **options).backward(torch.ones(SHAPE, dtype=x.dtype))
    return x.grad.numpy()


def _torch_gradient_in_place(z: NDArray[Any], *asked: Any, **options: Any) -> Any:
    torch = framework("torch")
    x = torch.from_numpy(z.copy()).requires_grad_()
    mapdrop.drop(x * 1, *asked, inplace=True, **options).backward(torch.ones(SHAPE, dtype=x.dtype))
    return x.grad.numpy()


def _jax_gradient(z: NDArray[Any], *asked: Any, **options: Any) -> Any:
    jax = framework("jax")
    _, back = jax.vjp(lambda x: mapdrop.drop(x, *asked, **options), jax.numpy.asarray(z))
    return np.asarray(back(jax.numpy.ones(SHAPE, z.dtype))[0])


def _tensorflow_gradient(z: NDArray[Any], *asked: Any, **options: Any) -> Any:
    tf = framework("tensorflow")
    x = tf.constant(z)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = mapdrop.drop(x, *asked, **options)
    return tape.gradient(y, x, tf.ones(SHAPE, z.dtype)).numpy()


GRADIENTS = {f.__name__[1:]: f for f in (
    _torch_gradient, _torch_gradient_in_place, _jax_gradient, _tensorflow_gradient,
)}  # fmt: skip


@pytest.mark.parametrize("gradient", GRADIENTS.values(), ids=GRADIENTS)
@patterns
def test_the_gradient_is_dropped_by_the_same_mask(
    gradient: Drop, pattern: str, options: dict[str, Any]
) -> None:
    came = gradient(numbers(), pattern, 0.4, seed=7, **options)
    wanted = mapdrop.drop(np.ones(SHAPE, np.float32), pattern, 0.4, seed=7, **options)
    assert np.array_equal(came, wanted.astype(np.complex64))


MAKE: dict[str, tuple[Callable[[NDArray[Any]], Any], Callable[[Any], Any]]] = {
    "numpy": (lambda z: z, lambda y: y),
    "torch": (lambda z: framework("torch").from_numpy(z), lambda y: y.numpy()),
    "jax": (lambda z: framework("jax.numpy").asarray(z), np.asarray),
    "tensorflow": (lambda z: framework("tensorflow").constant(z), lambda y: y.numpy()),
}


@pytest.mark.parametrize(("make", "back"), MAKE.values(), ids=MAKE)
def test_a_mask_applies_to_complex_numbers(
    make: Callable[[NDArray[Any]], Any], back: Callable[[Any], Any]
) -> None:
    z = numbers()
    mask = mapdrop.mask("b t c -> b c", SHAPE, 0.4, seed=7)
    wanted = mask.apply(z.real.copy()) + 1j * mask.apply(z.imag.copy())
    assert np.array_equal(back(mask.apply(make(z))), wanted)
    assert 0 < mask.kept < mask.coins.size


def test_a_tensor_with_its_sign_set_apart() -> None:
    """The imaginary part of a conjugate has the other's memory, and a flag."""
    torch = framework("torch")
    z = torch.from_numpy(numbers())
    came = mapdrop.drop(z.conj().imag, "b t c -> b c", 0.4, seed=7)
    assert torch.equal(came, mapdrop.drop(-z.imag, "b t c -> b c", 0.4, seed=7))
    assert came.abs().sum() > 0
