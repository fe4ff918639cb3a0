"""The layers on one backend of Keras. Run by test_backends.py, in a process for each backend."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest

import mapdrop
import mapdrop.keras.layers
from mapdrop import PatternError
from mapdrop.backends import registry
from mapdrop.keras import (
    Drop,
    DropBlock1D,
    DropBlock2D,
    DropBlock3D,
    Dropout,
    DropPath,
    SpatialDropout1D,
    SpatialDropout2D,
    SpatialDropout3D,
)
from tests.checks import check_balanced
from tests.integration.test_calls import calls

SPATIAL = {1: SpatialDropout1D, 2: SpatialDropout2D, 3: SpatialDropout3D}
BLOCK = {1: DropBlock1D, 2: DropBlock2D, 3: DropBlock3D}
SPACE = {1: (6,), 2: (6, 5), 3: (6, 5, 4)}
Make = Callable[..., Any]
LAYERS: dict[str, tuple[Make, tuple[int, ...], str, dict[str, Any]]] = {
    # name: layer, shape, pattern, other arguments of mapdrop.mask
    "Drop": (
        lambda **k: Drop("b h w (g k) -> b g", 0.5, k=4, exact="g", **k),
        (6, 3, 2, 24), "b h w (g k) -> b g", {"p": 0.5, "k": 4, "exact": "g"},
    ),
    "Drop, balance": (
        lambda **k: Drop("(m 2) h w c -> m c", 0.3, balance="m", scale="sample", **k),
        (6, 3, 2, 8), "(m 2) h w c -> m c", {"p": 0.3, "balance": "m", "scale": "sample"},
    ),
    "Dropout": (lambda **k: Dropout(0.3, **k), (4, 6, 5), "... -> ...", {"p": 0.3}),
    "Dropout, noise_shape": (
        lambda **k: Dropout(0.3, (None, 1, 5), **k), (4, 6, 5), "b t c -> b c", {"p": 0.3},
    ),
    "DropPath": (lambda **k: DropPath(0.4, **k), (24, 3, 2), "b ... -> b", {"p": 0.4}),
    "DropPath, balance": (
        lambda **k: DropPath(0.4, balance=True, **k),
        (24, 3, 2), "b ... -> b", {"p": 0.4, "balance": "b"},
    ),
    "SpatialDropout1D": (
        lambda **k: SpatialDropout1D(0.5, **k), (4, 6, 9), "b t c -> b c", {"p": 0.5},
    ),
    "SpatialDropout2D": (
        lambda **k: SpatialDropout2D(0.5, **k), (4, 6, 5, 9), "b h w c -> b c", {"p": 0.5},
    ),
    "SpatialDropout2D, channels first": (
        lambda **k: SpatialDropout2D(0.5, "channels_first", **k),
        (4, 9, 6, 5), "b c h w -> b c", {"p": 0.5},
    ),
    "SpatialDropout3D": (
        lambda **k: SpatialDropout3D(0.5, **k), (4, 3, 2, 2, 9), "b d h w c -> b c", {"p": 0.5},
    ),
    "DropBlock1D": (
        lambda **k: DropBlock1D(0.2, 3, **k), (4, 9, 3), "b t c -> b t c",
        {"p": 0.2, "block": {"t": 3}},
    ),
    "DropBlock2D": (
        lambda **k: DropBlock2D(0.2, (3, 2), region="full", scale="batch", **k),
        (3, 7, 6, 4), "b h w c -> b h w c",
        {"p": 0.2, "block": {"h": 3, "w": 2}, "region": "full", "scale": "batch"},
    ),
    "DropBlock3D": (
        lambda **k: DropBlock3D(0.2, 2, **k), (2, 4, 5, 3, 2), "b d h w c -> b d h w c",
        {"p": 0.2, "block": {"d": 2, "h": 2, "w": 2}},
    ),
}  # fmt: skip
layers = pytest.mark.parametrize("name", LAYERS)
# A batch that is smaller fits every layer but those that are told the batch's size.
LATER: dict[str, tuple[tuple[int, ...], Make]] = {
    "Drop": ((6, 3, 2, 8), lambda rate, seed: Drop("b h w c -> b c", rate, seed=seed)),
    "Dropout": ((4, 6, 5), lambda rate, seed: Dropout(rate, seed=seed)),
    "DropPath": ((24, 3, 2), lambda rate, seed: DropPath(rate, seed=seed)),
    "SpatialDropout1D": ((4, 6, 9), lambda rate, seed: SpatialDropout1D(rate, seed=seed)),
    "DropBlock1D": ((4, 9, 3), lambda rate, seed: DropBlock1D(rate, 3, seed=seed)),
}
any_batch = pytest.mark.parametrize("name", [n for n in LAYERS if n != "Drop, balance"])
MOST_CALLS = 12  # Of Python functions of mapdrop's, from a layer's call to the primitive of JAX's.
COMPILED = [False] if keras.backend.backend() == "torch" else [False, True]


def to_numpy(x: Any) -> Any:
    return np.asarray(keras.ops.convert_to_numpy(x))


def values(shape: tuple[int, ...]) -> Any:
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


def check_masks(make: Make, name: str, calls: int = 3) -> None:
    """Call number t has, bit for bit, the mask of the specification at step t."""
    _, shape, pattern, given = LAYERS[name]
    x, layer = values(shape), make(seed=7)
    for step in range(calls):
        wanted = mapdrop.mask(pattern, shape, seed=7, step=step, **given).apply(x)
        came = to_numpy(layer(x, training=True))
        assert came.dtype == x.dtype
        assert np.array_equal(came, wanted), f"call {step}"
        assert 0 < np.sum(wanted == 0) < x.size


def check_no_collisions(make: Make, seeds: int = 6, calls: int = 6) -> None:
    """No two of some seeds and calls have one mask."""
    masks = set()
    for seed in range(seeds):
        layer = make(0.5, seed=seed)
        masks |= {to_numpy(layer(np.ones((16, 16)), training=True)).tobytes() for _ in range(calls)}
    assert len(masks) == seeds * calls


def gradient(function: Callable[[Any], Any], x: Any) -> tuple[Any, Any]:
    """The function's value, and the gradient of its sum."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        given = tf.convert_to_tensor(x)
        with tf.GradientTape() as tape:
            tape.watch(given)
            y = function(given)
        return to_numpy(y), to_numpy(tape.gradient(y, given))
    if keras.backend.backend() == "jax":
        import jax

        result, pull = jax.vjp(function, jax.numpy.asarray(x))
        return to_numpy(result), to_numpy(pull(jax.numpy.ones_like(result))[0])
    import torch

    given = torch.tensor(x, requires_grad=True)
    y = function(given)
    y.sum().backward()
    return to_numpy(y), to_numpy(given.grad)


