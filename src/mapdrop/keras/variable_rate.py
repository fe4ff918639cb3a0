"""A layer's rate that compiled functions read whenever they run."""

from __future__ import annotations

from typing import Any

import keras

from mapdrop.spec.variable_rate import RateWords, rate_words


class VariableRate(keras.random.SeedGenerator):
    """A rate whose present value is part of a model's state.

    It is a generator of seeds to Keras, because what these keep is state of a layer, given to
    compiled functions, and no weight: the weights and files of a model are the same with it.

    Attributes:
        present: the present rate.
        state: its two words.
    """

    def __init__(self, rate: float) -> None:
        super().__init__(0)
        self._scheduled = _scheduled(rate)
        self.set(rate)

    def set(self, rate: float) -> None:
        """Set the present rate.

        Raises:
            RuntimeError: within an epoch on JAX, where Keras has taken the state out of the model
                and would not see the rate.
        """
        if getattr(self.state, "_value", self.state) is None:
            raise RuntimeError(
                "within an epoch on JAX a model's state is not in the model: call "
                "model.jax_state_sync() before a rate is set"
            )
        if self._scheduled is None:
            self.state.assign(keras.ops.convert_to_tensor(rate_words(rate), self.state.dtype))
        else:
            self._scheduled.p = rate
        self.present = rate

    def read(self) -> Any:
        """Return the present rate, as the `mask_spec` of the backend takes it."""
        return RateWords(self.state.value) if self._scheduled is None else self._scheduled.read()


def _scheduled(rate: float) -> Any:
    """Return PyTorch's own kind of such a rate, which its layers have; None on other backends."""
    if keras.backend.backend() != "torch":
        return None
    from mapdrop.backends.torch.rate import ScheduledRate

    return ScheduledRate(rate)
