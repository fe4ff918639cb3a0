"""Dropout rates that follow the steps of `fit`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from mapdrop.keras.layers import Drop
from mapdrop.rates.of_layers import check_any, check_rates, rates_at
from mapdrop.rates.of_step import Rates
from mapdrop.spec.warn import warn_user


class RateSchedule(keras.callbacks.Callback):
    """Let the dropout rates of a model follow the steps of `fit`, as one of its callbacks.

    Rates change without tracing or compiling anything again, on every backend, and the masks are
    those of layers that have these rates. The step is the optimizer's number of iterations, which
    is saved with it, so that a run resumed has the rates of the undisturbed one. A layer's own rate
    is its `rate`; it stays what it was and is what is saved, and the layer has it again after
    `fit`. With `steps_per_execution` a rate stays for so many steps. A call of a layer at rate 0
    counts here, and draws a mask that keeps all, where a layer without a schedule does neither.

    On JAX each step at which a rate changes takes the model's state out of the compiled loop and
    back (`jax_state_sync`).

    In a loop of your own, call `set_model(model)` before the step is compiled, `on_train_begin()`,
    before each step `on_train_batch_begin(step)`, and `on_train_end()`.

    Args:
        rate: a function of the step, from 0 on, and of a layer's own rate, as `mapdrop.rates` has
            them. It returns the rate, from 0 to 1, and the same one whenever it is asked.

    Attributes:
        rates: the present rate of each layer, by its path in the model.

    Raises:
        TypeError: for a rate that is no function.
        ValueError: in `fit`, for a model without a layer of `mapdrop.keras`, and for rates that are
            0 at every step or out of range.

    Warns:
        UserWarning: of Keras' own dropout in the model, which keeps its rate.

    Examples:
        >>> net = keras.Sequential([keras.layers.Dense(8), mapdrop.keras.Dropout(0.4)])
        >>> net.compile("sgd", "mse")
        >>> ramp = mapdrop.keras.RateSchedule(mapdrop.rates.linear(0, 1, steps=4))
        >>> x = np.ones((6, 8), "float32")
        >>> _ = net.fit(x, x, batch_size=2, verbose=0, callbacks=[ramp])  # 3 steps
        >>> list(ramp.rates.values())
        [0.2]
    """

    def __init__(self, rate: Rates) -> None:
        super().__init__()
        self._rate = check_rates(rate)
        self._layers: dict[str, Drop] = {}
        self._optimizer: Any = None
        self._begun = 0  # Its steps before the epoch.
        self.rates: dict[str, float] = {}

    def set_model(self, model: Any) -> None:
        """Take the layers of a model, and let what is compiled from now on read their rates.

        Args:
            model: the model; `fit` gives it.

        Raises:
            ValueError: for a model without a layer of `mapdrop.keras`, or rates that are 0 always.
        """
        super().set_model(model)
        self._optimizer = getattr(model, "optimizer", None)
        every = model._flatten_layers()
        self._layers = _named([layer for layer in every if isinstance(layer, Drop)])
        others = ", ".join(f"{type(m).__name__} {_name(m)!r}" for m in every if _drops(m))
        if not self._layers:
            found = f"it has {others}, which it cannot change" if others else ""
            raise ValueError(
                "the model has no layer of mapdrop.keras to schedule; "
                + (found or "if it makes its layers when it is built, call its build first")
            )
        check_any(self._rate, self._own)
        if others:
            warn_user(
                f"the schedule does not change {others}: use mapdrop.keras' layers of these names"
            )
        if any(layer.variable_rate is None for layer in self._layers.values()):
            model.train_function = None  # An earlier one has their rates as constants.
        for layer in self._layers.values():
            layer.make_rate_variable()

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Begin with the optimizer's step.

        Args:
            logs: not used.
        """
        self._begun = self._iterations()

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Count the epoch's batches from the optimizer's step on.

        Args:
            epoch: not used.
            logs: not used.
        """
        self._begun = self._iterations()

    def on_train_batch_begin(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Set the rates of the step.

        Args:
            batch: the number of the batch in its epoch, from 0 on.
            logs: not used.

        Raises:
            ValueError: for a rate that is out of range.
        """
        together = getattr(self._optimizer, "gradient_accumulation_steps", None) or 1
        self._set(rates_at(self._rate, self._begun + batch // together, self._own))
        self.rates = {path: _present(layer) for path, layer in self._layers.items()}

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Give the layers their own rates again.

        Args:
            logs: not used.
        """
        self._set(self._own)

    @property
    def _own(self) -> dict[str, float]:
        return {path: layer.rate for path, layer in self._layers.items()}

    def _iterations(self) -> int:
        if self._optimizer is None:
            return 0
        _ = self.model  # On JAX this puts the state into the model, and its optimizer.
        return int(keras.ops.convert_to_numpy(self._optimizer.iterations))

    def _set(self, rates: Mapping[str, float]) -> None:
        changed = {n: p for n, p in rates.items() if p != _present(self._layers[n])}
        if changed:
            _ = self.model  # On JAX this puts the state into the model.
        for path, p in changed.items():
            self._layers[path].make_rate_variable().set(p)


def _name(layer: Any) -> str:
    """Return a layer's path in its model; its name before it has one, and on Keras before 3.6."""
    return getattr(layer, "path", None) or layer.name  # type: ignore[no-any-return]


def _named(layers: Sequence[Drop]) -> dict[str, Drop]:
    """Return layers by their paths, numbered where two models inside one have the same."""
    found: dict[str, Drop] = {}
    for layer in layers:
        name = _name(layer)
        found[f"{name} ({len(found)})" if name in found else name] = layer
    return found


def _present(layer: Drop) -> float:
    return layer.make_rate_variable().present


def _drops(layer: Any) -> bool:
    """Return whether a layer is a dropout of Keras' own, at a rate that is not 0."""
    rate = getattr(layer, "rate", getattr(layer, "dropout", 0))
    named = "Dropout" in type(layer).__name__ or hasattr(layer, "dropout")
    return not isinstance(layer, Drop) and named and isinstance(rate, (int, float)) and rate > 0
