"""Every call that is claimed to mean the same is run, and has to share the same coins.

PyTorch is the real one. The other frameworks are modelled here in NumPy from what their
documentation says of each argument.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import mapdrop
from mapdrop.tools.explain.equivalents import Equivalent, equivalents
from mapdrop.tools.explain.request import Request
from mapdrop.tools.explain.structure import structure
from tests.tools.explain.requests import request

SHAPES = {2: (3, 4), 3: (3, 2, 4), 4: (3, 2, 4, 2), 5: (2, 3, 2, 2, 3)}
DRAWS = 64
Array = NDArray[Any]
NAMES = "abcde"
RNG = np.random.default_rng(0)


# Each set of axes that can have coins of their own, for arrays of 2 to 5 axes.
EVERY = [
    (rank, own)
    for rank in SHAPES
    for many in range(rank + 1)
    for own in itertools.combinations(range(rank), many)
]


def pattern_of(rank: int, own: tuple[int, ...]) -> str:
    return f"{' '.join(NAMES[:rank])} -> {' '.join(NAMES[axis] for axis in own)}"


def claims(given: Request, shape: tuple[int, ...]) -> list[Equivalent]:
    return equivalents(structure(given.bind(shape)), shape, given.p)


def sharing(draw: Callable[[], Array]) -> list[int]:
    """Which values always fall together: for each the first one that does as it does."""
    fallen = np.stack([np.asarray(draw()).ravel() == 0 for _ in range(DRAWS)])
    first: dict[bytes, int] = {}
    return [first.setdefault(column.tobytes(), i) for i, column in enumerate(fallen.T)]


def sharing_of(given: Request, shape: tuple[int, ...]) -> list[int]:
    seeds = itertools.count()
    x = np.ones(shape)
    return sharing(lambda: mapdrop.drop(x, given.pattern, given.p, seed=next(seeds)))


# --- The models.


def masked(x: Array, p: float, shape: tuple[int, ...]) -> Array:
    return np.asarray(x * (RNG.random(shape) >= p) / (1 - p))


def own_axes(x: Array, axes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(n if axis in axes else 1 for axis, n in enumerate(x.shape))


class KerasDropout:
    """None in `noise_shape` is the input's size there."""

    def __init__(self, rate: float, noise_shape: tuple[int | None, ...] | None = None) -> None:
        self.rate, self.noise_shape = rate, noise_shape

    def __call__(self, x: Array) -> Array:
        given = self.noise_shape or (None,) * x.ndim
        assert len(given) == x.ndim
        sizes = tuple(n if m is None else m for n, m in zip(x.shape, given, strict=True))
        return masked(x, self.rate, sizes)


def keras_spatial(dims: int) -> Callable[..., Callable[[Array], Array]]:
    """Channels are last in SpatialDropout1D, and where `data_format` says in the others."""

    def layer(rate: float, **given: str) -> Callable[[Array], Array]:
        assert set(given) <= ({"data_format"} if dims > 1 else set())
        first = given.get("data_format") == "channels_first"

        def call(x: Array) -> Array:
            assert x.ndim == dims + 2
            return masked(x, rate, own_axes(x, (0, 1 if first else x.ndim - 1)))

        return call

    return layer


def tf_dropout(x: Array, rate: float, noise_shape: tuple[int, ...] | None = None) -> Array:
    return masked(x, rate, noise_shape or x.shape)


def flax_dropout(rate: float, broadcast_dims: tuple[int, ...] = (), *, rngs: Any) -> Any:
    """`broadcast_dims`: dimensions that share a mask."""

    def call(x: Array) -> Array:
        return masked(x, rate, own_axes(x, tuple(set(range(x.ndim)) - set(broadcast_dims))))

    return call


def paddle_dropout(x: Array, p: float, axis: list[int] | None = None) -> Array:
    """`axis`: along which the dropout is performed; it must not be empty."""
    axes = tuple(range(x.ndim)) if axis is None else tuple(axis)
    assert min(axes) >= 0
    return masked(x, p, own_axes(x, axes))


def stochastic_depth(x: Array, p: float, mode: str) -> Array:
    assert mode in ("row", "batch")
    return masked(x, p, own_axes(x, (0,) if mode == "row" else ()))