def allowing(dtype: str) -> Any:
    """JAX has float64 only where it is asked for."""
    if keras.backend.backend() != "jax":
        return contextlib.nullcontext()
    import jax

    return jax.enable_x64(dtype == "float64")


def test_the_backend_is_the_one_asked_for(request: pytest.FixtureRequest) -> None:
    assert keras.backend.backend() == os.environ["KERAS_BACKEND"]
    assert not request.config.getoption("--broken")


# --- Masks.


@layers
def test_masks_are_the_specification_s(name: str) -> None:
    check_masks(LAYERS[name][0], name)


BROKEN: dict[str, Callable[..., Any]] = {
    "identity": lambda x, pattern, p, seed, step: x,
    "unscaled": lambda *a, **k: mapdrop.drop(*a, **k, scale=None),
    "the same in each call": lambda *a, seed, step: mapdrop.drop(*a, seed=seed),
    "seed and step added": lambda *a, seed, step: mapdrop.drop(*a, seed=seed + int(step)),
    "no structure": lambda x, pattern, p, **k: mapdrop.drop(x, "... -> ...", p, **k),
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_broken_layers_are_rejected(
    broken: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def backend_for(x: Any) -> Any:
        backend = registry.backend_for(x)

        def drop(x: Any, spec: Any, **numbers: Any) -> Any:
            return broken(x, spec.pattern, spec.p, **numbers)

        return SimpleNamespace(traced=backend.traced, mask_spec=backend.mask_spec, drop=drop)

    monkeypatch.setattr(mapdrop.keras.layers, "backend_for", backend_for)
    with pytest.raises(AssertionError):
        check_masks(LAYERS["SpatialDropout2D"][0], "SpatialDropout2D")


def test_seeds_and_calls_do_not_collide() -> None:
    check_no_collisions(Dropout)


def test_collisions_twin() -> None:
    """On PyTorch Keras adds seed and call; what it does on others is not ours to say."""

    class Added(Dropout):
        def call(self, inputs: Any, training: bool | None = False) -> Any:
            seed, step = (int(n) for n in to_numpy(self.seed_generator.next()))
            return mapdrop.drop(inputs, self.pattern, self.rate, seed=seed + step)

    kinds = [Added, keras.layers.Dropout] if keras.backend.backend() == "torch" else [Added]
    for kind in kinds:
        with pytest.raises(AssertionError):
            check_no_collisions(kind)


@pytest.mark.parametrize("seed", [0, 2**31, 2**32 - 1, 2**63, 2**64 - 1])
def test_seeds_of_64_bits(seed: int) -> None:
    x = values((4, 8))
    wanted = mapdrop.drop(x, "b c -> b c", 0.5, seed=seed)
    assert np.array_equal(to_numpy(Dropout(0.5, seed=seed)(x, training=True)), wanted)


def test_no_seed_is_a_fresh_one_that_set_random_seed_sets() -> None:
    x = np.ones((8, 16))
    keras.utils.set_random_seed(3)
    one, two = Dropout(0.5), Dropout(0.5)
    first, second = to_numpy(one(x, training=True)), to_numpy(two(x, training=True))
    assert not np.array_equal(first, second)
    keras.utils.set_random_seed(3)
    assert np.array_equal(to_numpy(Dropout(0.5)(x, training=True)), first)


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("family", [SPATIAL, BLOCK], ids=["SpatialDropout", "DropBlock"])
def test_both_data_formats_have_one_mask(dims: int, family: dict[int, Any]) -> None:
    last = values((4, *SPACE[dims], 10))
    first = np.ascontiguousarray(np.moveaxis(last, -1, 1))
    y = to_numpy(family[dims](0.4, seed=4, data_format="channels_last")(last, training=True))
    z = to_numpy(family[dims](0.4, seed=4, data_format="channels_first")(first, training=True))
    assert np.array_equal(np.moveaxis(z, 1, -1), y)
    assert 0 < np.sum(y == 0) < y.size


def test_a_balanced_path_keeps_floor_or_ceil_and_each_sample_at_the_rate() -> None:
    def dropped(layer: Any) -> Callable[[Any], Any]:
        return lambda x: to_numpy(layer(x, training=True))

    check_balanced(dropped(DropPath(0.3, seed=7, balance=True)))
    with pytest.raises(AssertionError, match="kept of"):
        check_balanced(dropped(DropPath(0.3, seed=7)))


def test_a_path_s_configuration_says_whether_it_is_balanced() -> None:
    assert DropPath(0.3, balance=True).get_config()["balance"] is True
    assert DropPath(0.3).get_config()["balance"] is False
    assert DropPath(0.3, None, 7, True).get_config() | {"name": "here"} == {
        "name": "here", "trainable": True, "dtype": keras.dtype_policies.serialize(
            keras.dtype_policies.get("float32")
        ),
        "rate": 0.3, "scale": None, "seed": 7, "balance": True,
    }  # fmt: skip


@layers
def test_the_gradient_is_by_the_same_mask(name: str) -> None:
    make, shape, pattern, given = LAYERS[name]
    layer = make(seed=7)
    y, slope = gradient(lambda x: layer(x, training=True), np.ones(shape, np.float32))
    assert np.array_equal(y, slope)
    mask = mapdrop.mask(pattern, shape, seed=7, **given)
    assert np.array_equal(slope, mask.apply(np.ones(shape, np.float32)))


@layers
def test_not_in_training_and_at_rate_0_the_input_itself_comes_back(name: str) -> None:
    make, shape, *_ = LAYERS[name]
    x, layer = keras.ops.convert_to_tensor(values(shape)), make(seed=1)
    for training in (False, None):
        assert layer(x, training=training) is x
    assert to_numpy(layer.seed_generator.state)[1] == 0
    layer.rate = 0.0
    assert layer(x, training=True) is x
    assert Dropout(0.0)(x, training=True) is x


@pytest.mark.parametrize("last", LATER)
def test_a_rate_raised_from_0_drops_and_is_saved(last: str, tmp_path: Path) -> None:
    shape, make = LATER[last]
    model = _identity_then(make(0.0, 7), shape)
    layer, x = model.layers[-1], values(shape)
    layer.rate = 0.25
    model.compile("sgd", "mse")
    model.fit(x, x, verbose=0)
    model.save(tmp_path / "model.keras")
    model.save_weights(tmp_path / "model.weights.h5")
    wanted = mapdrop.drop(x, layer.pattern, 0.25, seed=7, step=1, block=dict(layer.block))
    assert 0 < (wanted == 0).mean() < 1
    assert np.array_equal(to_numpy(layer(x, training=True)), wanted)
    again = keras.saving.load_model(tmp_path / "model.keras").layers[-1]
    assert np.array_equal(to_numpy(again(x, training=True)), wanted)


def test_a_rate_changed_behind_a_compiled_fit_warns_and_compile_takes_it_up() -> None:
    shape = (4, 6, 9)
    model, x = _identity_then(SpatialDropout1D(0.0, seed=7), shape), values(shape)
    options = {"batch_size": shape[0], "verbose": 0, "shuffle": False}
    model.compile(keras.optimizers.SGD(0.0), "mse")
    assert model.fit(x, np.zeros_like(x), **options).history["loss"][0] == pytest.approx(
        np.mean(x**2)
    )
    eager = keras.backend.backend() == "torch"
    warned = contextlib.nullcontext() if eager else pytest.warns(UserWarning, match="compile")
    with warned:
        model.layers[-1].rate = 0.5
    model.compile(keras.optimizers.SGD(0.0), "mse")
    (came,) = model.fit(x, np.zeros_like(x), **options).history["loss"]
    dropped = mapdrop.drop(x, "b t c -> b c", 0.5, seed=7)
    assert came == pytest.approx(np.mean(dropped**2), rel=1e-5)


SETTINGS: dict[str, tuple[Make, str, Any, Make]] = {
    # name: a layer, what is set, to what; the layer that it is then
    "block_size": (lambda: DropBlock2D(0.3, 3, seed=1), "block_size", 2,
                   lambda: DropBlock2D(0.3, 2, seed=1)),
    "region": (lambda: DropBlock2D(0.3, 3, seed=1), "region", "full",
               lambda: DropBlock2D(0.3, 3, region="full", seed=1)),
    "scale": (lambda: DropPath(0.5, seed=1), "scale", None, lambda: DropPath(0.5, None, seed=1)),
    "seed": (lambda: Dropout(0.5, seed=1), "seed", 2, lambda: Dropout(0.5, seed=2)),
    "exact": (lambda: Drop("b h w c -> b c", 0.5, seed=1), "exact", "c",
              lambda: Drop("b h w c -> b c", 0.5, exact="c", seed=1)),
}  # fmt: skip


@pytest.mark.parametrize("case", SETTINGS)
def test_a_setting_that_is_set_later_holds(case: str) -> None:
    make, name, value, wanted = SETTINGS[case]
    layer, x = make(), values((4, 6, 6, 8))
    setattr(layer, name, value)
    came = to_numpy(layer(x, training=True))
    assert np.array_equal(came, to_numpy(wanted()(x, training=True)))
    assert not np.array_equal(came, to_numpy(make()(x, training=True)))
    assert layer.get_config()[name] == value


@pytest.mark.parametrize(
    ("make", "name", "value", "message"),
    [
        (lambda: Dropout(0.5), "rate", 1.7, "rate is the fraction to drop, from 0 to 1, not 1.7"),
        (lambda: Dropout(0.5), "p", 0.3, "Dropout has no p: set rate"),
        (lambda: DropPath(0.5), "drop_prob", 0.3, "DropPath has no drop_prob: set rate"),
        (lambda: DropPath(0.5), "scale", "mean", "scale is one of"),
        (lambda: DropBlock2D(0.5), "block_size", 0, "is not a size"),
        (lambda: DropBlock2D(0.5), "data_format", "channels_first", "make another DropBlock2D"),
        (lambda: Dropout(0.5, (None, 1)), "noise_shape", (1, None), "make another Dropout"),
        (lambda: Dropout(0.5), "seed", -1, "seed is a whole number"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_setting_is_checked_when_it_is_set(
    make: Make, name: str, value: Any, message: str
) -> None:
    with pytest.raises((ValueError, AttributeError), match=message):
        setattr(make(), name, value)


def test_rate_1_gives_zeros_and_zero_gradients() -> None:
    y, slope = gradient(lambda x: SpatialDropout1D(1.0)(x, training=True), values((2, 3, 4)))
    assert not y.any()
    assert not slope.any()


# --- What Keras does with layers.


@layers
def test_config_round_trip(name: str) -> None:
    import json

    layer = LAYERS[name][0](seed=5, name="here", dtype="mixed_bfloat16")
    config = json.loads(json.dumps(layer.get_config()))
    twin = type(layer).from_config(config)
    assert twin.get_config() == layer.get_config()
    assert (twin.pattern, twin.name, twin.compute_dtype) == (layer.pattern, "here", "bfloat16")
    other = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert other.get_config() == layer.get_config()
    x = values(LAYERS[name][1])
    same = to_numpy(keras.ops.cast(twin(x, training=True), "float32"))
    assert np.array_equal(same, to_numpy(keras.ops.cast(layer(x, training=True), "float32")))


def _model(name: str, seed: int | None, unknown: bool = True) -> Any:
    make, shape, *_ = LAYERS[name]
    inputs = keras.Input(batch_shape=(None if unknown else shape[0], *shape[1:]))
    hidden = keras.layers.Dense(shape[-1])(inputs)
    return keras.Model(inputs, keras.layers.Dense(2)(make(seed=seed)(hidden)))


@layers
@pytest.mark.parametrize("seed", [None, 3])
def test_a_model_saved_goes_on_with_the_masks_it_would_have_had(
    name: str, seed: int | None, tmp_path: Path
) -> None:
    x, model = values(LAYERS[name][1]), _model(name, seed)
    early = to_numpy(model(x, training=True))
    model(x, training=True)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    model.save_weights(tmp_path / "model.weights.h5")
    weighted = _model(name, seed)
    weighted.load_weights(tmp_path / "model.weights.h5")
    wanted = to_numpy(model(x, training=True))
    assert not np.array_equal(wanted, early)
    for twin in (loaded, weighted):
        assert np.array_equal(to_numpy(twin(x, training=True)), wanted)


def test_weights_of_a_model_with_keras_own_layers_are_read(tmp_path: Path) -> None:
    def model(kind: Any) -> Any:
        inputs = keras.Input((6, 5, 9))
        return keras.Model(inputs, keras.layers.Dense(2)(kind(0.5, seed=3)(inputs)))

    theirs, ours = model(keras.layers.SpatialDropout2D), model(SpatialDropout2D)
    assert [w.shape for w in ours.weights] == [w.shape for w in theirs.weights]
    theirs.save_weights(tmp_path / "model.weights.h5")
    ours.load_weights(tmp_path / "model.weights.h5")
    x = values((4, 6, 5, 9))
    assert np.array_equal(to_numpy(ours(x)), to_numpy(theirs(x)))


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16", "float64", "float32"])
def test_dtype_policies(policy: str) -> None:
    import ml_dtypes

    dtype = np.dtype(ml_dtypes.bfloat16 if "bfloat" in policy else policy[-7:])
    wide = "float64" if policy == "float64" else "float32"  # Holds each of the values exactly.
    with allowing(wide):
        layer = SpatialDropout2D(0.3, seed=7, dtype=policy)
        x = values((4, 3, 2, 8))
        came = layer(x, training=True)
        assert keras.backend.standardize_dtype(came.dtype) == layer.compute_dtype == dtype.name
        wanted = mapdrop.drop(x.astype(dtype), "b h w c -> b c", 0.3, seed=7)
        assert np.array_equal(to_numpy(keras.ops.cast(came, wide)), wanted.astype(wide))
        assert layer(keras.Input((3, 2, 8))).dtype == dtype.name


@layers
def test_symbolic_tensors_keep_their_shape(name: str) -> None:
    make, shape, *_ = LAYERS[name]
    layer = make()
    symbolic = layer(keras.Input(shape[1:]), training=True)
    assert symbolic.shape == (None, *shape[1:])
    assert layer.compute_output_shape((None, *shape[1:])) == (None, *shape[1:])
    spec = layer.compute_output_spec(keras.KerasTensor(shape, "float16"))
    assert (spec.shape, spec.dtype) == (shape, "float16")


@any_batch
@pytest.mark.parametrize("compiled", COMPILED)
def test_fit_drops_each_batch_by_the_next_mask(name: str, compiled: bool) -> None:
    """The last batch is smaller. Every training call's mask is the specification's."""
    make, shape, pattern, given = LAYERS[name]
    model = _identity_then(make(seed=7), shape)
    model.compile(keras.optimizers.SGD(0.0), "mse", jit_compile=compiled)
    x = np.concatenate([values(shape), values(shape)[: shape[0] // 2]])
    options = {"batch_size": shape[0], "verbose": 0}
    came = model.fit(x, np.zeros_like(x), shuffle=False, **options).history["loss"][0]
    wanted = 0.0
    for step, part in enumerate((x[: shape[0]], x[shape[0] :])):
        mask = mapdrop.mask(pattern, part.shape, seed=7, step=step, **given)
        wanted += float(np.mean(mask.apply(part) ** 2)) * len(part) / len(x)
    assert came == pytest.approx(wanted, rel=1e-5)
    assert to_numpy(model.layers[-1].seed_generator.state).tolist() == [7, 2]


def _identity_then(layer: Any, shape: tuple[int, ...]) -> Any:
    inputs = keras.Input(shape[1:])
    same = keras.layers.Dense(shape[-1], use_bias=False)
    model = keras.Model(inputs, layer(same(inputs)))
    same.set_weights([np.eye(shape[-1], dtype=np.float32)])
    return model


@pytest.mark.parametrize("compiled", COMPILED)
def test_validation_and_predictions_drop_nothing_and_count_no_call(compiled: bool) -> None:
    """Of one layer: `training` reaches the `call` of all in the same way."""
    model, x = _identity_then(SpatialDropout1D(0.5, seed=7), (4, 6, 9)), values((6, 6, 9))
    model.compile(loss="mse", jit_compile=compiled)
    options = {"batch_size": 4, "verbose": 0}
    assert model.evaluate(x, np.zeros_like(x), **options) == pytest.approx(np.mean(x**2), rel=1e-5)
    assert np.array_equal(model.predict(x, **options), x)
    assert to_numpy(model.layers[-1].seed_generator.state).tolist() == [7, 0]


@layers
def test_a_stateless_call_gives_the_next_state_and_changes_none(name: str) -> None:
    """What a training loop of JAX's own calls: variables go in, and those of the next call out."""
    if keras.backend.backend() != "jax":
        return
    import jax

    make, shape, pattern, given = LAYERS[name]
    layer, x = make(seed=7), values(shape)
    state = [variable.value for variable in layer.non_trainable_variables]
    run = jax.jit(lambda state, x: layer.stateless_call([], state, x, training=True))
    for step in range(3):
        y, state = run(state, x)
        wanted = mapdrop.mask(pattern, shape, seed=7, step=step, **given).apply(x)
        assert np.array_equal(to_numpy(y), wanted), f"call {step}"
    assert to_numpy(layer.seed_generator.state).tolist() == [7, 0]


def calls_to_the_primitive(layer: Any) -> list[str]:
    """Return the functions that a warm call enters, to the one that binds JAX's primitive."""
    x = keras.ops.ones((2, 8, 8, 4))
    entered = calls(lambda: layer(x, training=True))
    return entered[: entered.index("dropped") + 1]


@pytest.mark.parametrize("seed", [None, 7])
def test_a_warm_call_on_jax_takes_few_calls_of_python(seed: int | None) -> None:
    if keras.backend.backend() != "jax":
        return
    entered = calls_to_the_primitive(SpatialDropout2D(0.5, seed=seed))
    assert {"call", "drop", "bind"} <= set(entered)
    assert len(entered) <= MOST_CALLS, entered


def test_a_call_more_twin() -> None:
    if keras.backend.backend() != "jax":
        return
    source = "lambda self, inputs, training=False: SpatialDropout2D.call(self, inputs, training)"
    code = compile(source, mapdrop.keras.layers.__file__, "eval")

    class Longer(SpatialDropout2D):
        call = eval(code, vars(mapdrop.keras.layers))

    assert len(calls_to_the_primitive(Longer(0.5))) == MOST_CALLS + 1


def test_a_model_of_its_own_class() -> None:
    class Own(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.drop = SpatialDropout1D(0.5, seed=7)

        def call(self, inputs: Any, training: bool | None = False) -> Any:
            return self.drop(inputs, training=training)

    model, x = Own(), values((4, 6, 9))
    assert model(keras.Input((6, 9))).shape == (None, 6, 9)
    wanted = mapdrop.drop(x, "b t c -> b c", 0.5, seed=7)
    assert np.array_equal(to_numpy(model(x, training=True)), wanted)
    assert len(model.weights) == 0
    assert len(model.variables) == 1


def test_masks_of_steps_pass() -> None:
    embedded = keras.layers.Embedding(5, 8, mask_zero=True)(np.array([[1, 2, 0]]))
    dropped = SpatialDropout1D(0.5, seed=7)(embedded, training=True)
    mean = to_numpy(keras.layers.GlobalAveragePooling1D()(dropped))  # Of the steps not masked.
    np.testing.assert_allclose(mean, to_numpy(dropped)[:, :2].mean(1), rtol=1e-6)
    assert not np.allclose(mean, to_numpy(dropped).mean(1))


# --- Errors.

WRONG: dict[str, Any] = {"rate": "0.5", "seed": 1.5, "noise_shape": "ab"}  # Of wrong types.


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("family", [SPATIAL, BLOCK], ids=["SpatialDropout", "DropBlock"])
@pytest.mark.parametrize("rank", [2, 3, 4, 5, 6])
def test_a_wrong_rank_says_which_layer_to_use(dims: int, family: dict[int, Any], rank: int) -> None:
    name = family[1].__name__.removesuffix("1D")
    layer = family[dims](0.5)
    for x in (np.ones((2,) * rank), keras.Input((2,) * (rank - 1))):
        if rank == dims + 2:
            assert len(layer(x).shape) == rank
            continue
        with pytest.raises(PatternError, match=f"{name}{dims}D takes {dims + 2} axes") as caught:
            layer(x)
        if 3 <= rank <= 5:
            assert f"{name}{rank - 2}D for a batch with {rank} axes" in str(caught.value)


def test_what_does_not_fit_is_refused_when_the_model_is_made() -> None:
    with pytest.raises(PatternError, match="an axis of 8 does not split") as caught:
        Drop("b t (g k) -> b g", k=3)(keras.Input((5, 8)))
    assert "shape: (None, 5, 8)" in str(caught.value)
    with pytest.raises(PatternError, match="has 4 for axis 1 of size 5"):
        Dropout(0.5, (None, 4, 8))(keras.Input((5, 8)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SpatialDropout2D(1.5), "rate is the fraction to drop, from 0 to 1, not 1.5"),
        (lambda: SpatialDropout2D(float("nan")), "rate is the fraction to drop"),
        (lambda: Dropout(WRONG["rate"]), "rate is the fraction to drop"),
        (lambda: SpatialDropout2D(0.5, "NCHW"), "data_format is one of"),
        (lambda: DropBlock2D(0.1, (3, 3, 3)), "block_size is one size or 2"),
        (lambda: Drop("b c"), "one '->'"),
        (lambda: Dropout(0.5, seed=-1), "seed is a whole number"),
        (lambda: Dropout(0.5, seed=2**64), "seed is a whole number"),
        (lambda: Dropout(0.5, seed=WRONG["seed"]), "seed is a whole number"),
        (lambda: Dropout(0.5, (0, 1)), "noise_shape has for each axis"),
        (lambda: Dropout(0.5, WRONG["noise_shape"]), "noise_shape has for each axis"),
        (lambda: SpatialDropout1D(0.5, seeds=1), "unknown arguments seeds"),
    ],
)
def test_wrong_arguments_are_refused_when_the_layer_is_made(make: Make, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        make()
