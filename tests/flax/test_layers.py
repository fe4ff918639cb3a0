"""The layers for Flax NNX and Equinox: one body for what both have, then what each has alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import Array

import mapdrop.equinox
import mapdrop.flax
from mapdrop import PatternError
from tests.checks import check_balanced

KEY = jax.random.key(4)
HOMES: dict[str, Any] = {"flax": mapdrop.flax, "equinox": mapdrop.equinox}
SPACE = {1: (6,), 2: (6, 5), 3: (6, 5, 4)}
homes = pytest.mark.parametrize("home", HOMES.values(), ids=HOMES)
families = pytest.mark.parametrize("family", ["SpatialDropout", "DropBlock"])
all_dims = pytest.mark.parametrize("dims", [1, 2, 3])


def normal(shape: tuple[int, ...]) -> Array:
    return jnp.asarray(np.random.default_rng(0).standard_normal(shape, np.float32))


def call(layer: Any, x: Array, key: Array = KEY) -> Array:
    """The layer in training, with this key."""
    came: Array = layer(x, key=key) if isinstance(layer, eqx.Module) else layer(x, rngs=key)
    return came


def shape(home: Any, dims: int) -> tuple[int, ...]:
    """An input of the default layout: channels last in a batch, or channels first in a sample."""
    return (4, *SPACE[dims], 10) if home is mapdrop.flax else (10, *SPACE[dims])


LAYERS: dict[str, tuple[Callable[[], Any], tuple[int, ...], tuple[int, ...]]] = {
    # name: layer, shape, axes with coins of their own
    "flax Drop": (lambda: mapdrop.flax.Drop("b h w c -> w c"), (8, 3, 16, 9), (2, 3)),
    "flax Dropout": (mapdrop.flax.Dropout, (8, 16, 3), (0, 1, 2)),
    "flax DropPath": (lambda: mapdrop.flax.DropPath(0.5), (64, 3, 2), (0,)),
    "flax DropPath, balance": (
        lambda: mapdrop.flax.DropPath(0.5, balance=True), (64, 3, 2), (0,),
    ),
    "flax SpatialDropout1d": (mapdrop.flax.SpatialDropout1d, (8, 6, 16), (0, 2)),
    "flax SpatialDropout2d": (mapdrop.flax.SpatialDropout2d, (8, 6, 5, 16), (0, 3)),
    "flax SpatialDropout3d": (mapdrop.flax.SpatialDropout3d, (8, 6, 5, 4, 16), (0, 4)),
    "flax channels first": (
        lambda: mapdrop.flax.SpatialDropout2d(0.5, "channels_first"), (8, 16, 6, 5), (0, 1),
    ),
    "equinox Drop": (lambda: mapdrop.equinox.Drop("c h w -> c w"), (16, 3, 9), (0, 2)),
    "equinox Dropout": (mapdrop.equinox.Dropout, (16, 9), (0, 1)),
    "equinox SpatialDropout1d": (mapdrop.equinox.SpatialDropout1d, (32, 6), (0,)),
    "equinox SpatialDropout2d": (mapdrop.equinox.SpatialDropout2d, (32, 6, 5), (0,)),
    "equinox SpatialDropout3d": (mapdrop.equinox.SpatialDropout3d, (32, 6, 5, 4), (0,)),
    "equinox channels last": (
        lambda: mapdrop.equinox.SpatialDropout2d(data_format="channels_last"), (6, 5, 32), (2,),
    ),
}  # fmt: skip
every = pytest.mark.parametrize(
    ("make", "size", "own"), [pytest.param(*case, id=name) for name, case in LAYERS.items()]
)


@every
def test_training_drops_along_the_right_axes(
    make: Callable[[], Any], size: tuple[int, ...], own: tuple[int, ...]
) -> None:
    layer = make()
    y = np.asarray(call(layer, jnp.ones(size)))
    others = tuple(axis for axis in range(len(size)) if axis not in own)
    # Shared: nothing changes along the other axes. Not shared: both kinds occur along each own one.
    assert np.array_equal(np.broadcast_to(y.max(others, keepdims=True), size), y)
    assert set(np.unique(y)) == {0.0, 2.0}
    for axis in own:
        assert (y != np.take(y, [0], axis)).any()
    assert not np.array_equal(call(layer, jnp.ones(size), jax.random.key(5)), y)


@every
def test_it_is_mapdrop_s_function_with_the_key_as_seed(
    make: Callable[[], Any], size: tuple[int, ...], own: tuple[int, ...]
) -> None:
    layer, x = make(), normal(size)
    wanted = mapdrop.drop(x, layer.pattern, 0.5, seed=KEY, balance=layer.balance)
    assert np.array_equal(call(layer, x), wanted)
    assert np.array_equal(jax.jit(lambda x, key: call(layer, x, key))(x, KEY), wanted)


@homes
def test_p_0_needs_no_key(home: Any) -> None:
    x = jnp.ones(3)
    assert home.Dropout(0.0)(x) is x


@homes
@families
@all_dims
def test_both_data_formats_have_one_mask(home: Any, family: str, dims: int) -> None:
    made = getattr(home, f"{family}{dims}d")
    x = normal(shape(home, dims))
    batch = home is mapdrop.flax
    y = call(made(0.4), x)
    if batch:
        z = call(made(0.4, data_format="channels_first"), jnp.moveaxis(x, -1, 1))
        z = jnp.moveaxis(z, 1, -1)
    else:
        z = call(made(0.4, data_format="channels_last"), jnp.moveaxis(x, 0, -1))
        z = jnp.moveaxis(z, -1, 0)
    assert np.array_equal(y, z)
    assert 0 < (y == 0).sum() < y.size


@homes
@families
@all_dims
@pytest.mark.parametrize("rank", [1, 2, 3, 4, 5, 6])
def test_a_wrong_rank_says_which_layer_to_use(home: Any, family: str, dims: int, rank: int) -> None:
    layer, x = getattr(home, f"{family}{dims}d")(), jnp.ones((2,) * rank)
    extra = 2 if home is mapdrop.flax else 1
    if rank == dims + extra:
        assert call(layer, x).shape == x.shape
        return
    with pytest.raises(PatternError, match=f"{family}{dims}d takes {dims + extra} axes") as caught:
        call(layer, x)
    said = str(caught.value)
    assert str(x.shape) in said
    if 1 <= rank - extra <= 3:
        assert f"{family}{rank - extra}d for a" in said
    if extra == 1 and rank == dims + 2:
        assert "jax.vmap for a batch, with a key for each sample" in said
    if extra == 2 and rank == dims + 1:
        assert "x[None] for one sample" in said


@homes
@all_dims
def test_dropblock_drops_whole_blocks_at_the_rate_it_was_told(home: Any, dims: int) -> None:
    layer = getattr(home, f"DropBlock{dims}d")(0.25, 3)
    lead = (300,) if home is mapdrop.flax else ()
    size = (*lead, *SPACE[dims], 8) if lead else (2400, *SPACE[dims])
    y = np.asarray(call(layer, jnp.ones(size)))
    assert abs((y == 0).mean() - 0.25) < 0.02  # About five standard deviations.
    maps = np.moveaxis(y, -1, 1).reshape(-1, *SPACE[dims]) if lead else y
    axes = tuple(range(1, dims + 1))
    windows = np.lib.stride_tricks.sliding_window_view(maps == 0, (3,) * dims, axes)
    whole = windows.all(tuple(range(-dims, 0)))  # Where a whole block starts that is dropped.
    padded = np.pad(whole, [(0, 0), *[(2, 2)] * dims])
    covered = np.lib.stride_tricks.sliding_window_view(padded, (3,) * dims, axes)
    assert np.array_equal(covered.any(tuple(range(-dims, 0))), maps == 0)


@homes
@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("SpatialDropout2d", {"data_format": "NCHW"}, "data_format is one of"),
        ("DropBlock2d", {"block_size": (3, 3, 3)}, "block_size is one size or 2"),
        ("Drop", {"pattern": "b c"}, "one '->'"),
    ],
    ids=["format", "block sizes", "pattern"],
)
def test_wrong_arguments_are_refused_when_made(
    home: Any, name: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        getattr(home, name)(**options)


@homes
@pytest.mark.parametrize("p", [-0.1, 1.1, float("nan"), "0.5", True, None])
def test_a_wrong_rate_is_refused_when_made(home: Any, p: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=r"(p|rate) is the fraction to drop"):
        home.SpatialDropout2d(p)


# --- Flax NNX.


class Net(nnx.Module):
    """A convolution between two drop layers."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.first = mapdrop.flax.SpatialDropout2d(0.5, rngs=rngs)
        self.conv = nnx.Conv(4, 8, (3, 3), rngs=rngs)
        self.path = mapdrop.flax.DropPath(0.5, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        return self.path(self.conv(self.first(x)))


def test_a_model_in_training_and_in_evaluation() -> None:
    net, x = Net(nnx.Rngs(0, dropout=1)), jnp.ones((16, 5, 5, 4))
    first, second = net(x), net(x)
    assert not np.array_equal(first, second)
    assert np.array_equal(Net(nnx.Rngs(0, dropout=1))(x), first)
    assert not np.array_equal(Net(nnx.Rngs(0, dropout=2))(x), first)
    net.eval()
    assert net.first(x) is x
    assert np.array_equal(net(x), net.conv(x))
    assert net.first(x, deterministic=False, rngs=KEY) is not x
    net.train()
    assert net.first(x, deterministic=True) is x
    assert not np.array_equal(net(x), net.conv(x))
    view = nnx.view(net, deterministic=True)
    assert np.array_equal(view(x), net.conv(x))


def test_a_training_step_draws_a_key_each_time() -> None:
    net, x = Net(nnx.Rngs(0)), jnp.ones((16, 5, 5, 4))

    @nnx.jit
    def step(net: Net, x: Array) -> tuple[Array, Any]:
        return nnx.value_and_grad(lambda net: (net(x) ** 2).sum())(net)

    losses = {float(step(net, x)[0]) for _ in range(4)}
    assert len(losses) == 4
    _, gradients = step(net, x)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))


