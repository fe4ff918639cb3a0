"""Arrays that lie on several devices: the mask of the whole array, whatever the partition."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

import mapdrop
from tests import checks

SHAPE = (8, 16, 8, 4)
REQUESTS: dict[str, dict[str, Any]] = {
    "element": {"pattern": "b c h w -> b c h w"},
    "element, other order": {"pattern": "b c h w -> b h w c"},
    "spatial": {"pattern": "b c h w -> b c"},
    "sample": {"pattern": "b ... -> b"},
    "group": {"pattern": "b (g 2) h w -> g b"},
    "exact": {"pattern": "b c h w -> b c", "exact": "c"},
    "balance": {"pattern": "b c h w -> b c", "balance": "b"},
    "block": {"pattern": "b c h w -> b h w c", "block": {"h": 3, "w": 2}},
    "sample scale": {"pattern": "b c h w -> b c", "scale": "sample"},
    "batch scale": {"pattern": "b c h w -> b c h w", "scale": "batch"},
}
SPECS = {"batch": P("a"), "channels": P(None, "a"), "space": P(None, None, "a"), "none": P()}


def mesh(count: int, kind: AxisType = AxisType.Auto) -> Mesh:
    devices = jax.devices("cpu")
    assert len(devices) == 8, "the tests of sharding need 8 devices"
    return Mesh(np.array(devices[:count]), "a", axis_types=(kind,))


def expected(request: dict[str, Any]) -> Any:
    return mapdrop.drop(checks.inputs(SHAPE), p=0.4, seed=3, stream="s", step=5, **request)


def drop(x: Array, **request: Any) -> Any:
    return mapdrop.drop(x, p=0.4, seed=jnp.array([3, 0], jnp.uint32), stream="s", step=5, **request)


@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)
@pytest.mark.parametrize(
    ("count", "name"), [(1, "batch"), (2, "space"), (4, "channels"), (8, "batch"), (8, "none")]
)
def test_the_mask_is_the_whole_array_s(request_: dict[str, Any], count: int, name: str) -> None:
    wanted, sharding = expected(request_), NamedSharding(mesh(count), SPECS[name])
    x = jax.device_put(checks.inputs(SHAPE), sharding)
    run = jax.jit(lambda x: drop(x, **request_), in_shardings=sharding, out_shardings=sharding)
    y, back = jax.vjp(run, x)
    for came in (y, back(x)[0]):
        assert checks.same_bits(np.asarray(came), wanted)
        assert came.sharding.is_equivalent_to(sharding, x.ndim)
    assert 0 < (wanted == 0).sum() < wanted.size


@pytest.mark.parametrize("name", ["batch", "channels"])
def test_eager_code_leaves_it_where_it_is(name: str) -> None:
    sharding = NamedSharding(mesh(4), SPECS[name])
    y = drop(jax.device_put(checks.inputs(SHAPE), sharding), pattern="b c h w -> b c h w")
    assert checks.same_bits(np.asarray(y), expected(REQUESTS["element"]))
    assert y.sharding.is_equivalent_to(sharding, 4)


def test_a_mesh_of_two_axes() -> None:
    grid = Mesh(np.array(jax.devices("cpu")).reshape(4, 2), ("a", "m"))
    sharding = NamedSharding(grid, P("m", "a"))
    for request in REQUESTS.values():
        y = jax.jit(lambda x: drop(x, **request))(  # noqa: B023
            jax.device_put(checks.inputs(SHAPE), sharding)
        )
        assert checks.same_bits(np.asarray(y), expected(request))


@pytest.mark.parametrize("name", ["element", "element, other order", "spatial", "block"])
def test_shardings_in_types(name: str) -> None:
    with jax.set_mesh(mesh(4, AxisType.Explicit)):
        x = jax.device_put(checks.inputs(SHAPE), P("a"))
        y = jax.jit(lambda x: drop(x, **REQUESTS[name]))(x)
        assert jax.typeof(y).sharding.spec[0] == "a"
        assert checks.same_bits(np.asarray(y), expected(REQUESTS[name]))


@pytest.mark.parametrize("name", ["element", "spatial", "sample"])
def test_no_device_asks_another(name: str) -> None:
    """Each makes the coins of its own part, and holds no more of the mask than that."""
    sharding = NamedSharding(mesh(8), P("a"))
    x = jax.ShapeDtypeStruct(SHAPE, jnp.float32, sharding=sharding)

    def text(function: Any) -> str:
        return str(jax.jit(function, out_shardings=sharding).lower(x).compile().as_text())

    asking = ("all-gather", "all-reduce", "all-to-all", "collective-permute")
    program = text(lambda x: drop(x, **REQUESTS[name]))
    assert not [word for word in asking if word in program]
    assert "8,16,8,4" not in program.split("ENTRY")[1]
    assert "all-reduce" in text(lambda x: x - x.sum(0))  # The guard sees one.


def test_within_shard_map_an_array_is_the_part_that_is_seen() -> None:
    """There each device has an array of its own, so the key is folded with the axis' index."""

    def part(x: Array, key: Array) -> Array:
        key = jax.random.fold_in(key, jax.lax.axis_index("a"))
        return mapdrop.drop(x, "b c h w -> b c", 0.5, seed=key)

    key, x = jax.random.key(1), jnp.asarray(checks.inputs(SHAPE))
    run = jax.shard_map(part, mesh=mesh(4), in_specs=(P("a"), P()), out_specs=P("a"))
    y = jax.jit(run)(x, key)
    for i in range(4):
        own = slice(2 * i, 2 * i + 2)
        wanted = mapdrop.drop(x[own], "b c h w -> b c", 0.5, seed=jax.random.fold_in(key, i))
        assert checks.same_bits(np.asarray(y[own]), np.asarray(wanted))


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
@pytest.mark.parametrize("where", SPECS.values(), ids=SPECS)
@pytest.mark.parametrize("options", [{}, {"balance": "b"}], ids=["path", "balanced"])
def test_residual(kind: AxisType, where: P, options: dict[str, Any]) -> None:
    whole = np.asarray(checks.inputs(SHAPE))
    wanted = whole + mapdrop.drop(3 * whole, "b ... -> b", 0.4, seed=3, **options)
    with jax.set_mesh(mesh(4, kind)):
        x = jax.device_put(whole, NamedSharding(mesh(4, kind), where))

        def added(x: Array, scale: Array) -> Array:
            return mapdrop.residual(
                lambda x, s: 3 * x * s, x, 0.4, inputs=(scale,), seed=3, **options
            )

        for way in (added, jax.jit(added)) if options else (added,):
            found = way(x, jnp.ones_like(x))
            np.testing.assert_allclose(found, wanted, 1e-6)
            alike = found.sharding.is_equivalent_to(x.sharding, x.ndim)
            assert alike or kind is AxisType.Auto
    assert (wanted == whole).any()
