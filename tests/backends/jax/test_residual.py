"""`mapdrop.residual` under JAX's transformations, with keys and seeds that are traced."""

from __future__ import annotations

from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array

import mapdrop

KEY = jax.random.key(4)
X = jnp.asarray(np.random.default_rng(0).standard_normal((8, 3), np.float32))


def ours(x: Array, seed: Any, **options: Any) -> Array:
    return mapdrop.residual(jnp.tanh, x, 0.3, seed=seed, **options)


def dense(x: Array, seed: Any, **options: Any) -> Array:
    return x + mapdrop.drop(jnp.tanh(x), "b ... -> b", 0.3, seed=seed, **options)


def check(came: Array, wanted: Array, x: Array) -> None:
    """The two are equal, and not what no dropping or dropping all would give."""
    np.testing.assert_allclose(came, wanted, 1e-6)
    assert (wanted == x).any()
    assert (wanted != x).any()


every = pytest.mark.parametrize("options", [{}, {"balance": "b"}], ids=["path", "balanced"])


@every
def test_a_traced_key(options: dict[str, Any]) -> None:
    came = jax.jit(lambda x, key: ours(x, key, **options))(X, KEY)
    check(came, dense(X, KEY, **options), X)
    other = jax.jit(lambda x, key: ours(x, key, **options))(X, jax.random.key(6))
    assert not np.array_equal(other == X, came == X)


@every
def test_vmap_over_keys_and_over_examples(options: dict[str, Any]) -> None:
    keys, x = jax.random.split(KEY, 5), jnp.stack([X + n for n in range(5)])
    for given, axes in (((x, keys), (0, 0)), ((X, keys), (None, 0)), ((x, KEY), (0, None))):
        came, wanted = (
            jax.vmap(lambda x, key, f=f: f(x, key, **options), axes)(*given) for f in (ours, dense)
        )
        check(came, wanted, jnp.broadcast_to(given[0], came.shape))


@every
def test_forward_mode_and_its_transpose(options: dict[str, Any]) -> None:
    for transform in (jax.jacfwd, jax.jacrev):
        came, wanted = (
            jax.jit(transform(lambda x, f=f: f(x, KEY, **options)))(X) for f in (ours, dense)
        )
        np.testing.assert_allclose(came, wanted, 1e-6)
        assert np.abs(wanted - transform(lambda x: x)(X)).max() > 0.1


def test_checkpoint_and_scan() -> None:
    def body(x: Array, step: Array) -> tuple[Array, None]:
        return mapdrop.residual(jnp.tanh, x, 0.3, balance="b", seed=7, step=step), None

    def loss(x: Array) -> Array:
        return (
            jax.lax.scan(jax.checkpoint(body), x, jnp.arange(3, dtype=jnp.uint32))[0] ** 2
        ).sum()

    def plain(x: Array) -> Array:
        for step in range(3):
            x = dense(x, 7, balance="b", step=step)
        return (x**2).sum()

    came, wanted = jax.grad(loss)(X), jax.grad(plain)(X)
    np.testing.assert_allclose(came, wanted, 1e-5)
    assert not np.allclose(wanted, 2 * X)


def test_a_fresh_seed_is_refused_where_drop_refuses_it() -> None:
    with pytest.raises(ValueError, match="seed=None draws a seed from NumPy"):
        jax.grad(lambda x: ours(x, None).sum())(X)
    assert not np.array_equal(ours(X, None), ours(X, None))


@pytest.mark.parametrize("added", [ours, dense])
def test_a_fresh_seed_is_refused_where_only_the_branch_is_traced(added: Any) -> None:
    """The seed would be drawn when that is compiled, and never again."""
    with pytest.raises(ValueError, match="seed=None draws a seed from NumPy"):
        jax.jit(lambda factor: factor * added(X, None))(2.0)


@pytest.mark.parametrize("value", [np.array(2**40 + 3), np.array([2**63 + 1], np.uint64)])
def test_numbers_in_numpy_arrays_keep_all_their_bits(value: Any) -> None:
    assert jnp.asarray(value).dtype.itemsize == 4
    number = int(value.reshape(())[()])
    for kind in ("seed", "step"):
        given = {"seed": 1, kind: value}
        wanted = mapdrop.mask("b c -> b c", X.shape, 0.3, **(given | {kind: number})).coins
        assert np.array_equal(mapdrop.drop(X, "b c -> b c", 0.3, **given) != 0, wanted)
        with pytest.raises(ValueError, match=f"{kind} is a whole number from 0"):
            mapdrop.drop(X, "b c -> b c", 0.3, **(given | {kind: np.array(-1)}))


def test_inputs_may_be_numpy_arrays() -> None:
    own = np.arange(8.0, dtype=np.float32)[:, None]

    def added(x: Array) -> Array:
        return mapdrop.residual(lambda x, own: x * own, x, 0.3, inputs=(own,), seed=1, balance="b")

    wanted = X + mapdrop.drop(X * own, "b ... -> b", 0.3, seed=1, balance="b")
    for way in (added, jax.jit(added)):
        check(way(X), wanted, X)


def test_a_batch_of_unknown_size_is_refused() -> None:
    (size,) = jax.export.symbolic_shape("b")
    given = jax.ShapeDtypeStruct((size, 3), jnp.float32)
    with pytest.raises(TypeError, match="sizes that are known"):
        jax.export.export(jax.jit(lambda x: ours(x, 1)))(given)


@every
def test_a_compiled_branch_is_traced_for_the_most_that_may_be_kept(options: dict[str, Any]) -> None:
    shapes = []

    def branch(x: Array) -> Array:
        shapes.append(x.shape)
        return x

    jax.jit(lambda x: mapdrop.residual(branch, x, 0.3, seed=1, **options))(X)
    assert shapes == [(6, 3) if options else (8, 3)]
