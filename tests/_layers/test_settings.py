"""What a layer is told after it was made: it holds, or an error says what to do."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.conftest import framework

SHAPE = (6, 9, 9, 8)


class Home:
    """A framework's layers, and how one of them drops by a seed."""

    rate = "p"

    def __init__(self, name: str, dropped: Callable[[Any, NDArray[Any]], Any]) -> None:
        self.name, self.dropped = name, dropped

    @property
    def layers(self) -> Any:
        framework(self.name)
        return framework(f"mapdrop.{self.name}")


class Flax(Home):
    rate = "rate"


def _torch(layer: Any, x: NDArray[Any]) -> Any:
    torch = framework("torch")
    torch.manual_seed(3)
    return layer(torch.from_numpy(x)).numpy()


def _flax(layer: Any, x: NDArray[Any]) -> Any:
    jax = framework("jax")
    return np.asarray(layer(jax.numpy.asarray(x), rngs=jax.random.key(3)))


HOMES = (Home("torch", _torch), Flax("flax", _flax))
homes = pytest.mark.parametrize("home", HOMES, ids=lambda home: home.name)
Make = Callable[..., Any]
# The layer: how it is made at a rate, for (b, h, w, c).
LAYERS: dict[str, Make] = {
    "Drop": lambda m, p: m.Drop("b h w c -> b c", p),
    "Dropout": lambda m, p: m.Dropout(p),
    "DropPath": lambda m, p: m.DropPath(p),
    "SpatialDropout2d": lambda m, p: m.SpatialDropout2d(p, "channels_last"),
    "DropBlock2d": lambda m, p: m.DropBlock2d(p, 3, "channels_last"),
}
every = pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
# What is set: the layer, the setting, its value; the layer that it is then.
SET: dict[str, tuple[Make, str, Any, Make]] = {
    "exact": (
        lambda m: m.Drop("b h w c -> b c"), "exact", "c",
        lambda m: m.Drop("b h w c -> b c", exact="c"),
    ),
    "balance": (
        lambda m: m.Drop("b h w c -> b c"), "balance", "b",
        lambda m: m.Drop("b h w c -> b c", balance="b"),
    ),
    "pattern": (
        lambda m: m.Drop("b h w c -> b c"), "pattern", "b h w c -> c",
        lambda m: m.Drop("b h w c -> c"),
    ),
    "block": (
        lambda m: m.Drop("b h w c -> b h w"), "block", {"h": 3},
        lambda m: m.Drop("b h w c -> b h w", block={"h": 3}),
    ),
    "sizes": (
        lambda m: m.Drop("b h w (g k) -> b g", k=2), "sizes", {"k": 4},
        lambda m: m.Drop("b h w (g k) -> b g", k=4),
    ),
    "block_size": (
        lambda m: m.DropBlock2d(0.3, 3, "channels_last"), "block_size", 2,
        lambda m: m.DropBlock2d(0.3, 2, "channels_last"),
    ),
    "block sizes": (
        lambda m: m.DropBlock2d(0.3, 3, "channels_last"), "block_size", (3, 2),
        lambda m: m.DropBlock2d(0.3, (3, 2), "channels_last"),
    ),
    "region": (
        lambda m: m.DropBlock2d(0.3, 5, "channels_last"), "region", "full",
        lambda m: m.DropBlock2d(0.3, 5, "channels_last", region="full"),
    ),
    "balance of a path": (
        lambda m: m.DropPath(0.3), "balance", "b", lambda m: m.DropPath(0.3, balance=True),
    ),
    "balance taken away": (
        lambda m: m.DropPath(0.3, balance=True), "balance", None, lambda m: m.DropPath(0.3),
    ),
    "scale": (lambda m: m.DropPath(0.5), "scale", None, lambda m: m.DropPath(0.5, scale=None)),
}  # fmt: skip
WRONG: dict[str, tuple[Make, str, Any, str]] = {
    "rate above 1": (lambda m: m.Dropout(0.5), "rate", 1.7, "the fraction to drop, .*, not 1.7"),
    "rate below 0": (lambda m: m.DropPath(0.5), "rate", -0.1, "the fraction to drop"),
    "rate NaN": (lambda m: m.DropPath(0.5), "rate", float("nan"), "the fraction to drop"),
    "rate True": (lambda m: m.DropBlock2d(0.5), "rate", True, "the fraction to drop"),
    "drop_rate": (lambda m: m.Dropout(0.5), "drop_rate", 0.1, "Dropout has no drop_rate: set"),
    "keep_prob": (lambda m: m.DropPath(0.5), "keep_prob", 0.1, "DropPath has no keep_prob: set"),
    "exact": (lambda m: m.Drop("b c -> b"), "exact", "c", "exact='c' does not name an axis"),
    "balance": (lambda m: m.SpatialDropout2d(), "balance", True, "balance=True does not name"),
    "survival_prob": (
        lambda m: m.Dropout(), "survival_prob", 0.9, "which is 1 - survival_prob",
    ),
    "scale_by_keep": (lambda m: m.DropPath(), "scale_by_keep", False, "set scale=None"),
    "couple_channels": (lambda m: m.DropBlock2d(), "couple_channels", True, "without c on its"),
    "sizes": (lambda m: m.Drop("b (g k) -> b g", k=2), "sizes", {"j": 2}, "j=2 gives a size for"),
    "block": (lambda m: m.DropBlock2d(), "block", {"x": 3}, "block='x' does not name an axis"),
    "block 0": (lambda m: m.DropBlock2d(), "block", {"h": 0}, "is not a size"),
    "block 3": (lambda m: m.DropBlock2d(), "block", 3, "block gives a size for each axis"),
    "block_size": (lambda m: m.DropBlock2d(), "block_size", (3, 3, 3), "one size or 2 of them"),
    "region": (lambda m: m.DropBlock2d(), "region", "all", "region is one of"),
    "scale": (lambda m: m.Dropout(), "scale", "mean", "scale is one of"),
    "pattern": (lambda m: m.Drop("b c -> b"), "pattern", "b c", "a pattern has one '->'"),
    "share": (lambda m: m.SpatialDropout2d(share=2), "share", 4, "make another SpatialDropout2d"),
    "data_format": (
        lambda m: m.DropBlock2d(), "data_format", "channels_last", "make another DropBlock2d",
    ),
}  # fmt: skip


