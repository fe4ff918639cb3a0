"""Keras layers: `mapdrop.drop` with its arguments remembered, active in training only."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import keras

from mapdrop._layers.settings import Settings
from mapdrop.backends.registry import backend_for
from mapdrop.spec.mask_spec import as_sizes, mask_spec
from mapdrop.spec.pattern import Pattern, PatternError
from mapdrop.spec.symbolic import bind_symbolic

_STATE = "seed_and_call"  # The name under which the state of a layer's generator is saved.


@keras.saving.register_keras_serializable("mapdrop")
class Drop(Settings, keras.layers.Layer):
    """Drop what the pattern says shares a coin, in training; the identity otherwise.

    One seed gives one mask on every backend, that of `mapdrop.mask`: call number t of the layer
    (from 0 on) has the mask of ``mapdrop.drop(x, pattern, rate, seed=seed, step=t)``. The number
    is kept in the layer's `keras.random.SeedGenerator`, and saved with the model: a run resumed
    goes on with the masks it would have had. Seed and number are hashed, so that no two seeds
    have a sequence of masks in common. A layer that Keras recomputes in backward
    (`keras.RematScope`) is called a second time, and draws another mask, as Keras' own does.

    Args:
        pattern: the axes of the input, an arrow, and the axes that have coins of their own, as
            for `mapdrop.drop`: ``"b h w c -> b c"`` drops whole maps.
        rate: the fraction to drop, from 0 to 1.
        exact, balance, block, region, scale: as for `mapdrop.drop`.
        seed: a whole number from 0 to 2**64 - 1; None draws one from Python's generator, which
            `keras.utils.set_random_seed` sets.
        name, dtype, trainable: as for every Keras layer.
        **sizes: sizes of names inside groups: ``k=8`` for ``"b h w (g k) -> b g"``.

    Shape: any input that fits the pattern; the output has its shape and dtype.

    Raises PatternError (a ValueError), when made, for a pattern that cannot be read; when called,
    symbolically too, for an input that it does not fit.

    >>> layer = mapdrop.keras.Drop("b h w (g k) -> b g", 0.5, k=4)  # groups of 4 maps together
    >>> tuple(layer(np.ones((2, 5, 5, 8)), training=True).shape)
    (2, 5, 5, 8)
    """

    rate_name = "rate"
    _compiled_rate: float | None = None  # The rate that a compiled function last took from here.

    def __init__(
        self,
        pattern: str | Pattern,
        rate: float = 0.5,
        *,
        exact: str | None = None,
        balance: str | None = None,
        block: Mapping[str, int] | None = None,
        region: str = "valid",
        scale: str | None = "expected",
        seed: int | None = None,
        name: str | None = None,
        dtype: Any = None,
        trainable: bool = True,
        **sizes: int,
    ) -> None:
        super().__init__(name=name, dtype=dtype, trainable=trainable)
        self.pattern = Pattern.parse(pattern).text
        self.rate = rate
        self.exact, self.balance = exact, balance
        self.block = as_sizes(block, "block")
        self.region, self.scale = region, scale
        self.seed = seed
        self.sizes = as_sizes(sizes, "sizes")
        self.ragged = False
        # It counts the calls. Of a seed it keeps 31 bits, so a seed given is taken from here. At
        # rate 0 it is there as well: the rate may change.
        start = None if self.seed is None else self.seed % 2**31
        self.seed_generator = keras.random.SeedGenerator(start)
        self.supports_masking = True
        # There is nothing to build, unless a class made from this one has something.
        self.built = type(self).build is keras.layers.Layer.build

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name == "rate" and self._compiled_rate not in (None, self.rate):
            warnings.warn(
                f"{self.name} was compiled with rate={self._compiled_rate}, and what is compiled "
                f"keeps it: call model.compile(...) again for rate={self.rate} to be used in fit",
                stacklevel=2,
            )

    def call(self, inputs: Any, training: bool | None = False) -> Any:
        """The inputs with dropped values +0 and the others scaled (not in training: the inputs)."""
        if not training:
            return inputs
        backend = backend_for(inputs)
        if backend.traced(inputs):
            object.__setattr__(self, "_compiled_rate", self.rate)  # Past Keras' tracking of state.
        if self.rate == 0:
            return inputs
        # The state is (seed, number of the call). Keras adds the two on some backends, where seed 1
        # draws at its next call what seed 2 draws now; here they are key and step.
        state = self.seed_generator.next()
        seed = state[0] if self.seed is None else self.seed
        spec = backend.mask_spec(*self._mask_arguments)
        return backend.drop(inputs, spec, seed=seed, step=state[1])

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        """The input's shape, which is checked. Raises PatternError where it does not fit."""
        shape = tuple(input_shape)
        bind_symbolic(mask_spec(*self._mask_arguments), shape)
        return shape

    def compute_output_spec(self, inputs: Any, training: bool | None = False) -> Any:
        """A symbolic tensor like the input."""
        return keras.KerasTensor(self.compute_output_shape(inputs.shape), inputs.dtype)

    def get_config(self) -> dict[str, Any]:
        """The arguments, as JSON has them."""
        return {
            **super().get_config(),
            "pattern": self.pattern,
            "rate": self.rate,
            "exact": self.exact,
            "balance": self.balance,
            "block": dict(self.block) or None,
            "region": self.region,
            "scale": self.scale,
            "seed": self.seed,
            **dict(self.sizes),
        }

    def save_own_variables(self, store: Any) -> None:
        """Keras saves a model's variables by this, and not its generators' states."""
        store[_STATE] = self.seed_generator.state

    def load_own_variables(self, store: Any) -> None:
        """What was saved; the weights of a model with Keras' own layers have nothing for it."""
        if _STATE in set(store.keys()):  # Before Keras 3.10 a store cannot be asked by `in`.
            self.seed_generator.state.assign(store[_STATE])


