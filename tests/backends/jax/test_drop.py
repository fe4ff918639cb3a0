"""drop() on JAX arrays, eagerly and compiled: every case of the specification, every dtype."""

from __future__ import annotations

import contextlib
import functools
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from jax import Array

import mapdrop
from mapdrop.backends.jax import coins
from mapdrop.spec import words as generator
from mapdrop.spec.law import strides
from mapdrop.spec.mask_spec import mask_spec
from tests import checks, reference
from tests.cases import ALL, Case

DTYPES = {
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
    "float32": np.dtype(np.float32),
    "float64": np.dtype(np.float64),
}
SOME = (  # One of each kind.
    "element-odd", "maps-channels-first", "groups", "shared", "order-mixed", "scalar", "empty",
    "exact-middle", "balance-middle", "block-2d-even", "scale-sample", "scale-batch", "scale-none",
)  # fmt: skip
some = pytest.mark.parametrize("case", [case for case in ALL if case.name in SOME], ids=str)


@contextlib.contextmanager
def allowing(dtype: np.dtype[Any]) -> Iterator[None]:
    """JAX has float64 only where it is asked for."""
    with jax.enable_x64(dtype == np.float64):
        yield


def as_words(number: int) -> Array:
    """A seed as the two words that a raw key has."""
    return jnp.array(generator.split(number), jnp.uint32)


@functools.cache
def _compiled(pattern: str, p: float, options: tuple[tuple[str, Any], ...]) -> Any:
    given = {name: dict(v) if isinstance(v, tuple) else v for name, v in options}
    return jax.jit(functools.partial(mapdrop.drop, pattern=pattern, p=p, **given))


def compiled(x: Array, pattern: str, p: float, **options: Any) -> Array:
    """The seed traced, as a key's words; the step too, where 32 bits hold it."""
    traced: dict[str, Any] = {"seed": as_words(options.pop("seed"))}
    if options.get("step", 0) < 2**31:
        traced["step"] = jnp.int32(options.pop("step", 0))
    static = tuple((n, tuple(v.items()) if n == "block" else v) for n, v in options.items())
    came: Array = _compiled(pattern, p, static)(x, **traced)
    return came


DROPS: dict[str, Callable[..., Array]] = {"eager": mapdrop.drop, "compiled": compiled}
drops = pytest.mark.parametrize("drop", DROPS.values(), ids=DROPS)


# --- Every case, in every dtype.


@drops
@pytest.mark.parametrize("case", ALL, ids=str)
def test_drop(case: Case, drop: Callable[..., Array]) -> None:
    checks.check_drop(drop, jnp.asarray, np.asarray, case)


@drops
@some
@pytest.mark.parametrize("dtype", [DTYPES[n] for n in ("float16", "bfloat16", "float64")], ids=str)
def test_dtypes(case: Case, dtype: np.dtype[Any], drop: Callable[..., Array]) -> None:
    with allowing(dtype):
        checks.check_drop(drop, jnp.asarray, np.asarray, case, dtype)


VALUES = {  # All that 16 bits can be, and what rounding is hard for.
    "float16": np.arange(2**16, dtype=np.uint16).view(np.float16),
    "bfloat16": np.arange(2**16, dtype=np.uint16).view(ml_dtypes.bfloat16),
    "float32": (np.arange(2**16, dtype=np.uint32) * np.uint32(65_537)).view(np.float32),
    "float64": (np.arange(2**16, dtype=np.uint64) * np.uint64(2**48 + 1)).view(np.float64),
}