def drop_path(p: float) -> Callable[[Array], Array]:
    return lambda x: masked(x, p, own_axes(x, (0,)))


def run(claim: Equivalent, shape: tuple[int, ...]) -> Array:
    """The claimed call's result for an array of ones."""
    if claim.framework == "PyTorch":
        return np.asarray(eval(claim.call, {"nn": torch.nn, "x": torch.ones(shape)}))
    layers = {f"SpatialDropout{dims}D": keras_spatial(dims) for dims in (1, 2, 3)}
    known = {
        "x": np.ones(shape),
        "stochastic_depth": stochastic_depth,
        "DropPath": drop_path,
        "layers": SimpleNamespace(Dropout=KerasDropout, **layers),
        "tf": SimpleNamespace(nn=SimpleNamespace(dropout=tf_dropout)),
        "nnx": SimpleNamespace(Dropout=flax_dropout),
        "rngs": None,
        "F": SimpleNamespace(dropout=paddle_dropout),
    }
    return np.asarray(eval(claim.call, known))


# --- The tests.


@pytest.mark.parametrize(("rank", "own"), EVERY, ids=lambda value: str(value))
def test_what_is_claimed_shares_the_same_coins(rank: int, own: tuple[int, ...]) -> None:
    shape = SHAPES[rank]
    given = request(pattern_of(rank, own), 0.5)
    expected = sharing_of(given, shape)
    for claim in claims(given, shape):
        if claim.call:
            assert not claim.near
            result = run(claim, shape)
            assert result.shape == shape, claim
            assert set(np.unique(result)) <= {0.0, 2.0}, claim
            assert sharing(lambda claim=claim: run(claim, shape)) == expected, claim  # type: ignore[misc]


@pytest.mark.parametrize(("rank", "own"), EVERY, ids=lambda value: str(value))
def test_nothing_that_can_be_said_is_missed(rank: int, own: tuple[int, ...]) -> None:
    found = {
        c.framework for c in claims(request(pattern_of(rank, own), 0.5), SHAPES[rank]) if c.call
    }
    assert {"Keras", "TensorFlow", "Flax"} <= found
    assert ("Paddle" in found) == bool(own)
    assert ("PyTorch" in found) == (len(own) == rank or (len(own) == 2 and rank > 2))
    assert ("torchvision" in found) == (own in ((), (0,)))
    assert ("timm" in found) == (own == (0,))


@pytest.mark.parametrize(
    ("pattern", "layer"),
    [
        ("b c t -> b c", "nn.Dropout1d(0.5)(x)"),
        ("b c h w -> b c", "nn.Dropout2d(0.5)(x)"),
        ("n c d h w -> n c", "nn.Dropout3d(0.5)(x)"),
        ("b h w c -> b c", "nn.Dropout2d(0.5)(x.movedim(3, 1)).movedim(1, 3)"),
        ("b h w c -> b c", 'layers.SpatialDropout2D(0.5, data_format="channels_last")(x)'),
        ("b c h w -> b c", 'layers.SpatialDropout2D(0.5, data_format="channels_first")(x)'),
        ("b t c -> b c", "layers.SpatialDropout1D(0.5)(x)"),
        ("b d h w c -> b c", 'layers.SpatialDropout3D(0.5, data_format="channels_last")(x)'),
        ("b h w c -> b c", "layers.Dropout(0.5, noise_shape=(None, 1, 1, None))(x)"),
        ("b h w c -> b c", "nnx.Dropout(0.5, broadcast_dims=(1, 2), rngs=rngs)(x)"),
        ("b h w c -> b c", "F.dropout(x, 0.5, axis=[0, 3])"),
        ("b ... -> b", 'stochastic_depth(x, 0.5, mode="row")'),
    ],
)
def test_the_calls_that_people_know(pattern: str, layer: str) -> None:
    parsed = mapdrop.Pattern.parse(pattern)
    shape = SHAPES[4 if "..." in pattern else len(parsed.left)]
    assert layer in [claim.call for claim in claims(request(pattern, 0.5), shape)]


