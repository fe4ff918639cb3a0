"""Another library's name for an argument is an error that says ours, in each framework."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import framework

# What each framework calls the rate, and how its layers for maps end.
HOMES = {"torch": ("p", "d"), "keras": ("rate", "D"), "flax": ("rate", "d"), "equinox": ("p", "d")}
homes = pytest.mark.parametrize("home", HOMES)
RATES = ("drop_prob", "drop_rate", "dropout", "dropout_rate", "prob")
LAYERS: dict[str, Callable[[Any, str], Any]] = {
    "Dropout": lambda m, d: m.Dropout,
    "DropPath": lambda m, d: m.DropPath,
    "SpatialDropout": lambda m, d: getattr(m, f"SpatialDropout2{d}"),
    "DropBlock": lambda m, d: getattr(m, f"DropBlock2{d}"),
}
layers = pytest.mark.parametrize("layer", LAYERS)


def made_by(home: str, layer: str) -> Any:
    framework({"torch": "torch", "keras": "keras", "flax": "flax"}.get(home, "equinox"))
    return LAYERS[layer](framework(f"mapdrop.{home}"), HOMES[home][1])


@homes
@layers
def test_an_argument_of_another_library_is_named_as_ours(home: str, layer: str) -> None:
    kind, (rate, _) = made_by(home, layer), HOMES[home]
    for name in (*RATES, "rate" if rate == "p" else "p"):
        message = f"{kind.__name__} has no argument {name}: set {rate}, the fraction to drop$"
        with pytest.raises(TypeError, match=message):
            kind(**{name: 0.1})
    with pytest.raises(
        TypeError, match=f"set {rate}, the fraction to drop, which is 1 - keep_prob"
    ):
        kind(keep_prob=0.9)


@homes
@pytest.mark.parametrize(
    ("layer", "name", "value", "advice"),
    [
        ("DropPath", "scale_by_keep", False, "set scale=None to leave kept values as they are"),
        ("DropBlock", "couple_channels", True, "Drop('b c h w -> b h w', ...)"),
        ("DropBlock", "gamma_scale", 0.5, "the mean drop of blocks is the rate itself"),
        ("SpatialDropout", "noise_shape", (1, 1, 1, 3), "the pattern of a Drop names the axes"),
        ("SpatialDropout", "broadcast_dims", (1, 2), "the pattern of a Drop names the axes"),
    ],
)
def test_other_settings_have_advice(
    home: str, layer: str, name: str, value: Any, advice: str
) -> None:
    with pytest.raises(TypeError, match=f"has no argument {name}: ") as error:
        made_by(home, layer)(0.1, **{name: value})
    assert advice in str(error.value)


@homes
def test_a_drop_takes_no_rate_for_the_size_of_an_axis(home: str) -> None:
    rate, _ = HOMES[home]
    framework(home)
    drop = framework(f"mapdrop.{home}").Drop
    with pytest.raises(ValueError, match=r"keep_prob=0.9 gives a size for an axis that [^$]*") as e:
        drop("b c -> b", keep_prob=0.9)
    assert f"instead: set {rate}, the fraction to drop, which is 1 - keep_prob" in str(e.value)
    with pytest.raises(ValueError, match="a keyword among b, g, k, or name 'j' on the left"):
        drop("b (g k) -> b g", 0.5, j=4)
    assert drop("b (g prob) -> b g", 0.5, prob=4).sizes == (("prob", 4),)


@homes
@layers
def test_any_other_unknown_argument_is_python_s_own_error(home: str, layer: str) -> None:
    with pytest.raises((TypeError, ValueError)) as error:
        made_by(home, layer)(0.1, colour="red")
    assert "colour" in str(error.value)
    assert "has no argument" not in str(error.value)


@homes
@layers
def test_signatures_are_those_of_the_source(home: str, layer: str) -> None:
    """Which tools show, and Keras reads."""
    kind, (rate, _) = made_by(home, layer), HOMES[home]
    assert list(inspect.signature(kind.__init__).parameters)[:2] == ["self", rate]
    assert inspect.getfullargspec(kind.__init__).args[:2] == ["self", rate]


def test_a_class_of_the_user_s_own_may_have_any_argument() -> None:
    torch = framework("mapdrop.torch")

    class Ramp(torch.DropPath):  # type: ignore[misc, name-defined] # A module's attribute.
        def __init__(self, drop_prob: float, **options: Any) -> None:
            super().__init__(drop_prob / 2, **options)

    assert Ramp(drop_prob=0.2).p == 0.1
    with pytest.raises(TypeError, match="Ramp has no argument scale_by_keep: set scale=None"):
        Ramp(0.2, scale_by_keep=False)
