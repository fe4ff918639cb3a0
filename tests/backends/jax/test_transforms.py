"""Under JAX's transformations: the same mask, the gradient that is the mask, and nothing kept."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array, lax

import mapdrop.flax

PATTERNS = ["b c h w -> b c", "b c h w -> b h w c", "b c h w -> b", "b (g 2) h w -> g w"]
KEY = jax.random.key(3)


def factor(x: Any, pattern: str, p: float, **options: Any) -> Array:
    """What kept values are multiplied by, as the mask object says: an array of x's shape."""
    made = mapdrop.mask(pattern, x.shape, p, **options)
    return jnp.asarray(made.apply(np.ones(x.shape, x.dtype)))


def equal(a: Any, b: Any) -> bool:
    """The same values, and some of them 0 and some not: else nothing was tested."""
    assert 0 < (np.asarray(b) == 0).sum() < b.size
    return np.array_equal(a, b)


def normal(*shape: int) -> Array:
    return jnp.asarray(np.random.default_rng(0).standard_normal(shape, np.float32))


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("jit", [False, True], ids=["eager", "jit"])
def test_the_gradient_is_the_mask_times_the_scale(pattern: str, jit: bool) -> None:
    x, weight = normal(4, 6, 5, 3), normal(3, 5, 6, 4).T

    def loss(x: Array) -> Array:
        return (mapdrop.drop(x, pattern, 0.3, seed=5) * weight).sum()

    gradient = jax.grad(jax.jit(loss) if jit else loss)(x)
    assert equal(gradient, factor(x, pattern, 0.3, seed=5) * weight)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_forward_mode_and_second_order(pattern: str) -> None:
    x, tangent = normal(6, 4, 1, 2), jnp.ones((6, 4, 1, 2))
    mask = factor(x, pattern, 0.4, seed=12)

    def cubed(x: Array) -> Array:
        return mapdrop.drop(x, pattern, 0.4, seed=12) ** 3

    out, moved = jax.jvp(cubed, (x,), (tangent,))
    assert equal(out, (x * mask) ** 3)
    np.testing.assert_allclose(moved, 3 * (x * mask) ** 2 * mask, rtol=1e-6)
    flat = jax.hessian(lambda v: cubed(v.reshape(x.shape)).sum())(x.ravel())
    np.testing.assert_allclose(flat, jnp.diag((6 * x * mask**3).ravel()), rtol=1e-5)


def kept_bytes(function: Any, x: Array) -> int:
    """The size of what a function keeps of its forward pass for its backward pass."""
    _, back = jax.vjp(function, x)
    return sum(leaf.nbytes for leaf in jax.tree.leaves(back))


@pytest.mark.parametrize("pattern", PATTERNS)
def test_nothing_but_seed_and_step_is_kept_for_backward(pattern: str) -> None:
    x = normal(8, 16, 9, 9)
    assert kept_bytes(lambda x: mapdrop.drop(x, pattern, 0.5, seed=KEY), x) <= 16
    jitted = jax.jit(lambda x: mapdrop.drop(x, pattern, 0.5, seed=1, step=3, scale="batch"))
    assert kept_bytes(jitted, x) <= 16


def test_the_guard_on_kept_bytes_sees_a_mask() -> None:
    def bernoulli(x: Array) -> Array:
        return jnp.where(jax.random.bernoulli(KEY, 0.5, x.shape), 2 * x, 0)

    assert kept_bytes(bernoulli, normal(8, 16, 9, 9)) >= 8 * 16 * 9 * 9


# --- vmap.


@pytest.mark.parametrize("axis", [0, 1, 3])
def test_one_seed_for_all_examples_is_one_mask(axis: int) -> None:
    x = normal(3, 40, 5, 2)
    y = jax.vmap(lambda x: mapdrop.drop(x, "c h w -> c", 0.5, seed=7), axis, axis)(x)
    for i in range(x.shape[axis]):
        one = jnp.take(x, i, axis)
        assert equal(jnp.take(y, i, axis), one * factor(one, "c h w -> c", 0.5, seed=7))


