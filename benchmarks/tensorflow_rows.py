"""mapdrop against tf.nn.dropout in a tf.function: python -m benchmarks.tensorflow_rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

import mapdrop
from benchmarks.timing import interleaved

SHAPE = (32, 56, 56, 256)
P = 0.5
Drop = Callable[[Any], Any]
# work: ours, TensorFlow's own
KINDS: dict[str, tuple[Drop, Drop]] = {
    "element-wise": (
        lambda x: mapdrop.drop(x, "b h w c -> b h w c", P),
        lambda x: tf.nn.dropout(x, P),
    ),
    "spatial": (
        lambda x: mapdrop.drop(x, "b h w c -> b c", P),
        lambda x: tf.nn.dropout(x, P, noise_shape=(SHAPE[0], 1, 1, SHAPE[-1])),
    ),
}


def _forward(drop: Drop, x: Any, upstream: Any) -> Callable[[], object]:
    run = tf.function(drop, autograph=False)
    return lambda: run(x)


def _both(drop: Drop, x: Any, upstream: Any) -> Callable[[], object]:
    @tf.function(autograph=False)
    def run(x: Any, upstream: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = drop(x)
        return y, tape.gradient(y, x, output_gradients=upstream)

    return lambda: run(x, upstream)


DIRECTIONS = {"forward": _forward, "forward and backward": _both}
DTYPES = {"float32": tf.float32, "bfloat16": tf.bfloat16}


def main(rounds: int = 9) -> None:
    """Print a row for each work: medians in milliseconds, and their ratio."""
    print(f"{' x '.join(map(str, SHAPE))}, p = {P}, tensorflow {tf.__version__}")
    for dtype_name, dtype in DTYPES.items():
        x = tf.cast(tf.random.normal(SHAPE), dtype)
        upstream = tf.cast(tf.random.normal(SHAPE), dtype)
        for kind, (ours, theirs) in KINDS.items():
            for direction, make in DIRECTIONS.items():
                works = {"mapdrop": make(ours, x, upstream), "tf": make(theirs, x, upstream)}
                times = interleaved(works, rounds)
                one, other = times["mapdrop"].median, times["tf"].median
                print(
                    f"{kind}, {direction}, {dtype_name}: mapdrop {1e3 * one:.1f} ms, "
                    f"tf.nn.dropout {1e3 * other:.1f} ms, ratio {one / other:.2f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
