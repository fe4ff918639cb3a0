"""`exact` over a few coins has another rate than p: a warning says so, and points at the caller."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mapdrop
from mapdrop.spec.mask_spec import mask_spec
from tests.conftest import framework

FAR = [(1, 0.5, 1), (1, 0.3, 0), (2, 0.1, 0), (3, 0.1, 0), (5, 0.5, 3), (20, 0.99, 20)]
NEAR = [
    (4, 0.5, 2),
    (10, 0.3, 3),
    (64, 0.1, 6),
    (11, 0.5, 5),
    (7, 0.0, 0),
    (7, 1.0, 7),
    (0, 0.5, 0),
]
MESSAGE = r"exact='b' always drops {} of {}, .* balance='b'"


def _mask(shape: tuple[int, ...], p: float) -> Any:
    return mapdrop.mask("b c -> b c", shape, p, exact="b", seed=1).coins


def _numpy(shape: tuple[int, ...], p: float) -> Any:
    return mapdrop.drop(np.ones(shape, np.float32), "b c -> b c", p, exact="b", seed=1)


def _torch(shape: tuple[int, ...], p: float) -> Any:
    return mapdrop.drop(framework("torch").ones(shape), "b c -> b c", p, exact="b", seed=1)


def _layer(shape: tuple[int, ...], p: float) -> Any:
    layer = framework("mapdrop.torch").Drop("b c -> b c", p, exact="b")
    return layer(framework("torch").ones(shape))


def _jax(shape: tuple[int, ...], p: float) -> Any:
    return mapdrop.drop(framework("jax.numpy").ones(shape), "b c -> b c", p, exact="b", seed=1)


def _jit(shape: tuple[int, ...], p: float) -> Any:
    x = framework("jax.numpy").ones(shape)
    made = framework("jax").jit(lambda x: mapdrop.drop(x, "b c -> b c", p, exact="b", seed=1))
    return made(x)


def _flax(shape: tuple[int, ...], p: float) -> Any:
    layer = framework("mapdrop.flax").Drop("b c -> b c", p, exact="b")
    key = framework("jax").random.key(0)
    return layer(framework("jax.numpy").ones(shape), rngs=key)


def _equinox(shape: tuple[int, ...], p: float) -> Any:
    layer = framework("mapdrop.equinox").Drop("b c -> b c", p, exact="b")
    return layer(framework("jax.numpy").ones(shape), key=framework("jax").random.key(0))


def _tensorflow(shape: tuple[int, ...], p: float) -> Any:
    return mapdrop.drop(framework("tensorflow").ones(shape), "b c -> b c", p, exact="b", seed=1)


DROPS = {f.__name__[1:]: f for f in (
    _mask, _numpy, _torch, _layer, _jax, _jit, _flax, _equinox, _tensorflow,
)}  # fmt: skip
drops = pytest.mark.parametrize("drop", DROPS.values(), ids=DROPS)


@drops
@pytest.mark.parametrize(("n", "p", "dropped"), FAR)
def test_a_rate_that_is_far_from_p_warns(
    drop: Callable[..., Any], n: int, p: float, dropped: int
) -> None:
    for _ in range(2):  # What is cached warns as well.
        with pytest.warns(UserWarning, match=MESSAGE.format(dropped, n)) as caught:
            came = np.asarray(drop((n, 6), p))
        assert ((came == 0).sum(0) == dropped).all()
    assert {warning.filename for warning in caught} == {__file__}


@drops
@pytest.mark.parametrize(("n", "p", "dropped"), NEAR)
def test_a_rate_that_is_near_p_does_not(
    drop: Callable[..., Any], n: int, p: float, dropped: int
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        came = np.asarray(drop((n, 6), p))
    assert ((came == 0).sum(0) == dropped).all()


def test_balance_has_the_rate_that_the_warning_promises() -> None:
    rates = [
        1 - mapdrop.mask("b c -> b c", (1, 1000), p, balance="b", seed=1).coins.mean()
        for p in (0.5, 0.3, 0.1)
    ]
    assert rates == pytest.approx([0.5, 0.3, 0.1], abs=0.06)


def test_sizes_that_are_not_known_do_not_warn() -> None:
    tf = framework("tensorflow")

    def function(x: Any) -> Any:
        return mapdrop.drop(x, "b c -> b c", 0.5, exact="b", seed=1)

    step = tf.function(function, input_signature=[tf.TensorSpec((None, 6))])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        came = step(tf.ones((4, 6))).numpy()
    assert ((came == 0).sum(0) == 2).all()
    with pytest.warns(UserWarning, match=MESSAGE.format(1, 1)):  # The size is the least that fits.
        mask_spec("b c -> b c", 0.5, exact="b").bind((1, 6))


def test_python_shows_it_once_a_line() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for _ in range(3):
            _numpy((1, 6), 0.5)
    assert len(caught) == 1