@pytest.mark.parametrize("p", [0.2, 1 / 3, 0.999])  # Times 1.25 and 1.5: many ties.
@pytest.mark.parametrize("name", DTYPES)
def test_every_value_is_rounded_once(name: str, p: float) -> None:
    x = VALUES[name]
    wide = np.float64 if name == "float64" else np.float32
    with np.errstate(all="ignore"):
        x = np.where(np.abs(x.astype(wide)) < np.finfo(wide).tiny, 0, x).astype(x.dtype)
        product = (x.astype(wide) * wide(1 / (1 - p))).astype(x.dtype)
    with allowing(DTYPES[name]):
        came = np.asarray(mapdrop.drop(jnp.asarray(x), "n -> n", p, seed=9))
    kept = mapdrop.mask("n -> n", x.shape, p, seed=9).coins
    assert checks.same_bits(came[kept], product[kept])
    assert (came[~kept].view(f"u{x.itemsize}") == 0).all()


# --- The words themselves.


@pytest.mark.parametrize("start", [0, 7, 2**32 - 5, 2**34 - 9, 2**40 + 3])
def test_words_of_large_numbers(start: int) -> None:
    """Coins so far on that their numbers do not fit 32 bits; no array of so many is made."""
    key, step = (jnp.uint32(5), jnp.uint32(6)), (jnp.uint32(1), jnp.uint32(2))
    drawn = coins.words((3, 7), key, step, start)
    wanted = generator.all_words(21, 5 | 6 << 32, 1 | 2 << 32, start)
    assert np.array_equal(np.asarray(drawn).ravel(), wanted)


@pytest.mark.parametrize("shape", [(8,), (0, 8), (3, 1, 40), (5, 7, 12)])
@pytest.mark.parametrize("p", [1e-3, 0.3, 1 - 2**-40])
def test_coins_that_share_a_byte_are_the_others(shape: tuple[int, ...], p: float) -> None:
    names = " ".join("abc"[: len(shape)])
    given: dict[str, Any] = {"pattern": f"{names} -> {names}", "p": p, "seed": 5, "step": 2**40}
    x = jnp.ones(shape)
    expected = mapdrop.drop(np.ones(shape, np.float32), **given)
    assert checks.same_bits(np.asarray(mapdrop.drop(x, **given)), expected)
    assert checks.same_bits(np.asarray(jax.jit(lambda x: mapdrop.drop(x, **given))(x)), expected)


def test_a_block_of_four_words_is_drawn_once() -> None:
    def arithmetic(n: int) -> float:
        run = jax.jit(lambda x: mapdrop.drop(x, "n -> n", 0.5, seed=1))
        cost = run.lower(jax.ShapeDtypeStruct((n,), jnp.float32)).compile().cost_analysis()
        assert cost is not None
        return float(cost["flops"])

    assert arithmetic(4096) < 0.4 * arithmetic(4097)  # Which does not split into eights.


