"""Eager functions that are called often: they are traced, and run as graphs from then on.

Eagerly each operation costs as much as a thousand coins. A graph is called as one, and uses
memory again. But tracing it takes as long as some twenty calls: a shape that comes but once is not
worth that.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

_OFTEN = 16  # Calls before tracing: who then calls no more has paid about twice.


class Frequent:
    """A function of tensors, which does not depend on anything else that changes."""

    def __init__(self, function: Callable[..., tuple[tf.Tensor, ...]]) -> None:
        self._function = function
        self._calls = 0

    def __call__(self, *tensors: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """Call it."""
        self._calls += 1
        if self._calls == _OFTEN:
            self._function = tf.function(self._function, autograph=False)
        return self._function(*tensors)
