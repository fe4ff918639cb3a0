"""A SavedModel drops as the function did that was saved, and its gradient too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import mapdrop


class Scaled(tf.Module):
    """A weight for each map, and then dropout."""

    def __init__(self, options: dict[str, Any]) -> None:
        super().__init__()
        self.weight = tf.Variable(tf.range(1.0, 5.0))
        self.options = options

    @tf.function(
        input_signature=[tf.TensorSpec([None, None, None, 4]), tf.TensorSpec([], tf.int64)]
    )
    def run(self, x: Any, step: Any) -> Any:
        return mapdrop.drop(x * self.weight, p=0.4, step=step, **self.options)


REQUESTS: dict[str, dict[str, Any]] = {
    "spatial": {"pattern": "b h w c -> b c", "seed": 3, "stream": "a"},
    "element": {"pattern": "b h w c -> b h w c", "seed": 3},
    "exact": {"pattern": "b h w c -> b c", "seed": 3, "exact": "b"},
    "block": {"pattern": "b h w c -> b h w c", "seed": 3, "block": {"h": 3, "w": 3}},
    "sample scale": {"pattern": "b h w c -> b c", "seed": 3, "scale": "sample"},
}


@pytest.mark.parametrize("options", REQUESTS.values(), ids=REQUESTS)
def test_round_trip(options: dict[str, Any], tmp_path: Path) -> None:
    module = Scaled(options)
    tf.saved_model.save(module, str(tmp_path))
    loaded = tf.saved_model.load(str(tmp_path))
    for batch, step in ((6, 0), (3, 2**40)):
        x = np.random.default_rng(batch).standard_normal((batch, 5, 7, 4), dtype=np.float32)
        with tf.GradientTape() as tape:
            y = loaded.run(x, tf.constant(step, tf.int64))
        weighted = x * np.arange(1, 5, dtype=np.float32)
        assert np.array_equal(y, mapdrop.drop(weighted, p=0.4, step=step, **options))
        mask = mapdrop.drop(np.ones_like(x), p=0.4, step=step, **options)
        slope = tape.gradient(y, loaded.weight)
        np.testing.assert_allclose(slope, (x * mask).sum((0, 1, 2)), rtol=1e-5, atol=1e-5)
        assert 0 < (mask == 0).sum() < mask.size


def test_a_fresh_seed_stays_fresh(tmp_path: Path) -> None:
    tf.saved_model.save(Scaled({"pattern": "b h w c -> b c"}), str(tmp_path))
    loaded = tf.saved_model.load(str(tmp_path))
    x, step = tf.ones([8, 2, 2, 4]), tf.constant(0, tf.int64)
    assert not np.array_equal(loaded.run(x, step), loaded.run(x, step))