@pytest.mark.parametrize("shape", [(2**31, 5), (3, 2**20, 2**12), (2**32 - 1, 7)])
def test_numbers_of_shapes_too_large_for_32_bits(shape: tuple[int, ...]) -> None:
    """The same arithmetic at a few places of the shape: nobody has room for all of them."""
    at = [np.array([0, n // 3, n - 1], np.uint64) for n in shape]
    low, high = coins.at_places([jnp.asarray(a % 2**32, jnp.uint32) for a in at], shape)
    wanted = sum(a * np.uint64(step) for a, step in zip(at, strides(shape), strict=True))
    assert np.array_equal(np.asarray(low) | np.asarray(high, np.uint64) << np.uint64(32), wanted)


@pytest.mark.parametrize("above", [0, 1])
def test_a_word_that_is_the_threshold_is_kept(above: int) -> None:
    words = np.array([reference.word(coin, 7) for coin in range(64)])
    for word in words[:4]:
        came = mapdrop.drop(jnp.ones(64), "n -> n", (word + above) / 2**32, seed=7)
        assert np.array_equal(np.asarray(came) != 0, words >= word + above)


def test_equal_words_go_to_the_lower_index() -> None:
    drawn = jnp.array([[5, 9, 9, 1, 9, 0]], jnp.uint32)
    bound, zero = mask_spec("b c -> b c", 0.5, exact="c").bind((1, 6)), (jnp.uint32(0),) * 2
    space = coins.JaxSpace(bound, zero, zero, np.dtype(np.float32))
    for quota, wanted in ((2, [1, 2]), (3, [1, 2, 4]), (4, [0, 1, 2, 4]), (0, [])):
        kept = space.largest(drawn, 1, jnp.array([[quota]], jnp.int32))
        assert np.flatnonzero(np.asarray(kept)).tolist() == wanted


def test_a_scale_counted_over_more_than_float32_can_count() -> None:
    shape = (2**24 + 9,)
    mask = mapdrop.mask("n -> n", shape, 0.3, seed=1, scale="batch")
    came = mapdrop.drop(jnp.ones(shape), "n -> n", 0.3, seed=1, scale="batch")
    assert float(came.max()) == np.float32(mask.scale)


# --- p = 0, p = 1 and what lies under dropped coins.


@drops
def test_p_1_gives_zeros_and_zero_gradients(drop: Callable[..., Array]) -> None:
    every: list[dict[str, Any]] = [
        {}, {"scale": "batch"}, {"scale": "sample"}, {"exact": "c"}, {"balance": "b"},
    ]  # fmt: skip
    for value in (1.0, np.nan, np.inf, -0.0):
        x = jnp.full((4, 8, 3), value)
        for options in every:
            call = functools.partial(drop, pattern="b c t -> b c", p=1.0, seed=3, **options)
            y, gradient = jax.value_and_grad(lambda x: call(x).sum())(x)  # noqa: B023
            assert float(y) == 0
            assert checks.same_bits(np.asarray(gradient), np.zeros(x.shape, np.float32))
            assert checks.same_bits(np.asarray(call(x)), np.zeros(x.shape, np.float32))


def test_p_0_is_the_same_object_and_draws_nothing() -> None:
    x = jnp.full((3, 4), np.nan)
    state = pickle.dumps(np.random.get_state())
    assert mapdrop.drop(x, "b c -> b c", 0) is x
    assert mapdrop.drop(x, "b c -> b c", 0.0, seed=jax.random.key(0)) is x
    assert pickle.dumps(np.random.get_state()) == state
    with pytest.raises(mapdrop.PatternError):
        mapdrop.drop(x, "b h w c -> b c", 0)
    # The twin: any other rate draws.
    mapdrop.drop(x, "b c -> b c", 1e-9)
    assert pickle.dumps(np.random.get_state()) != state
    assert str(jax.make_jaxpr(lambda x: mapdrop.drop(x, "b c -> b", 0))(x)).count("=") == 0


def test_nothing_is_dropped_from_what_is_nan() -> None:
    for bad in (np.nan, np.inf, -np.inf, -0.0):
        x = jnp.full((4, 16, 5), bad)
        kept = mapdrop.mask("b c t -> b c", x.shape, 0.5, seed=1).coins[..., None]
        y, back = jax.vjp(lambda x: mapdrop.drop(x, "b c t -> b c", 0.5, seed=1), x)
        (gradient,) = back(jnp.full(x.shape, np.nan))
        for came in (np.asarray(y), np.asarray(gradient)):
            dropped = came[np.broadcast_to(~kept, x.shape)]
            assert checks.same_bits(dropped, np.zeros(dropped.shape, np.float32))
        assert np.array_equal(np.isnan(gradient), np.broadcast_to(kept, x.shape))


# --- Where a seed comes from.

X = np.ones((64, 4), np.float32)


def drop(**options: Any) -> np.ndarray[Any, Any]:
    return np.asarray(mapdrop.drop(jnp.asarray(X), "b c -> b c", 0.5, **options))


def test_none_follows_numpy_s_generator() -> None:
    np.random.seed(3)
    first, second = drop(), drop()
    np.random.seed(3)
    assert np.array_equal(drop(), first)
    assert np.array_equal(drop(), second)
    assert not np.array_equal(first, second)
    generators = [np.random.default_rng(5), np.random.default_rng(5)]
    assert np.array_equal(drop(seed=generators[0]), drop(seed=generators[1]))
    assert not np.array_equal(drop(seed=generators[0]), first)


def test_a_key_is_the_number_of_its_words() -> None:
    key = jax.random.key(2**31 - 5)
    low, high = (int(word) for word in jax.random.key_data(key))
    for stream in (None, "conv3"):
        wanted = drop(seed=low | high << 32, stream=stream)
        raw = jax.random.key_data(key)
        for given in (key, raw, np.asarray(raw), jax.random.PRNGKey(2**31 - 5)):
            assert np.array_equal(drop(seed=given, stream=stream), wanted)
        assert not np.array_equal(drop(seed=jax.random.split(key)[0], stream=stream), wanted)


@pytest.mark.parametrize("kind", ["rbg", "unsafe_rbg"])
def test_a_key_of_four_words_is_hashed(kind: str) -> None:
    key = jax.random.key(11, impl=kind)
    words = [int(word) for word in jax.random.key_data(key)]
    low, high, *_ = (int(word) for word in generator.philox((*words,), (0, 0)))
    assert np.array_equal(drop(seed=key), drop(seed=low | high << 32))
    assert np.array_equal(drop(seed=jax.random.key_data(key)), drop(seed=key))


INTEGERS = {
    "int32": (jnp.int32(7), 7),
    "uint32": (jnp.uint32(2**32 - 1), 2**32 - 1),
    "int8": (jnp.int8(7), 7),
    "one in an array": (jnp.array([7]), 7),
    "negative": (jnp.int32(-2), 2**64 - 2),  # As its 64 bits say.
    "numpy's": (np.int64(7), 7),
}


@pytest.mark.parametrize(("array", "number"), INTEGERS.values(), ids=INTEGERS)
def test_an_array_is_the_number_in_it(array: Any, number: int) -> None:
    traced = jax.jit(lambda n, m: mapdrop.drop(jnp.asarray(X), "b c -> b c", 0.5, seed=n, step=m))
    wanted = drop(seed=number, step=number)
    assert np.array_equal(drop(seed=array, step=array), wanted)
    assert np.array_equal(traced(array, array), wanted)


@pytest.mark.parametrize("number", [7, 2**32, 2**63 - 1])
def test_64_bits(number: int) -> None:
    wanted = drop(seed=number, step=number)
    with jax.enable_x64(True):
        for dtype in (jnp.int64, jnp.uint64):
            array = jnp.asarray(number, dtype)
            assert np.array_equal(drop(seed=array, step=array), wanted)


def test_numbers_differ() -> None:
    numbers = (0, 1, 2**32, 2**63, 2**64 - 1)
    masks = {drop(seed=seed, step=step).tobytes() for seed in numbers for step in numbers}
    assert len(masks) == len(numbers) ** 2


# --- What is refused.

WRONG: dict[str, tuple[Any, dict[str, Any], type[Exception], str]] = {
    "integers": (jnp.ones(3, int), {}, TypeError, r"not on int32: kept values are scaled"),
    "bool": (jnp.ones(3, bool), {}, TypeError, r"not on bool.*jax\.numpy\.float32"),
    "float8": (jnp.ones(3, jnp.float8_e4m3fn), {}, TypeError, "not on float8_e4m3fn"),
    "keys": (jax.random.split(jax.random.key(0), 3), {}, TypeError, r"not on key<fry>"),
    "list": ([1.0], {}, TypeError, r"works on .*jax\.Array.*, not on builtins\.list"),
    "rate nan": (jnp.ones(3), {"p": float("nan")}, ValueError, "not nan"),
    "rate above 1": (jnp.ones(3), {"p": 1.5}, ValueError, r"not 1\.5"),
    "rate True": (jnp.ones(3), {"p": True}, TypeError, "not True"),
    "rate array": (jnp.ones(3), {"p": jnp.ones(2)}, TypeError, "a number from 0 to 1"),
    "rank": (jnp.ones((3, 2)), {}, mapdrop.PatternError, "names 1 axes, the array has 2"),
    "size 2.0": (jnp.ones(3), {"n": 3.0}, mapdrop.PatternError, "n=3.0 is not a size"),
    "seed": (jnp.ones(3), {"seed": -1}, ValueError, "not -1"),
    "seed text": (jnp.ones(3), {"seed": "7"}, TypeError, "not '7' of type str"),
    "seed True": (jnp.ones(3), {"seed": True}, TypeError, "not True"),
    "seed float": (jnp.ones(3), {"seed": jnp.ones(())}, ValueError, "one jax.random key or has"),
    "seeds": (jnp.ones(3), {"seed": jnp.arange(3)}, ValueError, r"not shape \(3,\) of int32"),
    "many keys": (
        jnp.ones(3), {"seed": jax.random.split(jax.random.key(0), 2)}, ValueError,
        r"shape \(2,\) of key<fry>; jax\.vmap gives each example",
    ),
    "step": (jnp.ones(3), {"step": 2**64}, ValueError, f"not {2**64}"),
    "steps": (jnp.ones(3), {"step": jnp.arange(3)}, ValueError, "a step array has one integer"),
    "step float": (jnp.ones(3), {"step": jnp.ones(())}, ValueError, r"shape \(\) of float32"),
    "stream": (jnp.ones(3), {"stream": b"drop"}, TypeError, "not b'drop'"),
    "in place": (jnp.ones(3), {"inplace": True}, TypeError, "never written to"),
    "out": (jnp.ones(3), {"out": np.ones(3)}, TypeError, "leave out inplace= and out="),
}  # fmt: skip


@pytest.mark.parametrize(("x", "changed", "kind", "message"), WRONG.values(), ids=WRONG)
def test_refused(x: Any, changed: dict[str, Any], kind: type[Exception], message: str) -> None:
    for p in (0, 1):  # Equal to False and True, and already planned.
        mapdrop.drop(jnp.ones(3), "n -> n", p, seed=1)
    with pytest.raises(kind, match=message):
        mapdrop.drop(x, **{"pattern": "n -> n", "p": 0.5, "seed": 1, **changed})


@pytest.mark.parametrize("seed", [None, np.random.default_rng(0)], ids=["None", "Generator"])
@pytest.mark.parametrize("transform", [jax.jit, jax.vmap, lambda f: jax.grad(lambda x: f(x).sum())])
def test_a_fresh_seed_is_refused_where_it_would_be_drawn_once(transform: Any, seed: Any) -> None:
    def call(x: Array) -> Array:
        return mapdrop.drop(x, "... -> ...", 0.5, seed=seed)

    call(jnp.ones(8))
    with pytest.raises(ValueError, match=r"draws a seed from NumPy.*a jax\.random key"):
        transform(call)(jnp.ones(8))


def test_a_traced_rate_is_refused() -> None:
    def call(x: Array, p: Any) -> Array:
        return mapdrop.drop(x, "n -> n", p, seed=1)

    with pytest.raises(TypeError, match="p decides what is compiled"):
        jax.jit(call)(jnp.ones(3), 0.5)
    assert jax.jit(call, static_argnums=1)(jnp.ones(3), 0.5).shape == (3,)


# --- Masks as objects.


@some
def test_apply(case: Case) -> None:
    if case.given.get("scale") == "sample" and not np.prod(case.shape):
        return
    mask = mapdrop.mask(case.pattern, case.shape, case.p, **case.options)
    for dtype in DTYPES.values():
        x = checks.inputs(case.shape, dtype)
        with allowing(dtype):
            came = mask.apply(jnp.asarray(x))
        assert isinstance(came, Array)
        assert checks.same_bits(np.asarray(came), checks.expected(case, x)[1])
