"""Layers: `mapdrop.drop` with its arguments remembered, active in training only."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import keras
from keras.saving import register_keras_serializable

from mapdrop._layers.patterns import SPACE, BlockSize, RankCheck, axes, blocks
from mapdrop._layers.settings import Settings
from mapdrop.backends.registry import backend_for
from mapdrop.keras.variable_rate import VariableRate
from mapdrop.spec.mask_spec import mask_spec
from mapdrop.spec.pattern import Pattern, PatternError
from mapdrop.spec.symbolic import bind_symbolic

# What a configuration has beside the arguments of every Keras layer.
_ARGUMENTS = ("pattern", "rate", "exact", "balance", "block", "region", "scale", "seed")
_STATE = "seed_and_call"  # The name under which the state of a layer's generator is saved.


@register_keras_serializable("mapdrop")
class Drop(Settings, RankCheck, keras.layers.Layer):
    """Drop what the pattern says shares a coin, in training; the identity otherwise.

    One seed gives one mask on every backend, that of `mapdrop.mask`: call number t of the layer
    (from 0 on) has the mask of ``mapdrop.drop(x, pattern, rate, seed=seed, step=t)``. The number
    is kept in the layer's `keras.random.SeedGenerator`, and saved with the model: a run resumed
    goes on with the masks it would have had. Seed and number are hashed, so that no two seeds
    have a sequence of masks in common. A layer that Keras recomputes in backward
    (`keras.RematScope`) is called a second time, and draws another mask, as Keras' own does.

    Args:
        pattern: the axes of the input, an arrow, and the axes that have coins of their own.
        rate: the fraction to drop, from 0 to 1.
        exact: a coin axis along which exactly round((1 - rate) * n) of n coins survive.
        balance: a coin axis across which every line keeps floor or ceil of (1 - rate) * n coins.
        block: sizes of blocks along coin axes, ``dict(h=7, w=7)``.
        region: where a block's centre may lie: "valid", where all of it fits, or "full".
        scale: what kept values are multiplied by: "expected", "sample", "batch" or None.
        seed: a whole number from 0 to 2**64 - 1; None draws one from Python's generator, which
            `keras.utils.set_random_seed` sets.
        name: the layer's name, as for every Keras layer.
        dtype: its dtype or dtype policy, as for every Keras layer.
        trainable: as for every Keras layer; there is nothing to train.
        **sizes: sizes of names inside groups, ``k=4`` for ``"b h w (g k) -> b g"``.

    `mapdrop.drop` says more of these.

    Shape: any input that fits the pattern; the output has its shape and dtype.

    Raises:
        PatternError: when made, for a pattern that cannot be read; when called, symbolically too,
            for an input that it does not fit (it is a ValueError).
        ValueError: for another argument that is out of its range, when made or set.

    Examples:
        >>> layer = mapdrop.keras.Drop("b h w (g k) -> b g", 0.5, k=4)  # groups of 4 maps together
        >>> tuple(layer(np.ones((2, 5, 5, 8)), training=True).shape)
        (2, 5, 5, 8)
    """

    rate_name = "rate"
    other_rank = "keras.ops.expand_dims(x, 0) for one sample without a batch axis"
    arguments: ClassVar[tuple[str, ...]] = _ARGUMENTS
    _compiled_rate: float | None = None  # The rate that a compiled function last took from here.
    variable_rate: VariableRate | None = None  # Made by `RateSchedule`.

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
        self._set_mask(pattern, rate, exact, balance, block, region, scale, sizes)
        self.seed = seed
        # It counts the calls. Of a seed it keeps 31 bits, so a seed given is taken from here. At
        # rate 0 it is there as well: the rate may change.
        start = None if self.seed is None else self.seed % 2**31
        self.seed_generator: Any = keras.random.SeedGenerator(start)
        self.supports_masking = True
        # There is nothing to build, unless a class made from this one has something.
        self.built: bool = type(self).build is keras.layers.Layer.build

    def _checked_rate(self, name: str, value: Any) -> float:
        rate = super()._checked_rate(name, value)
        variable = self.variable_rate
        if variable is not None:
            variable.set(rate)
        elif self._compiled_rate not in (None, rate):
            warnings.warn(
                f"{self.name} was compiled with rate={self._compiled_rate}, and what is compiled "
                f"keeps it: call model.compile(...) again for rate={rate} to be used in fit, or "
                "give fit a mapdrop.keras.RateSchedule, for which nothing is compiled again",
                stacklevel=3,
            )
        return rate

    def make_rate_variable(self) -> VariableRate:
        """Return the rate as a part of the model's state, which compiled functions read.

        Functions that were compiled before keep the rate that they had.
        """
        if self.variable_rate is None:
            built = self._tracker.locked
            self._tracker.unlock()
            self.variable_rate = VariableRate(self.rate)
            if built:
                self._tracker.lock()
        return self.variable_rate

    def call(self, inputs: Any, training: bool | None = False) -> Any:
        """Return the inputs, in training with dropped values +0 and the others scaled.

        Args:
            inputs: an array of the backend that fits the pattern.
            training: whether to drop; Keras gives it.

        Raises:
            PatternError: where the pattern does not fit the inputs.
        """
        if self.dims and len(inputs.shape) != self.dims + 2:
            raise self._wrong_rank(inputs.shape)
        if not training:
            return inputs
        backend = backend_for(inputs)
        variable = self.variable_rate
        if variable is None and backend.traced(inputs):
            object.__setattr__(self, "_compiled_rate", self.rate)  # Past Keras' tracking of state.
        if variable is None and self.rate == 0:
            return inputs
        rate = self.rate if variable is None else variable.read()
        # The state is (seed, number of the call). Keras adds the two on some backends, where seed 1
        # draws at its next call what seed 2 draws now; here they are key and step.
        state = self.seed_generator.next()
        seed = state[0] if self.seed is None else self.seed
        spec = backend.mask_spec(self.pattern, rate, *self._mask_options)
        return backend.drop(inputs, spec, seed=seed, step=state[1])

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        """Return the input's shape.

        Args:
            input_shape: the sizes of the input's axes; None for one that is not known.

        Raises:
            PatternError: where the pattern does not fit it.
        """
        shape = tuple(input_shape)
        if self.dims and len(shape) != self.dims + 2:
            raise self._wrong_rank(shape)
        bind_symbolic(mask_spec(self.pattern, self.rate, *self._mask_options), shape)
        return shape

    def compute_output_spec(self, inputs: Any, training: bool | None = False) -> Any:
        """Return a symbolic tensor like the input.

        Args:
            inputs: a symbolic tensor.
            training: makes no difference.
        """
        return keras.KerasTensor(self.compute_output_shape(inputs.shape), inputs.dtype)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments, as JSON has them."""
        own = {name: getattr(self, name) for name in self.arguments}
        if "block" in own:
            own |= {"block": dict(self.block) or None, **dict(self.sizes)}
        return {**super().get_config(), **own}

    def save_own_variables(self, store: Any) -> None:
        """Save the generator's state, which Keras leaves out of a model's variables.

        Args:
            store: where Keras collects what the layer saves.
        """
        store[_STATE] = self.seed_generator.state

    def load_own_variables(self, store: Any) -> None:
        """Load what was saved; the weights of a model with Keras' own layers have none.

        Args:
            store: what Keras read of the layer.
        """
        if _STATE in set(store.keys()):  # Before Keras 3.10 a store cannot be asked by `in`.
            self.seed_generator.state.assign(store[_STATE])