def test_where_keys_come_from() -> None:
    x, rngs = jnp.ones((64, 3)), nnx.Rngs(0, mine=7)
    named = mapdrop.flax.Dropout(0.5, rng_collection="mine", rngs=rngs)
    stream = mapdrop.flax.Dropout(0.5, rngs=nnx.Rngs(0, mine=7)["mine"])
    first = named(x)
    assert np.array_equal(stream(x), first)
    # Given in the call: goes before.
    given = nnx.Rngs(dropout=7)
    key = nnx.Rngs(dropout=7)["dropout"]()
    assert np.array_equal(named(x, rngs=nnx.Rngs(mine=7)), call(named, x, key))
    assert np.array_equal(mapdrop.flax.Dropout(0.5)(x, rngs=given), call(named, x, key))
    assert np.array_equal(named(x, rngs=nnx.Rngs(dropout=7)["dropout"]), call(named, x, key))
    with pytest.raises(ValueError, match=r"Dropout has no keys to draw from: give rngs=nnx\.Rngs"):
        mapdrop.flax.Dropout(0.5)(x)


@pytest.mark.parametrize("batch", [8, 7, 3, 1])
def test_share_gives_samples_in_a_row_one_mask(batch: int) -> None:
    layer = mapdrop.flax.SpatialDropout2d(0.5, share=3)
    y = np.asarray(call(layer, jnp.ones((batch, 2, 2, 64))))[:, 0, 0]
    for i in range(batch):
        assert np.array_equal(y[i], y[i - i % 3])
    for i in range(3, batch, 3):
        assert not np.array_equal(y[i], y[i - 3])


