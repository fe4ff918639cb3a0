"""TensorFlow's own generator starts alike in every test: fresh masks are the same each time."""

from __future__ import annotations

import pytest
import tensorflow as tf


@pytest.fixture(autouse=True)
def _generator() -> None:
    tf.random.set_seed(0)