def _layer_only(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return what every Keras layer takes. Raises TypeError for others: `Drop` takes any."""
    if unknown := kwargs.keys() - {"name", "dtype", "trainable"}:
        raise TypeError(
            f"unknown arguments {', '.join(sorted(unknown))}: beside its own, a layer takes "
            "name, dtype and trainable"
        )
    return kwargs


@register_keras_serializable("mapdrop")
class Dropout(Drop):
    """Drop each value by a coin of its own: ordinary dropout (Srivastava et al., JMLR 2014).

    Args:
        rate: the fraction to drop, from 0 to 1.
        noise_shape: as Keras has it: 1 for an axis along which one coin is shared; its size, or
            None, for one with coins of its own. The pattern says the same: see `Drop`.
        seed: a whole number from 0 to 2**64 - 1, or None, as for `Drop`.
        **kwargs: name, dtype and trainable, as for every Keras layer.

    Shape: any input; with `noise_shape`, one of as many axes.

    Raises:
        TypeError: for an argument that there is not.
        ValueError: for a rate out of its range, and for another `noise_shape`; when called, as a
            PatternError, for an input that it does not fit.

    Examples:
        >>> layer = mapdrop.keras.Dropout(0.5, noise_shape=(None, 1, None), seed=7)
        >>> layer.pattern
        'a0 a1 a2 -> a0 a2'
    """

    arguments: ClassVar[tuple[str, ...]] = ("rate", "noise_shape", "seed")
    fixed: ClassVar[frozenset[str]] = frozenset({"noise_shape"})

    def __init__(
        self,
        rate: float,
        noise_shape: Sequence[int | None] | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        noise = _checked_noise_shape(noise_shape)
        sizes = {f"a{axis}": size for axis, size in enumerate(noise or ())}
        own = [name for name, size in sizes.items() if size != 1]
        pattern = "... -> ..." if noise is None else " ".join([*sizes, "->", *own])
        super().__init__(pattern, rate, seed=seed, **_layer_only(kwargs))
        self.noise_shape = noise

    def call(self, inputs: Any, training: bool | None = False) -> Any:
        """See `Drop.call`."""
        self._check_sizes(inputs.shape)
        return super().call(inputs, training)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        """See `Drop.compute_output_shape`."""
        self._check_sizes(input_shape)
        return super().compute_output_shape(input_shape)

    def _check_sizes(self, shape: Sequence[int | None]) -> None:
        for axis, (size, noise) in enumerate(zip(shape, self.noise_shape or (), strict=False)):
            if noise not in (None, 1) and size not in (None, noise):
                raise PatternError(
                    f"noise_shape={self.noise_shape} has {noise} for axis {axis} of size {size}",
                    self.pattern,
                    self.pattern.index(f"a{axis}"),
                    "None for an axis with coins of its own, 1 for one that shares them",
                    tuple(shape),
                )


def _checked_noise_shape(noise_shape: Any) -> tuple[int | None, ...] | None:
    if noise_shape is None:
        return None
    sizes = tuple(noise_shape) if isinstance(noise_shape, (tuple, list)) else ("",)
    if any(n is not None and (type(n) is not int or n < 1) for n in sizes):
        raise ValueError(
            "noise_shape has for each axis its size, 1 or None, as in (None, 1, None), "
            f"not {noise_shape!r}"
        )
    return sizes


@register_keras_serializable("mapdrop")
class DropPath(Drop):
    """Drop samples, (b, ...): stochastic depth (Huang et al., ECCV 2016, arXiv 1603.09382).

    It stands at the end of a residual branch.

    Args:
        rate: the fraction of samples to drop, from 0 to 1.
        scale: "expected", "batch" (the number of samples over the number kept) or None, as for
            `mapdrop.drop`.
        seed: a whole number from 0 to 2**64 - 1, or None, as for `Drop`.
        balance: keep floor or ceil of (1 - rate) * b of b samples; each is dropped with
            probability `rate`.
        **kwargs: name, dtype and trainable, as for every Keras layer.

    Raises:
        TypeError: for an argument that there is not.
        ValueError: for another argument that is out of its range.

    Examples:
        >>> layer = mapdrop.keras.DropPath(0.5, seed=7)
        >>> keras.ops.convert_to_numpy(layer(np.ones((4, 3)), training=True))[:, 0]
        array([2., 2., 0., 0.], dtype=float32)
    """

    arguments: ClassVar[tuple[str, ...]] = ("rate", "scale", "seed")

    def __init__(
        self,
        rate: float = 0.1,
        scale: str | None = "expected",
        seed: int | None = None,
        balance: bool = False,
        **kwargs: Any,
    ) -> None:
        options: dict[str, Any] = {"scale": scale, "seed": seed, **_layer_only(kwargs)}
        super().__init__("b ... -> b", rate, balance="b" if balance else None, **options)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments, as JSON has them."""
        return {**super().get_config(), "balance": self.balance is not None}


class _SpatialDropout(Drop):
    family = "SpatialDropout{}D"
    fixed: ClassVar[frozenset[str]] = frozenset({"data_format"})
    arguments: ClassVar[tuple[str, ...]] = ("rate", "data_format", "seed")

    def __init__(
        self,
        rate: float,
        data_format: str | None = None,
        seed: int | None = None,
        name: str | None = None,
        dtype: Any = None,
        **kwargs: Any,
    ) -> None:
        found = keras.config.image_data_format() if data_format is None else data_format
        pattern = f"{axes(self.dims, found, 'b')} -> b c"
        super().__init__(pattern, rate, seed=seed, name=name, dtype=dtype, **_layer_only(kwargs))
        self.data_format = found


@register_keras_serializable("mapdrop")
class SpatialDropout1D(_SpatialDropout, dims=1):
    """Drop channels of sequences, (b, t, c) or (b, c, t) (Tompson et al., CVPR 2015).

    As Keras has it, `seed` comes second, and the data format is "channels_last" unless given.

    Args:
        rate: the fraction of channels to drop, from 0 to 1.
        seed: a whole number from 0 to 2**64 - 1, or None, as for `Drop`.
        name: the layer's name, as for every Keras layer.
        dtype: its dtype or dtype policy, as for every Keras layer.
        data_format: "channels_first" or "channels_last", with one mask for one seed.
        **kwargs: `trainable`, as for every Keras layer.

    Raises:
        TypeError: for an argument that there is not.
        ValueError: for another argument that is out of its range.
        PatternError: when called, for an input with another number of axes.

    Examples:
        >>> layer = mapdrop.keras.SpatialDropout1D(0.5, seed=7)
        >>> keras.ops.convert_to_numpy(layer(np.ones((1, 2, 4)), training=True))[0]
        array([[2., 2., 0., 0.],
               [2., 2., 0., 0.]], dtype=float32)
    """

    def __init__(
        self,
        rate: float,
        seed: int | None = None,
        name: str | None = None,
        dtype: Any = None,
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        found = "channels_last" if data_format is None else data_format
        super().__init__(rate, found, seed, name, dtype, **kwargs)


@register_keras_serializable("mapdrop")
class SpatialDropout2D(_SpatialDropout, dims=2):
    """Drop maps, (b, h, w, c) or (b, c, h, w) (Tompson et al., CVPR 2015, arXiv 1411.4280).

    Args:
        rate: the fraction of maps to drop, from 0 to 1.
        data_format: "channels_first" or "channels_last", with one mask for one seed; None takes
            `keras.config.image_data_format()`.
        seed: a whole number from 0 to 2**64 - 1, or None, as for `Drop`.
        name: the layer's name, as for every Keras layer.
        dtype: its dtype or dtype policy, as for every Keras layer.
        **kwargs: `trainable`, as for every Keras layer.

    Raises:
        TypeError: for an argument that there is not.
        ValueError: for another argument that is out of its range.
        PatternError: when called, for an input with another number of axes.

    Examples:
        >>> layer = mapdrop.keras.SpatialDropout2D(0.5, data_format="channels_first", seed=7)
        >>> layer.pattern
        'b c h w -> b c'
    """


@register_keras_serializable("mapdrop")
class SpatialDropout3D(_SpatialDropout, dims=3):
    """Drop volumes, (b, d, h, w, c) or (b, c, d, h, w) (Tompson et al., CVPR 2015).

    Args:
        rate: the fraction of volumes to drop, from 0 to 1.
        data_format: "channels_first" or "channels_last", with one mask for one seed; None takes
            `keras.config.image_data_format()`.
        seed: a whole number from 0 to 2**64 - 1, or None, as for `Drop`.
        name: the layer's name, as for every Keras layer.
        dtype: its dtype or dtype policy, as for every Keras layer.
        **kwargs: `trainable`, as for every Keras layer.

    Raises:
        TypeError: for an argument that there is not.
        ValueError: for another argument that is out of its range.
        PatternError: when called, for an input with another number of axes.

    Examples:
        >>> mapdrop.keras.SpatialDropout3D(0.3, data_format="channels_last").pattern
        'b d h w c -> b c'
    """


class _DropBlock(BlockSize, Drop):
    family = "DropBlock{}D"
    fixed: ClassVar[frozenset[str]] = frozenset({"data_format"})
    arguments: ClassVar[tuple[str, ...]] = (
        "rate",
        "block_size",
        "data_format",
        "region",
        "scale",
        "seed",
    )

    def __init__(
        self,
        rate: float = 0.1,
        block_size: int | Sequence[int] = 7,
        data_format: str | None = None,
        region: str = "valid",
        scale: str | None = "expected",
        seed: int | None = None,
        name: str | None = None,
        dtype: Any = None,
        **kwargs: Any,
    ) -> None:
        found = keras.config.image_data_format() if data_format is None else data_format
        pattern = f"{axes(self.dims, found, 'b')} -> b {SPACE[self.dims]} c"
        options: dict[str, Any] = {
            "seed": seed,
            "name": name,
            "dtype": dtype,
            **_layer_only(kwargs),
        }
        options |= {"block": blocks(self.dims, block_size), "region": region, "scale": scale}
        super().__init__(pattern, rate, **options)
        self.data_format = found


@register_keras_serializable("mapdrop")
class DropBlock1D(_DropBlock, dims=1):
    """Drop spans of sequences, (b, t, c) or (b, c, t) (Ghiasi et al., NeurIPS 2018).

    Args:
        rate: the fraction of values to drop, from 0 to 1: exactly the mean over the sequence.
        block_size: a span's length; longer ones are cut to the sequence.
        data_format: "channels_first" or "channels_last", with one mask for one seed; None takes
            `keras.config.image_data_format()`.
        region: where a span's centre may lie: "valid", where all of it fits, or "full".
        scale: "expected", "sample", "batch" (the paper's) or None, as for `mapdrop.drop`.
        seed: a whole number from 0 to 2**64 - 1, or None, as for `Drop`.
        name: the layer's name, as for every Keras layer.
        dtype: its dtype or dtype policy, as for every Keras layer.
        **kwargs: `trainable`, as for every Keras layer.

    Raises:
        TypeError: for an argument that there is not.
        ValueError: for another argument that is out of its range.
        PatternError: when called, for an input with another number of axes.

    Examples:
        >>> mapdrop.keras.DropBlock1D(0.1, 5, data_format="channels_last").block
        (('t', 5),)
    """


@register_keras_serializable("mapdrop")
class DropBlock2D(_DropBlock, dims=2):
    """Drop blocks of maps, (b, h, w, c) or (b, c, h, w) (Ghiasi et al., arXiv 1810.12890).

    Args:
        rate: the fraction of values to drop, from 0 to 1: the mean over the map is exactly that.
        block_size: the block's side, or one size for each axis; larger ones are cut to the map.
        data_format: "channels_first" or "channels_last", with one mask for one seed; None takes
            `keras.config.image_data_format()`.
        region: where a block's centre may lie: "valid", where all of it fits, or "full".
        scale: "expected", "sample", "batch" (the paper's) or None, as for `mapdrop.drop`.
        seed: a whole number from 0 to 2**64 - 1, or None, as for `Drop`.
        name: the layer's name, as for every Keras layer.
        dtype: its dtype or dtype policy, as for every Keras layer.
        **kwargs: `trainable`, as for every Keras layer.

    Raises:
        TypeError: for an argument that there is not.
        ValueError: for another argument that is out of its range.
        PatternError: when called, for an input with another number of axes.

    Examples:
        >>> mapdrop.keras.DropBlock2D(0.1, 7, data_format="channels_last").block
        (('h', 7), ('w', 7))
    """


@register_keras_serializable("mapdrop")
class DropBlock3D(_DropBlock, dims=3):
    """Drop boxes of volumes, (b, d, h, w, c) or (b, c, d, h, w) (Ghiasi et al., NeurIPS 2018).

    Args:
        rate: the fraction of values to drop, from 0 to 1: the mean over the volume is exactly that.
        block_size: the box's side, or one size for each axis; larger ones are cut to the volume.
        data_format: "channels_first" or "channels_last", with one mask for one seed; None takes
            `keras.config.image_data_format()`.
        region: where a box's centre may lie: "valid", where all of it fits, or "full".
        scale: "expected", "sample", "batch" (the paper's) or None, as for `mapdrop.drop`.
        seed: a whole number from 0 to 2**64 - 1, or None, as for `Drop`.
        name: the layer's name, as for every Keras layer.
        dtype: its dtype or dtype policy, as for every Keras layer.
        **kwargs: `trainable`, as for every Keras layer.

    Raises:
        TypeError: for an argument that there is not.
        ValueError: for another argument that is out of its range.
        PatternError: when called, for an input with another number of axes.

    Examples:
        >>> mapdrop.keras.DropBlock3D(0.1, (3, 5, 5), data_format="channels_last").block
        (('d', 3), ('h', 5), ('w', 5))
    """