class Named(Drop):
    """A layer whose pattern follows from arguments of its own, which `arguments` names."""

    arguments: ClassVar[tuple[str, ...]] = ("rate", "seed")

    def get_config(self) -> dict[str, Any]:
        """The arguments, as JSON has them."""
        own = {name: getattr(self, name) for name in self.arguments}
        return {**keras.layers.Layer.get_config(self), **own}


@keras.saving.register_keras_serializable("mapdrop")
class Dropout(Named):
    """A coin for every value: ordinary dropout (Srivastava et al., JMLR 2014).

    Args:
        rate: the fraction to drop, from 0 to 1.
        noise_shape: as Keras has it: 1 for an axis along which one coin is shared; its size, or
            None, for one with coins of its own. The pattern says the same: see `Drop`.
        seed: a whole number from 0 to 2**64 - 1, or None. See `Drop`.
        **kwargs: name, dtype and trainable, as for every Keras layer.

    Shape: any input; with `noise_shape`, one of as many axes.

    >>> layer = mapdrop.keras.Dropout(0.5, noise_shape=(None, 1, None), seed=7)
    >>> layer.pattern
    'a0 a1 a2 -> a0 a2'
    """

    arguments = ("rate", "noise_shape", "seed")
    fixed = frozenset({"noise_shape"})

    def __init__(
        self,
        rate: float,
        noise_shape: Sequence[int | None] | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        noise = _check_noise_shape(noise_shape)
        names = [f"a{axis}" for axis in range(len(noise or ()))]
        own = [name for name, size in zip(names, noise or (), strict=True) if size != 1]
        pattern = "... -> ..." if noise is None else " ".join([*names, "->", *own])
        super().__init__(pattern, rate, seed=seed, **layer_only(kwargs))
        self.noise_shape = noise

    def call(self, inputs: Any, training: bool | None = False) -> Any:
        """See `Drop.call`."""
        self._check_sizes(tuple(inputs.shape))
        return super().call(inputs, training)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        """See `Drop.compute_output_shape`."""
        self._check_sizes(tuple(input_shape))
        return super().compute_output_shape(input_shape)

    def _check_sizes(self, shape: tuple[int | None, ...]) -> None:
        for axis, (size, noise) in enumerate(zip(shape, self.noise_shape or (), strict=False)):
            if noise not in (None, 1) and size not in (None, noise):
                raise PatternError(
                    f"noise_shape={self.noise_shape} has {noise} for axis {axis} of size {size}",
                    self.pattern,
                    self.pattern.index(f"a{axis}"),
                    "None for an axis with coins of its own, 1 for one that shares them",
                    shape,
                )


@keras.saving.register_keras_serializable("mapdrop")
class DropPath(Named):
    """A coin for every sample: stochastic depth (Huang et al., ECCV 2016) for a residual branch.

    Args:
        rate: the fraction of samples to drop, from 0 to 1.
        scale: what kept samples are multiplied by, as for `mapdrop.drop`.
        seed: a whole number from 0 to 2**64 - 1, or None. See `Drop`.
        **kwargs: name, dtype and trainable, as for every Keras layer.

    Shape: (b, ...).

    >>> layer = mapdrop.keras.DropPath(0.5, seed=7)
    >>> keras.ops.convert_to_numpy(layer(np.ones((4, 3)), training=True))[:, 0]
    array([2., 2., 0., 0.], dtype=float32)
    """

    arguments = ("rate", "scale", "seed")

    def __init__(
        self,
        rate: float = 0.1,
        scale: str | None = "expected",
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__("b ... -> b", rate, scale=scale, seed=seed, **layer_only(kwargs))


def layer_only(kwargs: dict[str, Any]) -> dict[str, Any]:
    """What every Keras layer takes. Raises TypeError for others, which `Drop` takes as sizes."""
    if unknown := kwargs.keys() - {"name", "dtype", "trainable"}:
        raise TypeError(
            f"unknown arguments {', '.join(sorted(unknown))}: beside its own, a layer takes "
            "name, dtype and trainable"
        )
    return kwargs


def _check_noise_shape(noise_shape: Any) -> tuple[int | None, ...] | None:
    if noise_shape is None:
        return None
    sizes = tuple(noise_shape) if isinstance(noise_shape, (tuple, list)) else ("",)
    if any(
        n is not None and (isinstance(n, bool) or not isinstance(n, int) or n < 1) for n in sizes
    ):
        raise ValueError(
            "noise_shape has for each axis its size, 1 or None, as in (None, 1, None), "
            f"not {noise_shape!r}"
        )
    return sizes