def test_coins_of_the_claimed_layer_are_independent() -> None:
    """The layer that is claimed most is PyTorch's: no two of its coins hang together."""
    shape = SHAPES[4]
    (claim,) = [
        c for c in claims(request("b h w c -> b c", 0.5), shape) if c.framework == "PyTorch"
    ]
    fallen = np.stack([run(claim, shape)[:, 0, 0].ravel() == 0 for _ in range(4000)])
    correlation = np.corrcoef(fallen.T) - np.eye(fallen.shape[1])
    assert np.abs(correlation).max() < 5 / np.sqrt(4000)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (request("(m 2) h w c -> m c", 0.5), "axis 0 is split"),
        (request("b h w (g k) -> b g", 0.5, sizes={"k": 2}), "axis 3 is split"),
        (request("b h w c -> b c", 0.5, exact="c"), "there is no exact="),
        (request("b h w c -> b c", 0.5, balance="b"), "there is no balance="),
        (request("b h w c -> b h w c", 0.5, block={"h": 3, "w": 3}), "blocks"),
    ],
    ids=lambda value: value.call if isinstance(value, Request) else value,
)
def test_what_has_no_equivalent_says_why(given: Request, reason: str) -> None:
    found = claims(given, (4, 6, 6, 8))
    assert len({claim.framework for claim in found}) == 7
    for claim in found:
        assert not claim.call
        assert reason in claim.note


@pytest.mark.parametrize(
    ("pattern", "block", "near"),
    [
        ("b c h w -> b c h w", {"h": 3, "w": 3}, ["torchvision", "timm"]),
        ("b c h w -> b h w", {"h": 3, "w": 3}, ["timm"]),  # One mask for all maps.
        ("b c h w -> b c h w", {"h": 3, "w": 5}, []),
        ("b c h w -> b c h w", {"h": 4, "w": 4}, []),
        ("b c h w -> b c h w", {"h": 7, "w": 7}, []),  # Larger than the map.
        ("b c h w -> b c h w", {"c": 3, "h": 3}, []),
        ("b h w c -> b h w c", {"h": 3, "w": 3}, []),
        ("b c d h w -> b c d h w", {"d": 3, "h": 3, "w": 3}, ["torchvision"]),
    ],
)
def test_blocks_have_near_equivalents_only(
    pattern: str, block: dict[str, int], near: list[str]
) -> None:
    shape = (2, 6, 6, 6, 6)[: len(mapdrop.Pattern.parse(pattern).left)]
    found = claims(request(pattern, 0.5, block=block), shape)
    assert [claim.framework for claim in found if claim.call] == near
    assert all(claim.near and "another rate" in claim.note for claim in found if claim.call)


def test_blocks_of_one_value_are_ordinary_dropout() -> None:
    given = request("b c h w -> b c h w", 0.5, block={"h": 1, "w": 1})
    assert claims(given, (2, 3, 4, 4))[0].call == "nn.Dropout(0.5)(x)"


@pytest.mark.parametrize("rate", [0.1, 1 / 3, 0.123456789])
def test_the_rate_is_written_exactly(rate: float) -> None:
    claim = claims(request("b c h w -> b c", rate), SHAPES[4])[0]
    assert claim.call == f"nn.Dropout2d({rate!r})(x)"


@pytest.mark.parametrize(
    "wrong",
    [
        Equivalent("Flax", "nnx.Dropout(0.5, broadcast_dims=(0, 3), rngs=rngs)(x)"),  # Opposite.
        Equivalent("Paddle", "F.dropout(x, 0.5, axis=[1, 2])"),
        Equivalent("PyTorch", "nn.Dropout2d(0.5)(x)"),  # Takes h for the channels.
        Equivalent("PyTorch", "nn.Dropout(0.5)(x)"),
        Equivalent("Keras", 'layers.SpatialDropout2D(0.5, data_format="channels_first")(x)'),
    ],
    ids=lambda claim: claim.call,
)
def test_a_wrong_claim_would_be_found(wrong: Equivalent) -> None:
    expected = sharing_of(request("b h w c -> b c", 0.5), SHAPES[4])
    assert sharing(lambda: run(wrong, SHAPES[4])) != expected