def test_balance_keeps_every_map_equally_often() -> None:
    x = jnp.ones((8, 1, 1, 100))
    y = call(mapdrop.flax.SpatialDropout2d(0.5, balance=True), x)
    assert set(np.asarray((y != 0).sum(0)).ravel()) == {4}
    plain = call(mapdrop.flax.SpatialDropout2d(0.5), x)
    assert len(set(np.asarray((plain != 0).sum(0)).ravel())) > 1


def test_a_balanced_path_keeps_floor_or_ceil_and_each_sample_at_the_rate() -> None:
    def dropped(layer: Any) -> Callable[[Any], Any]:
        return lambda x: np.asarray(layer(jnp.asarray(x)))

    keys = nnx.Rngs(0)
    check_balanced(dropped(mapdrop.flax.DropPath(0.3, balance=True, rngs=keys)))
    with pytest.raises(AssertionError, match="kept of"):
        check_balanced(dropped(mapdrop.flax.DropPath(0.3, rngs=keys)))


@pytest.mark.parametrize("share", [0, True, 1.5])
def test_a_wrong_share_is_refused(share: Any) -> None:
    with pytest.raises(ValueError, match="share is how many samples"):
        mapdrop.flax.SpatialDropout2d(share=share)


def test_equal_to_flax_s_own_given_its_mask() -> None:
    """Against a layer nobody here wrote: given its mask, the values are its values."""
    x = normal((8, 5, 5, 16))
    theirs = nnx.Dropout(0.25, broadcast_dims=(1, 2))(x, rngs=KEY)
    kept = np.asarray((theirs != 0).any((1, 2)))
    ours = mapdrop.mask("b h w c -> b c", x.shape, 0.25, seed=0)
    same = mapdrop.Mask(ours.binding, 0.25, kept, ours.scale)
    np.testing.assert_allclose(same.apply(x), theirs, rtol=1e-6)  # They divide by 0.75.


