"""Rates that follow the steps of `fit`, on one backend of Keras. Run by test_backends.py."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import mapdrop
from mapdrop.keras import Drop, Dropout, DropPath, RateSchedule, SpatialDropout2D
from mapdrop.rates import early, linear
from tests.keras.body import COMPILED, LAYERS, to_numpy, values

PER_EPOCH, EPOCHS = 3, 2
STEPS = PER_EPOCH * EPOCHS
JAX, TORCH = (keras.backend.backend() == name for name in ("jax", "torch"))


@keras.saving.register_keras_serializable("mapdrop_tests")
class Seen(keras.Model):
    """Drops one batch again and again, and keeps what came of it at each step.

    It is kept in the model's state, so that nothing has to be taken out of a compiled loop.
    """

    def __init__(self, layer: Any, x: Any, steps: int = STEPS, **given: Any) -> None:
        super().__init__(**given)
        self.layer, self.x, self.steps, self.traces = layer, np.asarray(x, "float32"), steps, 0
        self.weight = self.add_weight(shape=(), initializer="zeros", name="weight")
        options = {"initializer": "zeros", "trainable": False}
        self.step = self.add_weight(shape=(), name="step", **options)
        self.seen = self.add_weight(shape=(steps, *self.x.shape), name="seen", **options)

    def call(self, inputs: Any, training: bool | None = False) -> Any:
        if not TORCH:  # It would be compiled again for each number.
            self.traces += 1
        y = self.layer(keras.ops.convert_to_tensor(self.x), training=training)
        if training:
            here = keras.ops.equal(keras.ops.arange(self.steps, dtype="float32"), self.step.value)
            place = keras.ops.reshape(here, (self.steps,) + (1,) * self.x.ndim)
            self.seen.assign(keras.ops.where(place, y[None], self.seen.value))
            self.step.assign(self.step + 1)
        return keras.ops.mean(keras.ops.multiply(inputs, self.weight.value)) + 0 * keras.ops.mean(y)

    def get_config(self) -> dict[str, Any]:
        layer = keras.saving.serialize_keras_object(self.layer)
        return {"layer": layer, "x": self.x.tolist(), "steps": self.steps}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Seen:
        return cls(keras.saving.deserialize_keras_object(config.pop("layer")), **config)


def fitted(model: Any, *schedules: RateSchedule, epochs: int = EPOCHS, first: int = 0) -> Any:
    """Fit for so many epochs of 3 steps; return what was seen."""
    ones = np.ones((2 * PER_EPOCH, 1), "float32")
    model.fit(
        ones, ones, batch_size=2, epochs=first + epochs, initial_epoch=first, verbose=0,
        callbacks=list(schedules),
    )  # fmt: skip
    return to_numpy(model.seen)


def compiled_model(layer: Any, x: Any, jit: bool = False, **options: Any) -> Any:
    model = Seen(layer, x)
    model.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=jit, **options)
    return model


def check_seen(seen: Any, name: str, rates: Callable[[int], float], steps: int = STEPS) -> None:
    """Step t has, bit for bit, the mask of the specification at rate t and step t."""
    _, shape, pattern, given = LAYERS[name]
    x = values(shape)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # `exact` at these rates.
        for t in range(steps):
            mask = mapdrop.mask(pattern, shape, seed=7, step=t, **{**given, "p": rates(t)})
            assert np.array_equal(seen[t], mask.apply(x)), f"step {t}"
    assert np.any(seen[steps - 1] == 0)


@pytest.mark.parametrize("jit", COMPILED)
@pytest.mark.parametrize("name", LAYERS)
def test_each_step_has_the_mask_of_its_rate(name: str, jit: bool) -> None:
    make, shape, _, given = LAYERS[name]
    model = compiled_model(make(seed=7), values(shape), jit)
    rates = linear(0.0, 1.2, 4)
    seen = fitted(model, RateSchedule(rates))
    check_seen(seen, name, lambda t: rates(t, given["p"]))
    # Keras traces once to build a model, and once to compile it; on JAX it may compile nothing.
    assert TORCH or (JAX and not jit) or model.traces <= 2


def test_a_step_that_pytorch_compiles_has_the_mask_of_its_rate() -> None:
    if not TORCH:
        return
    make, shape, _, given = LAYERS["Dropout"]
    model = compiled_model(make(seed=7), values(shape), True)
    rates = linear(0.0, 1.0, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Of PyTorch's own, in tracing Keras.
        seen = fitted(model, RateSchedule(rates))
    check_seen(seen, "Dropout", lambda t: rates(t, given["p"]))


def test_the_layer_keeps_its_own_rate_and_the_model_its_weights(tmp_path: Path) -> None:
    make, shape, _, _ = LAYERS["SpatialDropout2D"]
    layer = make(seed=7)
    model, plain = compiled_model(layer, values(shape)), compiled_model(make(seed=7), values(shape))
    fitted(plain, epochs=1)
    schedule = RateSchedule(early(until=2))
    fitted(model, schedule, epochs=1)
    assert list(schedule.rates.values()) == [0.0]
    assert layer.rate == layer.get_config()["rate"] == 0.5
    assert len(model.weights) == len(plain.weights)
    assert len(model.get_weights()) == len(plain.get_weights())
    assert np.any(to_numpy(layer(values(shape), training=True)) == 0)
    model.save_weights(tmp_path / "model.weights.h5")
    plain.load_weights(tmp_path / "model.weights.h5")
    assert np.array_equal(to_numpy(plain.seen), to_numpy(model.seen))


def test_a_run_resumed_goes_on_with_the_rates(tmp_path: Path) -> None:
    make, shape, _, given = LAYERS["DropPath"]
    rates = linear(0.2, 1.2, STEPS - 1)
    model = compiled_model(make(seed=7), values(shape))
    fitted(model, RateSchedule(rates), epochs=1)
    model.save(tmp_path / "model.keras")
    resumed = keras.saving.load_model(tmp_path / "model.keras")
    seen = fitted(resumed, RateSchedule(rates), epochs=1, first=1)
    check_seen(seen, "DropPath", lambda t: rates(t, given["p"]))


def test_steps_are_the_optimizers_and_gradients_may_be_gathered() -> None:
    x = values((24, 3))
    model = Seen(DropPath(0.4, seed=7), x)
    optimizer = keras.optimizers.SGD(0.1, gradient_accumulation_steps=3)
    model.compile(optimizer, "mse")
    rates = linear(0.0, 1.0, 1)
    seen = fitted(model, RateSchedule(rates))
    for t in range(STEPS):
        wanted = mapdrop.mask("b ... -> b", x.shape, 0.4 * (t >= PER_EPOCH), seed=7, step=t).apply(
            x
        )
        assert np.array_equal(seen[t], wanted), f"step {t}"


def test_a_model_that_was_compiled_before_follows_the_schedule() -> None:
    make, shape, _, given = LAYERS["Dropout"]
    model = compiled_model(make(seed=7), values(shape), not TORCH)
    fitted(model, epochs=1)
    rates = linear(0.0, 1.0, STEPS)
    seen = fitted(model, RateSchedule(rates), epochs=1, first=1)
    x = values(shape)
    for t in range(PER_EPOCH, STEPS):
        wanted = mapdrop.mask("... -> ...", shape, rates(t, given["p"]), seed=7, step=t).apply(x)
        assert np.array_equal(seen[t], wanted), f"step {t}"


def test_a_rate_set_later_counts_without_tracing_again() -> None:
    layer, x = Dropout(0.5, seed=7), values((4, 6))
    layer.make_rate_variable()
    model = compiled_model(layer, x, not TORCH)
    ones = np.ones((2, 1), "float32")
    for _ in range(2):  # JAX traces its first step twice.
        model.train_on_batch(ones, ones)
    traces = model.traces
    layer.rate = 0.2
    model.train_on_batch(ones, ones)
    for t, p in enumerate((0.5, 0.5, 0.2)):
        wanted = mapdrop.mask("... -> ...", x.shape, p, seed=7, step=t).apply(x)
        assert np.array_equal(to_numpy(model.seen)[t], wanted)
    assert model.traces == traces


def test_a_layer_that_is_not_built_yet_may_still_be() -> None:
    class Own(Drop):
        def build(self, shape: Any) -> None:
            self.scale_of = self.add_weight(shape=shape[-1:], initializer="ones", name="scale")

        def call(self, inputs: Any, training: bool | None = False) -> Any:
            return super().call(inputs * self.scale_of.value, training)

    layer, x = Own("b c -> b c", 0.5, seed=7), values((4, 6))
    layer.make_rate_variable()
    wanted = mapdrop.mask("b c -> b c", x.shape, 0.5, seed=7).apply(x)
    assert np.array_equal(to_numpy(layer(keras.ops.convert_to_tensor(x), training=True)), wanted)


def test_a_rate_that_jax_would_not_see_is_an_error() -> None:
    if not JAX:
        return
    layer = Dropout(0.5, seed=7)
    layer.make_rate_variable()
    model = compiled_model(layer, values((4, 6)))

    class Sets(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            layer.rate = 0.2

    with pytest.raises(RuntimeError, match=r"jax_state_sync\(\)"):
        fitted(model, Sets())


def test_a_loop_of_ones_own_calls_the_schedule() -> None:
    layer, x = SpatialDropout2D(0.5, data_format="channels_last", seed=7), values((4, 2, 3, 8))
    model = compiled_model(layer, x)
    schedule = RateSchedule(linear(0.0, 1.0, 2))
    schedule.set_model(model)
    schedule.on_train_begin()
    ones = np.ones((2, 1), "float32")
    for t, p in enumerate((0.0, 0.25, 0.5)):
        schedule.on_train_batch_begin(t)
        model.train_on_batch(ones, ones)
        wanted = mapdrop.mask("b h w c -> b c", x.shape, p, seed=7, step=t).apply(x)
        assert np.array_equal(to_numpy(model.seen)[t], wanted)
    schedule.on_train_end()


@pytest.mark.parametrize(
    ("make", "rate", "problem", "text"),
    [
        (lambda: Dropout(0.5), 0.3, TypeError, "a function of a step"),
        (lambda: Dropout(0.0), linear(0, 1, 3), ValueError, "own rates are 0"),
        (lambda: Dropout(0.5), linear(0, 3, 1), ValueError, "from 0 to 1"),
        (lambda: keras.layers.Dropout(0.5), linear(0, 1, 3), ValueError, "Dropout 'dropout"),
        (lambda: keras.layers.ReLU(), linear(0, 1, 3), ValueError, "no layer of mapdrop.keras"),
    ],
)
def test_what_cannot_be_scheduled_is_an_error(
    make: Any, rate: Any, problem: type[Exception], text: str
) -> None:
    model = compiled_model(make(), values((4, 6)))
    with pytest.raises(problem, match=text):
        fitted(model, RateSchedule(rate))


def test_dropout_of_kerass_own_keeps_its_rate_with_a_warning() -> None:
    both = keras.Sequential([Drop("b c -> b c", 0.5), keras.layers.Dropout(0.3, name="other")])
    both.build((2, 4))
    with pytest.warns(UserWarning, match="does not change Dropout '.*other'"):
        RateSchedule(linear(0, 1, 3)).set_model(both)
