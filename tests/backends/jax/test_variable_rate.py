"""Rates that are traced, as Keras' layers have them under a schedule: every case, and autodiff."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mapdrop
import mapdrop.backends.jax as backend
from mapdrop.spec.variable_rate import RateWords, rate_words
from tests import checks
from tests.backends.variable_rate import at_run_time
from tests.cases import ALL, Case

RATES = (0.0, 1e-9, 0.1, 1 / 3, 0.5, 0.9, 1 - 1e-9, 1.0)
PATTERN = "b c -> b c"
NONE = (None, None, (), "valid", "expected", (), False)


def words(pair: tuple[int, int]) -> jax.Array:
    return jnp.array(pair, jnp.uint32)


drop = at_run_time(backend, words, lambda function, _: jax.jit(function))


def dropped(x: Any, rate: Any, seed: Any = 7) -> Any:
    return backend.drop(x, backend.mask_spec(PATTERN, RateWords(rate), *NONE), seed=seed)


@pytest.mark.parametrize("case", ALL, ids=str)
def test_drop(case: Case) -> None:
    checks.check_drop(drop, jnp.asarray, np.asarray, case)


@pytest.mark.parametrize("options", [{}, {"exact": "c"}, {"balance": "c"}, {"block": {"c": 3}}])
def test_one_compilation_has_the_mask_of_each_rate(options: dict[str, Any]) -> None:
    x, traced = checks.inputs((6, 10)), 0

    def counted(function: Any, _: Any) -> Any:
        def traces(x: Any, rate: Any) -> Any:
            nonlocal traced
            traced += 1
            return function(x, rate)

        return jax.jit(traces)

    drop = at_run_time(backend, words, counted)
    for p in RATES:
        wanted = mapdrop.mask(PATTERN, x.shape, p, seed=3, **options).apply(x)
        assert checks.same_bits(
            np.asarray(drop(jnp.asarray(x), PATTERN, p, seed=3, **options)), wanted
        )
    assert traced == 1


def test_forward_and_reverse_derivatives_have_the_mask() -> None:
    x, rate = jnp.asarray(checks.inputs((6, 10))), words(rate_words(0.3))
    wanted = mapdrop.mask(PATTERN, x.shape, 0.3, seed=7).apply(np.ones(x.shape, np.float32))
    run = jax.jit(lambda x, rate: dropped(x, rate).sum())
    assert np.array_equal(jax.grad(run)(x, rate), wanted)
    _, moved = jax.jvp(lambda x: dropped(x, rate), (x,), (jnp.ones_like(x),))
    assert np.array_equal(moved, wanted)


def test_examples_under_vmap_have_seeds_of_their_own_and_one_rate() -> None:
    x, rate, seeds = checks.inputs((3, 6, 10)), words(rate_words(0.3)), jnp.arange(3)
    came = jax.jit(jax.vmap(dropped, (0, None, 0)))(jnp.asarray(x), rate, seeds)
    for seed in range(3):
        wanted = mapdrop.mask(PATTERN, (6, 10), 0.3, seed=seed).apply(x[seed])
        assert np.array_equal(came[seed], wanted)


def test_examples_under_vmap_may_have_rates_of_their_own() -> None:
    x, rates = checks.inputs((2, 6, 10)), [0.2, 0.7]
    traced = jnp.stack([words(rate_words(p)) for p in rates])
    came = jax.vmap(dropped)(jnp.asarray(x), traced)
    for number, p in enumerate(rates):
        wanted = mapdrop.mask(PATTERN, (6, 10), p, seed=7).apply(x[number])
        assert np.array_equal(came[number], wanted)