# --- Equinox.


def test_a_batch_by_vmap_has_a_mask_for_each_sample() -> None:
    layer, keys = mapdrop.equinox.SpatialDropout2d(0.5), jax.random.split(KEY, 5)
    x = normal((5, 32, 3, 3))
    y = jax.vmap(lambda x, key: layer(x, key=key))(x, keys)
    for i, key in enumerate(keys):
        assert np.array_equal(y[i], layer(x[i], key=key))
    assert not np.array_equal(y[0] == 0, y[1] == 0)


def test_a_path_is_dropped_whole() -> None:
    keys = jax.random.split(KEY, 64)
    y = jax.vmap(lambda key: mapdrop.equinox.DropPath(0.5)(jnp.ones((3, 2)), key=key))(keys)
    assert set(np.unique(y)) == {0.0, 2.0}
    assert (y == y[:, :1, :1]).all()


def test_exactly_so_many_maps_survive() -> None:
    layer = mapdrop.equinox.SpatialDropout2d(0.25, exact=True)
    for key in jax.random.split(KEY, 4):
        y = layer(jnp.ones((12, 2, 2)), key=key)
        assert int((y[:, 0, 0] != 0).sum()) == 9


def test_inference_and_keys() -> None:
    x, layer = jnp.ones((4, 5)), mapdrop.equinox.Dropout(0.5)
    with pytest.raises(RuntimeError, match="Dropout is called with a key in training"):
        layer(x)
    assert layer(x, inference=True) is x
    model = eqx.nn.Sequential([eqx.nn.Linear(5, 6, key=KEY), eqx.nn.Lambda(jax.nn.relu), layer])
    still = eqx.nn.inference_mode(model)
    assert np.array_equal(still(x[0]), jax.nn.relu(model[0](x[0])))
    assert np.array_equal(eqx.nn.inference_mode(still, value=False)(x[0], key=KEY),
                          model(x[0], key=KEY))  # fmt: skip
    assert layer(x, key=KEY, inference=False) is not x


def test_filtered_transformations_and_changed_rates() -> None:
    x, layer = normal((40, 5)), mapdrop.equinox.SpatialDropout1d(0.5)
    linear = eqx.nn.Linear(5, 6, key=KEY)

    @eqx.filter_jit
    @eqx.filter_value_and_grad
    def loss(model: Any, x: Array, key: Array) -> Array:
        return (model[1](jax.vmap(model[0])(x), key=key) ** 2).sum()

    value, gradient = loss((linear, layer), x, KEY)
    wanted = (mapdrop.drop(jax.vmap(linear)(x), "c t -> c", 0.5, seed=KEY) ** 2).sum()
    np.testing.assert_allclose(value, wanted, rtol=1e-6)
    assert np.abs(gradient[0].weight).sum() > 0
    more = eqx.tree_at(lambda layer: layer.p, layer, 0.9)
    assert np.array_equal(more(x, key=KEY), mapdrop.drop(x, "c t -> c", 0.9, seed=KEY))
    with pytest.raises(TypeError, match="p decides what is compiled"):
        jax.jit(lambda p: eqx.tree_at(lambda layer: layer.p, layer, p)(x, key=KEY))(0.5)