@pytest.mark.parametrize("at", [0, 1, None])
def test_a_key_for_each_example_is_a_mask_for_each(at: int | None) -> None:
    keys = jax.random.split(KEY, 4)
    shape = {0: (4, 6, 5), 1: (6, 4, 5), None: (6, 5)}[at]
    x = normal(*shape)
    y = jax.jit(jax.vmap(lambda x, k: mapdrop.drop(x, "... -> ...", 0.5, seed=k), (at, 0)))(x, keys)
    for i, key in enumerate(keys):
        one = x if at is None else jnp.take(x, i, at)
        assert equal(y[i], mapdrop.drop(one, "... -> ...", 0.5, seed=key))
    assert not np.array_equal(y[0] == 0, y[1] == 0)


def test_vmaps_within_vmaps() -> None:
    """Keys for one axis, a step for another, and a third that shares both."""
    x, keys, steps = normal(2, 3, 4, 30), jax.random.split(KEY, 2), jnp.arange(3)

    def one(x: Array, key: Array, step: Array) -> Array:
        return mapdrop.drop(x, "examples -> examples", 0.5, seed=key, step=step)

    shared = jax.vmap(one, (0, None, None))
    y = jax.vmap(jax.vmap(shared, (0, None, 0)), (0, 0, None))(x, keys, steps)
    each = jax.vmap(jax.vmap(one, (0, None, 0)), (1, None, None), 1)  # The third one outside.
    assert np.array_equal(jax.vmap(each, (0, 0, None))(x, keys, steps), y)
    for i, j, k in np.ndindex(2, 3, 4):
        assert equal(y[i, j, k], one(x[i, j, k], keys[i], steps[j]))


@pytest.mark.parametrize(
    "options",
    [
        {"exact": "c"}, {"balance": "c"}, {"block": {"c": 2}}, {"scale": "sample"},
        {"scale": "batch"}, {"stream": "s"},
    ],
    ids=str,
)  # fmt: skip
def test_vmap_of_every_kind(options: dict[str, Any]) -> None:
    x, keys = normal(3, 4, 9), jax.random.split(KEY, 3)

    def one(x: Array, key: Array) -> Any:
        return mapdrop.drop(x, "b c -> b c", 0.4, seed=key, **options)

    many = jax.vmap(one)(x, keys)
    alike = jax.vmap(one, (0, None))(x, keys[0])
    for i in range(3):
        assert equal(many[i], one(x[i], keys[i]))
        assert equal(alike[i], one(x[i], keys[0]))


def test_gradients_of_vmaps_keep_nothing() -> None:
    x, keys = normal(4, 16, 81), jax.random.split(KEY, 4)

    def batch(x: Array) -> Any:
        return jax.vmap(lambda x, k: mapdrop.drop(x, "c n -> c n", 0.5, seed=k))(x, keys)

    assert kept_bytes(batch, x) <= 4 * 16
    y, back = jax.vjp(batch, x)
    assert equal(back(x)[0], y)
    each = jax.vmap(jax.grad(lambda x, k: (mapdrop.drop(x, "c n -> c n", 0.5, seed=k) * x).sum()))
    np.testing.assert_allclose(each(x, keys), 2 * y)


# --- Loops, checkpoints, export.


def test_scan_with_a_step() -> None:
    x = normal(5, 4, 30)

    def body(carry: Array, x: Array) -> tuple[Array, Array]:
        return carry + 1, mapdrop.drop(x, "b c -> b c", 0.5, seed=7, stream="s", step=carry)

    _, y = lax.scan(body, jnp.int32(10), x)
    for i in range(5):
        mask = factor(x[i], "b c -> b c", 0.5, seed=7, stream="s", step=10 + i)
        assert equal(y[i], x[i] * mask)


