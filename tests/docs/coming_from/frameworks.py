"""How calls are made in each framework: NumPy in, NumPy out, from generators that start alike.

No framework is imported before a test runs: TensorFlow imports JAX, whose devices tests/jax sets.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.conftest import framework, missing
from tests.docs.coming_from.law import Array, Drop


class Framework(ABC):
    """Its generator, and calls with its arrays."""

    @abstractmethod
    def seed(self) -> None:
        """Before a block runs, and before it is called."""

    @abstractmethod
    def call(self, drop: Callable[..., Any], x: Array, dtype: str) -> Any:
        """The result for x as the framework's array of this dtype."""

    def numpy(self, y: Any) -> Array:
        return np.asarray(y, np.float32)

    def turned(self, drop: Callable[..., Any], dtype: str = "float32") -> Drop:
        """The same of NumPy's arrays, which are float32 outside whatever they are inside."""
        return lambda x: self.numpy(self.call(drop, x, dtype))


class Torch(Framework):
    def seed(self) -> None:
        framework("torch").manual_seed(0)

    def call(self, drop: Callable[..., Any], x: Array, dtype: str) -> Any:
        torch = framework("torch")
        return drop(torch.tensor(x, dtype=getattr(torch, dtype)))

    def numpy(self, y: Any) -> Array:
        return np.asarray(y.float().numpy())


class TensorFlow(Framework):
    def seed(self) -> None:
        framework("tensorflow").random.set_seed(0)

    def call(self, drop: Callable[..., Any], x: Array, dtype: str) -> Any:
        return drop(framework("tensorflow").cast(x, dtype))

    def numpy(self, y: Any) -> Array:
        return super().numpy(framework("tensorflow").cast(y, "float32"))


class Keras(TensorFlow):
    """Layers in training. Their coins are their backend's: what is said is of the default one."""

    def seed(self) -> None:
        keras = framework("keras")
        framework("tensorflow")
        if keras.backend.backend() != "tensorflow":
            missing("Keras on TensorFlow")
        keras.utils.set_random_seed(0)

    def call(self, drop: Callable[..., Any], x: Array, dtype: str) -> Any:
        drop.dtype_policy = dtype  # type: ignore[attr-defined]
        return drop(framework("tensorflow").cast(x, dtype), training=True)


class Flax(Framework):
    """A block makes its generator itself."""

    def seed(self) -> None:
        framework("jax")
        framework("flax")

    def call(self, drop: Callable[..., Any], x: Array, dtype: str) -> Any:
        return drop(framework("jax").numpy.asarray(x, dtype))


class Equinox(Framework):
    """A key for each call."""

    def seed(self) -> None:
        framework("jax")
        framework("equinox")
        self.keys = itertools.count()

    def call(self, drop: Callable[..., Any], x: Array, dtype: str) -> Any:
        jax = framework("jax")
        return drop(jax.numpy.asarray(x, dtype), key=jax.random.key(next(self.keys)))
