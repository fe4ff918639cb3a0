"""The seed and the step of an array's mask as four 32-bit words."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray

from mapdrop.backends.jax.coins import U32, hashed
from mapdrop.spec import seed as seeds
from mapdrop.spec.words import split


def seed_words(x: Array, seed: Any, stream: str | None, step: Any) -> tuple[Any, str | None]:
    """Return the words (low, high) of seed and step, and the stream if it is not yet hashed in.

    Of a seed whose value is known here, the stream is hashed in already: then layers that differ
    in their names share their compiled code.
    """
    arrays = (Array, np.ndarray)
    if np.ndarray in (type(seed), type(step)):
        seed, step = _as_number(seed), _as_number(step)
    later = step if isinstance(step, arrays) else seeds.check_uint64(step, "step")
    first: Any
    if isinstance(seed, arrays):
        first = _words_of(jnp.asarray(seed))
    else:
        if type(seed) is not int:
            _refuse_tracing(x, seed)
            seed = seeds.draw(seed)
        first, stream = _known_words(seed, stream), None
    if isinstance(later, arrays):
        if later.size != 1 or not jnp.issubdtype(later.dtype, np.integer):
            raise ValueError(
                f"a step array has one integer, not shape {later.shape} of {later.dtype}"
            )
        return jnp.concatenate([first, _number_words(jnp.asarray(later))]), stream
    second = np.array(split(later), U32)
    if isinstance(first, np.ndarray):
        return np.concatenate([first, second]), stream
    return jnp.concatenate([first, second]), stream


def _as_number(value: Any) -> Any:
    """Return the number that a NumPy array has; other values as they are.

    As an array of JAX's it would lose what 32 bits do not hold.
    """
    one = isinstance(value, np.ndarray) and value.size == 1 and value.dtype.kind in "iu"
    return value.item() if one else value


@lru_cache(maxsize=4096)
def _known_words(seed: int, stream: str | None) -> NDArray[np.uint32]:
    """Return the words of a number and a stream, to be read alone."""
    return np.array(split(seeds.key(seeds.check_uint64(seed, "seed"), stream)), U32)


def _words_of(seed: Array) -> Any:
    """Return a key's words: a threefry key has two, (low, high); four words are hashed to two.

    So `jax.random.key(7)`, whose words are 0 and 7, is the seed 7 * 2**32, and not the seed 7.
    """
    if jnp.issubdtype(seed.dtype, jax.dtypes.prng_key) and seed.ndim == 0:
        return _key_words(jax.random.key_data(seed))
    if seed.dtype == np.uint32 and seed.shape in ((2,), (4,)):
        return _key_words(seed)
    if jnp.issubdtype(seed.dtype, np.integer) and seed.size == 1:
        return _number_words(seed)
    raise ValueError(
        "a seed array is one jax.random key or has one integer, "
        f"not shape {seed.shape} of {seed.dtype}; jax.vmap gives each example a key of its own"
    )


@jax.jit
def _key_words(words: Array) -> Array:
    if words.size == 2:
        return words
    zero = jnp.zeros((), U32)
    return jnp.stack(hashed((zero, zero), tuple(words)))


@jax.jit
def _number_words(number: Array) -> Array:
    """Return the 64 bits of an integer of any width and sign."""
    number = number.reshape(())
    if number.dtype.itemsize == 8:
        high = (number >> 32).astype(U32)
    elif jnp.issubdtype(number.dtype, np.signedinteger):
        high = jnp.where(number < 0, U32(0xFFFF_FFFF), U32(0))
    else:
        high = jnp.zeros((), U32)
    return jnp.stack([number.astype(U32), high])


def _refuse_tracing(x: Array, seed: Any) -> None:
    """Raise for a seed that tracing would draw once and freeze."""
    drawn = seed is None or isinstance(seed, np.random.Generator)
    # Under jit whatever is computed is traced, also from constants.
    if drawn and any(isinstance(value, jax.core.Tracer) for value in (x, jnp.zeros(()))):
        what = "seed=None" if seed is None else "a numpy.random.Generator"
        raise ValueError(
            f"{what} draws a seed from NumPy, which a function under jit, grad, vmap or scan would "
            "do once, when it is traced, and drop the same for ever; give seed= a jax.random key"
        )
