"""What the page says differs, beside rates: each sentence is held to it."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

from mapdrop import PatternError
from tests import checks
from tests.conftest import framework
from tests.docs.coming_from import cases, page
from tests.docs.coming_from.cases import (
    DROP_PATH,
    DROPOUT,
    DROPOUTS,
    EQUINOX,
    FLAX,
    KERAS,
    ONE_SAMPLE,
    SPATIAL_DROPOUT,
    TF_DROPOUT,
    TORCH7,
)
from tests.docs.coming_from.law import Law, check_law, observe, partition, sharing


def test_copied_spatial_dropout_a_seed_is_one_mask() -> None:
    tf = framework("tensorflow")
    made = page.run(page.entries()[SPATIAL_DROPOUT][0], 0.3)
    x = tf.ones((8, 1, 1, 64))

    def alike(one: Any, other: Any) -> bool:
        return bool(tf.reduce_all(one == other))

    tf.random.set_seed(0)
    assert not alike(made.old(x, 0.7, 3), made.old(x, 0.7, 3))
    assert alike(made.new(x, 0.7, 3, 0), made.new(x, 0.7, 3, 0))
    assert not alike(made.new(x, 0.7, 3, 0), made.new(x, 0.7, 3, 1))


def test_tf_dropout_unknown_batch_size() -> None:
    tf = framework("tensorflow")
    made = cases.defined(TF_DROPOUT)
    shape = tf.TensorSpec((None, 2, 2, 64))
    with pytest.raises((TypeError, ValueError), match="None"):
        tf.function(made.old, input_signature=[shape])(tf.ones((8, 2, 2, 64)))
    kept = tf.function(made.new, input_signature=[shape])(tf.ones((8, 2, 2, 64))).numpy() != 0
    assert 0.5 < kept.mean() < 0.9


def test_tf_dropout_of_everything() -> None:
    tf = framework("tensorflow")
    made = cases.defined(TF_DROPOUT, 0, 1.0)
    with pytest.raises(ValueError, match=r"\[0, 1\)"):
        made.old(tf.ones((2, 2, 2, 2)))
    assert not made.new(tf.ones((2, 2, 2, 2))).numpy().any()


def test_keras_data_format_in_1d() -> None:
    made = cases.defined(KERAS, 0)
    with pytest.raises((TypeError, ValueError), match="data_format"):
        type(made.old)(0.3, data_format="channels_first")
    assert type(made.new)(0.3, data_format="channels_first").pattern == "b c t -> b c"


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_torch_dropped_infinity(value: float) -> None:
    torch = framework("torch")
    made, x = cases.defined(DROPOUT), torch.full((4096,), value)
    old, new = made.old(x), made.new(x)
    assert old.isnan().any()
    assert not (old == 0).any()
    dropped = new == 0
    assert 0.2 < dropped.float().mean() < 0.4
    assert np.array_equal(new[~dropped], x[~dropped], equal_nan=True)


def test_torch_memory_format() -> None:
    torch = framework("torch")
    made, x = cases.defined(DROPOUT), torch.ones(2, 16, 8, 8)

    def same(layer: Any) -> bool:
        masks = []
        for form in (torch.contiguous_format, torch.channels_last):
            torch.manual_seed(3)
            masks.append(layer(x.to(memory_format=form)) != 0)
        return bool(torch.equal(*masks))

    assert not same(made.old)
    assert same(made.new)


@pytest.mark.parametrize("number", range(3))
def test_torch_an_axis_too_few(number: int) -> None:
    torch = framework("torch")
    x = torch.ones((2, 3, 4, 5, 6)[: number + 2])
    new = cases.defined(DROPOUTS, number).new
    with pytest.raises(PatternError, match=r"x.unsqueeze\(0\)"):
        new(x)
    last = type(new)(0.3, data_format="channels_last")
    shape = (4, *(2, 3, 1)[: number + 1], 6)
    x = checks.inputs(shape)
    torch.manual_seed(0)
    kept = observe(lambda x: np.asarray(last(torch.tensor(x))), x, 1 / 0.7, 128)
    assert sharing(kept) == partition(shape, (0, len(shape) - 1))


def test_torch_one_sample_meant_whole_maps() -> None:
    meant = cases.turned(ONE_SAMPLE).meant
    check_law(meant, Law((0,), 0.3, 1 / 0.7), (1 << 18, 2, 1), 10, (24, 2, 3))


@pytest.mark.parametrize("number", [0, 2])
def test_torch_one_sample_without_a_warning(number: int) -> None:
    """One coin for each of b samples, in (b, c) and in (b, c, h, w)."""
    torch = framework("torch")
    shape = (24, 2, 3, 2)[: number + 2]
    old = cases.defined(DROPOUTS, number).old
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kept = observe(
            lambda x: np.asarray(old(torch.tensor(x))), checks.inputs(shape), 1 / 0.7, 128
        )
    assert sharing(kept) == partition(shape, (0,))


def test_timm_path_unscaled() -> None:
    torch = framework("torch")
    layer = type(cases.defined(DROP_PATH).new)(0.3, scale=None)
    assert set(layer(torch.full((64, 2), 3.0)).unique().tolist()) == {0.0, 3.0}


def test_flax_named_layer() -> None:
    made = cases.defined(FLAX)
    layer = made.mapdrop.flax.SpatialDropout2d(0.3, rngs=made.nnx.Rngs(dropout=0))
    x = framework("jax").numpy.ones((4, 2, 2, 64))
    assert (layer(x) == made.new(x)).all()
    assert layer.pattern == made.new.pattern
    with pytest.raises(PatternError, match="takes 4 axes"):
        layer(x[0])


def test_equinox_drop_everything() -> None:
    jax = framework("jax")
    made, key = cases.defined(EQUINOX, 0, 1.0), jax.random.key(0)

    def gradient(layer: Any) -> Any:
        return jax.grad(lambda x: layer(x, key=key).sum())(jax.numpy.ones(8))

    assert jax.numpy.isnan(gradient(made.old)).all()
    assert (gradient(made.new) == 0).all()


def test_equinox_a_negative_rate() -> None:
    jax = framework("jax")
    with pytest.raises(ValueError, match=r"from 0 to 1, not -0.5"):
        cases.defined(EQUINOX, 0, -0.5)
    old = framework("equinox").nn.Dropout(-0.5)
    y = old(jax.numpy.ones(64), key=jax.random.key(0))
    assert np.allclose(y, 2 / 3)


@pytest.mark.parametrize("which", ["old", "new"])
def test_torch7_evaluation(which: str) -> None:
    torch = framework("torch")
    made = cases.defined(TORCH7)
    x = torch.tensor(checks.inputs((8, 64, 2, 2)))
    call = getattr(made, which)
    assert torch.equal(call(x, False), x * 0.7)
    ones = call(torch.ones_like(x), False, stochastic_inference=True)
    assert set(ones.unique().tolist()) == {0.0, 1.0}
    assert 0.6 < ones.mean() < 0.8


def test_torch7_weights_go_over() -> None:
    """Multiplied by 1 - p once, they give the same under the layer that scales in training."""
    torch = framework("torch")
    made = cases.defined(TORCH7)
    before, after = (torch.nn.Conv2d(64, 5, 1, dtype=torch.float64) for _ in range(2))
    after.load_state_dict(before.state_dict())
    with torch.no_grad():
        after.weight *= 0.7
    x = torch.tensor(checks.inputs((8, 64, 2, 2)), dtype=torch.float64)
    layer = cases.defined(DROPOUTS, 1).new
    results = []
    for call, convolution in ((made.new, before), (layer, after)):
        torch.manual_seed(3)
        results.append(convolution(call(x)))
    assert torch.allclose(*results, rtol=1e-12)
    assert torch.allclose(before(made.old(x, False)), after(layer.eval()(x)), rtol=1e-12)
    assert not torch.allclose(results[0], after(x))