def inputs() -> NDArray[Any]:
    return np.random.default_rng(0).standard_normal(SHAPE, np.float32)


@homes
@every
def test_a_rate_that_is_set_later_holds(home: Home, make: Make) -> None:
    layer = make(home.layers, 0.0)
    setattr(layer, home.rate, 0.25)
    x = inputs()
    came = home.dropped(layer, x)
    assert np.array_equal(came, home.dropped(make(home.layers, 0.25), x))
    assert 0 < (came == 0).mean() < 0.75
    assert f"{home.rate}=0.25" in repr(layer)


@every
def test_drop_prob_is_p_in_torch(make: Make) -> None:
    home = HOMES[0]
    layer = make(home.layers, 0.0)
    layer.drop_prob = 0.25
    assert (layer.p, layer.drop_prob) == (0.25, 0.25)
    x = inputs()
    assert np.array_equal(home.dropped(layer, x), home.dropped(make(home.layers, 0.25), x))
    with pytest.raises(ValueError, match=r"the fraction to drop, from 0 to 1, not 1\.7"):
        layer.drop_prob = 1.7
    assert layer.p == 0.25


def test_drop_prob_is_refused_where_no_library_of_the_framework_has_it() -> None:
    with pytest.raises(AttributeError, match="DropPath has no drop_prob: set rate"):
        HOMES[1].layers.DropPath(0.1).drop_prob = 0.2


@homes
@pytest.mark.parametrize("case", SET)
def test_a_setting_that_is_set_later_holds(home: Home, case: str) -> None:
    make, name, value, wanted = SET[case]
    layer, x = make(home.layers), inputs()
    setattr(layer, name, value)
    came = home.dropped(layer, x)
    assert np.array_equal(came, home.dropped(wanted(home.layers), x))
    assert not np.array_equal(came, home.dropped(make(home.layers), x))


@homes
@pytest.mark.parametrize("case", WRONG)
def test_a_setting_is_checked_when_it_is_set(home: Home, case: str) -> None:
    make, name, value, message = WRONG[case]
    layer = make(home.layers)
    before = dict(vars(layer))
    with pytest.raises((ValueError, TypeError, AttributeError), match=message):
        setattr(layer, home.rate if name == "rate" else name, value)
    assert vars(layer) == before


@homes
@pytest.mark.parametrize("twin", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_a_copy_is_set_like_its_original(home: Home, twin: Callable[[Any], Any]) -> None:
    layer = twin(home.layers.DropBlock2d(0.0, 3, "channels_last"))
    setattr(layer, home.rate, 0.3)
    layer.block_size = 2
    wanted = home.layers.DropBlock2d(0.3, 2, "channels_last")
    assert np.array_equal(home.dropped(layer, inputs()), home.dropped(wanted, inputs()))
    with pytest.raises(AttributeError, match="make another"):
        layer.data_format = "channels_first"


@homes
def test_attributes_of_the_user_s_own_are_none_of_ours(home: Home) -> None:
    layer = home.layers.DropPath(0.1)
    layer.depth, layer.place = 3, "stage 2"
    assert (layer.depth, layer.place) == (3, "stage 2")


def test_compiled_code_follows_the_rate() -> None:
    torch = framework("torch")
    torch._dynamo.reset()  # Its limit of compilations is for all layers of a process.
    layer = HOMES[0].layers.DropPath(0.0)
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    x = torch.ones(4000, 2)
    assert compiled(x) is x
    for rate in (0.25, 0.5):
        layer.drop_prob = rate
        dropped = (compiled(x) == 0).float().mean().item()
        assert abs(dropped - rate) < 5 * (rate * (1 - rate) / 4000) ** 0.5


def test_equinox_layers_are_frozen() -> None:
    layer = framework("mapdrop.equinox").DropPath(0.1)
    with pytest.raises(AttributeError):
        layer.p = 0.2
    with pytest.raises(AttributeError):
        layer.drop_prob = 0.2