def test_cond_and_while() -> None:
    x = normal(6, 7)
    mask = factor(x, "b c -> b c", 0.5, seed=7)
    drop = jax.jit(lambda x: mapdrop.drop(x, "b c -> b c", 0.5, seed=7))
    assert equal(lax.cond(x.sum() < 1e9, drop, lambda x: x, x), x * mask)
    assert equal(lax.fori_loop(0, 3, lambda _, x: drop(x), x), x * mask * mask * mask)


@pytest.mark.parametrize("jit", [False, True], ids=["eager", "jit"])
def test_a_checkpointed_layer_sees_its_mask_again(jit: bool) -> None:
    x, weights = normal(6, 8), normal(8, 8)

    def layer(weights: Array, x: Array, key: Array) -> Array:
        return mapdrop.drop(jax.nn.relu(x @ weights), "b c -> b c", 0.5, seed=key)

    def loss(layer: Any, weights: Array) -> Array:
        for key in jax.random.split(KEY, 3):
            carried = layer(weights, x, key)
            weights = weights + carried.T @ carried
        return (weights**2).sum()

    again = jax.grad(lambda w: loss(jax.checkpoint(layer), w))
    plain = jax.grad(lambda w: loss(layer, w))(weights)
    np.testing.assert_allclose((jax.jit(again) if jit else again)(weights), plain, rtol=1e-4)
    other = jax.grad(lambda w: loss(lambda w, x, k: layer(w, x, jax.random.split(k)[0]), w))
    assert not np.allclose(other(weights), plain)  # The guard sees another mask.


def test_compiled_code_is_shared_by_seeds_and_names() -> None:
    x, traces = jnp.ones((3, 5)), []

    @jax.jit
    def run(x: Array, key: Array) -> Array:
        traces.append(key)
        return mapdrop.drop(x, "b c -> b c", 0.5, seed=key, stream="a")

    masks = {np.asarray(run(x, key)).tobytes() for key in jax.random.split(KEY, 8)}
    assert len(masks) > 1
    assert len(traces) == 1


FIRST = """
import jax, mapdrop

x, traces = jax.numpy.ones((3, 5)), []

@jax.jit
def run(x, key):
    traces.append(key)
    return mapdrop.drop(x, "b c -> b c", 0.5, seed=key)

for key in jax.random.split(jax.random.key(3), 2):
    run(x, key)
print(len(traces))
"""


def test_the_first_drop_of_all_may_be_a_traced_one() -> None:
    """What it imports then must not have JAX trace the function again."""
    done = subprocess.run([sys.executable, "-c", FIRST], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["1"]


def test_export() -> None:
    """Nothing of it runs on the host, so it can be exported, for other platforms too."""
    from jax import export

    x = normal(4, 6)
    exported = export.export(
        jax.jit(lambda x, key: mapdrop.drop(x, "b c -> b c", 0.5, seed=key)),
        platforms=["cpu", "cuda", "tpu"],
    )(x, jax.random.key_data(KEY))
    wanted = mapdrop.drop(x, "b c -> b c", 0.5, seed=KEY)
    assert equal(exported.call(x, jax.random.key_data(KEY)), wanted)


def test_a_symbolic_batch_is_refused_in_training_and_exported_in_inference() -> None:
    (batch,) = jax.export.symbolic_shape("b")
    spec = jax.ShapeDtypeStruct((batch, 4), jnp.float32)
    layer = mapdrop.flax.Dropout(0.5)

    def step(x: Array, training: bool) -> Array:
        return layer(x, deterministic=not training, rngs=jax.random.key(0))

    made = jax.export.export(jax.jit(partial(step, training=False)))(spec)
    x = jnp.arange(8.0).reshape(2, 4)
    assert np.array_equal(made.call(x), x)
    with pytest.raises(TypeError, match="a mask is drawn for sizes that are known"):
        jax.export.export(jax.jit(partial(step, training=True)))(spec)
