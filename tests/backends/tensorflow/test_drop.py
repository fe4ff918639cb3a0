"""drop() on TensorFlow's tensors: eager, in graphs, under XLA; sizes known and unknown."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf

import mapdrop
from mapdrop.backends.tensorflow.coins import TensorFlowSpace
from mapdrop.backends.tensorflow.seeds import source
from mapdrop.spec.law import Law, centre_rate, threshold
from tests import checks
from tests.backends.tensorflow.modes import MODES, Drop, graph
from tests.cases import ALL, BALANCE, BLOCK, EXACT, INDEPENDENT, SCALE, Case
from tests.conftest import framework

DTYPES = {
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
    "float32": np.dtype(np.float32),
    "float64": np.dtype(np.float64),
}
SOME = [case for part in (INDEPENDENT, EXACT, BALANCE, BLOCK, SCALE) for case in part[::5]]


def to_numpy(x: Any) -> Any:
    return x.numpy()


def check(drop: Drop, case: Case, dtype: Any = np.float32) -> None:
    checks.check_drop(drop, tf.constant, to_numpy, case, dtype)


# --- The specification.


@pytest.mark.parametrize("mode", ["eager", "graph, sizes unknown", "XLA"])
@pytest.mark.parametrize("case", ALL, ids=str)
def test_drop(case: Case, mode: str) -> None:
    check(MODES[mode], case)


@pytest.mark.parametrize("mode", ["eager", "XLA, sizes unknown"])
@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize("case", SOME, ids=str)
def test_dtypes(case: Case, name: str, mode: str) -> None:
    check(MODES[mode], case, DTYPES[name])


BROKEN: dict[str, Drop] = {
    "identity": lambda x, pattern, p, **options: tf.identity(x),
    "other seed": lambda x, pattern, p, **options: mapdrop.drop(
        x, pattern, p, **{**options, "seed": options["seed"] + 1}
    ),
    "other step": lambda x, pattern, p, **options: mapdrop.drop(
        x, pattern, p, **{**options, "step": options.get("step", 0) + 1}
    ),
    "times a mask": lambda x, pattern, p, **options: (
        x * mapdrop.drop(tf.ones_like(x), pattern, p, **options)
    ),
    "TensorFlow's own": lambda x, pattern, p, **options: tf.nn.dropout(x, p, seed=options["seed"]),
}


@pytest.mark.parametrize("drop", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("wrap", [lambda d: d, graph], ids=["eager", "graph"])
def test_broken_drops_are_rejected(drop: Drop, wrap: Any) -> None:
    with pytest.raises(AssertionError):
        check(wrap(drop), INDEPENDENT[0])


@pytest.mark.parametrize("p", [0.1, 1 / 3, 0.5, 0.999])
@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize("mode", ["eager", "XLA"])
def test_every_value_is_rounded_once(name: str, p: float, mode: str) -> None:
    bits, raw = 8 * DTYPES[name].itemsize, f"u{DTYPES[name].itemsize}"
    step = (2 ** (bits - 16) + 1) if bits > 16 else 1
    x = (np.arange(2**16, dtype=np.uint64) * np.uint64(step)).astype(raw).view(DTYPES[name])
    wide = np.float64 if name == "float64" else np.float32
    # TensorFlow's kernels take the smallest numbers, the subnormal ones, for 0.
    with np.errstate(all="ignore"):
        x = x[~(np.abs(x.astype(wide)) < np.finfo(wide).tiny) | (x == 0)]
        product = (x.astype(wide) * wide(1 / (1 - p))).astype(x.dtype)
    kept = mapdrop.mask("n -> n", x.shape, p, seed=9).coins
    came = MODES[mode](tf.constant(x), "n -> n", p, seed=9).numpy()
    assert checks.same_bits(came[kept], product[kept])
    assert (came[~kept].view(raw) == 0).all()


def test_the_rate_is_p_in_16_bits() -> None:
    """Uniform numbers of bfloat16 have 128 values: TensorFlow's own drops 0.0078 for 0.001."""
    x = tf.ones([1000, 1000], tf.bfloat16)
    dropped = np.mean(mapdrop.drop(x, "a b -> a b", 0.001, seed=1) == 0)
    assert abs(dropped - 0.001) < 5 * (0.001 / 1e6) ** 0.5
    assert abs(np.mean(tf.nn.dropout(x, 0.001, seed=1) == 0) - 0.001) > 0.005


def test_one_mask_in_every_framework() -> None:
    torch = framework("torch")
    x = np.random.default_rng(0).standard_normal((5, 6, 7, 4), dtype=np.float32)
    for pattern in ("b c h w -> b c", "b c h w -> b h w c", "b ... -> b"):
        ours = mapdrop.drop(tf.constant(x), pattern, 0.3, seed=9, stream="t", step=4).numpy()
        assert np.array_equal(ours, mapdrop.drop(x, pattern, 0.3, seed=9, stream="t", step=4))
        other = mapdrop.drop(torch.from_numpy(x), pattern, 0.3, seed=9, stream="t", step=4)
        assert np.array_equal(ours, other.numpy())


@pytest.mark.parametrize("case", SOME, ids=str)
@pytest.mark.parametrize("name", DTYPES)
def test_a_mask_applied(case: Case, name: str) -> None:
    x = checks.inputs(case.shape, DTYPES[name])
    made = mapdrop.mask(case.pattern, case.shape, case.p, **case.options)
    assert checks.same_bits(made.apply(tf.constant(x)).numpy(), made.apply(x))


# --- Unknown sizes.


def test_what_is_known_of_the_shape_stays_known() -> None:
    seen = []

    @tf.function(input_signature=[tf.TensorSpec([None, 4, 4, 8])])
    def run(x: Any) -> Any:
        y = mapdrop.drop(x, "b h w (g k) -> b g", 0.5, seed=1, k=2)
        seen.append(y.shape.as_list())
        return y

    for batch in (3, 1, 0):
        x = np.ones((batch, 4, 4, 8), np.float32)
        want = mapdrop.drop(x, "b h w (g k) -> b g", 0.5, seed=1, k=2)
        assert np.array_equal(run(x), want)
    assert seen == [[None, 4, 4, 8]]


def test_a_rank_that_only_the_pattern_knows() -> None:
    x = np.ones((3, 5), np.float32)
    run = tf.function(
        lambda z: mapdrop.drop(z, "b c -> b c", 0.5, seed=1), input_signature=[tf.TensorSpec(None)]
    )
    assert np.array_equal(run(x), mapdrop.drop(x, "b c -> b c", 0.5, seed=1))
    wild = tf.function(
        lambda z: mapdrop.drop(z, "b ... -> b", 0.5),
        input_signature=[tf.TensorSpec(None)],
        autograph=False,
    )
    with pytest.raises(mapdrop.PatternError, match="rank is unknown"):
        wild(x)


@pytest.mark.parametrize("autograph", [False, True])
def test_a_pattern_that_does_not_fit_is_refused_when_traced(autograph: bool) -> None:
    run = tf.function(
        lambda z: mapdrop.drop(z, "b h w (g 3) -> b g", 0.5),
        input_signature=[tf.TensorSpec([None, None, 4, 8])],
        autograph=autograph,
    )
    # AutoGraph makes another error of it, with the same text.
    kind = Exception if autograph else mapdrop.PatternError
    with pytest.raises(kind, match="an axis of 8 does not split") as caught:
        run(np.ones((2, 4, 4, 8), np.float32))
    assert "shape: (None, None, 4, 8)" in str(caught.value)


@pytest.mark.parametrize(
    ("pattern", "options", "message"),
    [
        ("(m n) c -> m c", {"n": 3}, "does not split into parts of 3"),
        ("4 c -> c", {}, "another size"),
    ],
)
def test_a_size_that_does_not_fit_is_refused_when_it_runs(
    pattern: str, options: dict[str, Any], message: str
) -> None:
    run = tf.function(
        lambda z: mapdrop.drop(z, pattern, 0.5, **options),
        input_signature=[tf.TensorSpec([None, 8])],
    )
    assert run(np.ones((12 if options else 4, 8), np.float32)).shape[1] == 8
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        run(np.ones((5, 8), np.float32))


@pytest.mark.parametrize("region", ["valid", "full"])
@pytest.mark.parametrize("p", [0.001, 0.1, 0.5, 0.99])
def test_the_centres_threshold_is_the_specification_s(p: float, region: str) -> None:
    law = Law(p, block=((1, 7), (2, 4)), region=region)
    limit = tf.function(
        lambda h, w: TensorFlowSpace((2, h, w, 3), source(7, None, 0)).threshold(law),
        input_signature=[tf.TensorSpec([], tf.int64)] * 2,
    )
    for h, w in ((1, 1), (3, 9), (7, 4), (14, 14), (28, 13), (56, 56)):
        want = threshold(centre_rate(law, (2, h, w, 3)))
        assert int(limit(tf.constant(h, tf.int64), tf.constant(w, tf.int64))) == want


# --- Seeds.


class TestSeeds:
    x = tf.ones([8, 16])

    def drop(self, **options: Any) -> Any:
        return mapdrop.drop(self.x, "b c -> b c", 0.5, **options).numpy()

    @pytest.mark.parametrize(
        "tensor",
        [
            tf.constant(7), tf.constant([7], tf.int64), tf.constant(7, tf.uint8),
            tf.constant(7, tf.uint32), tf.constant([[7]], tf.uint64), tf.Variable(7),
        ],
        ids=lambda t: f"{type(t).__name__} {t.dtype.name} {t.shape}",
    )  # fmt: skip
    def test_a_tensor_is_the_number_in_it(self, tensor: Any) -> None:
        assert np.array_equal(self.drop(seed=tensor), self.drop(seed=7))
        same = self.drop(seed=tensor, stream="a", step=tensor)
        assert np.array_equal(same, self.drop(seed=7, stream="a", step=7))

    @pytest.mark.parametrize("number", [2**32, 2**63 - 1, 2**63, 2**64 - 1])
    def test_64_bits(self, number: int) -> None:
        bits = tf.constant(number, tf.uint64)
        for tensor in (bits, tf.bitcast(bits, tf.int64)):
            same = self.drop(seed=tensor, step=tensor, stream="a")
            assert np.array_equal(same, self.drop(seed=number, step=number, stream="a"))

    def test_in_a_graph(self) -> None:
        @tf.function(jit_compile=True)
        def run(x: Any, seed: Any, step: Any) -> Any:
            return mapdrop.drop(x, "b c -> b c", 0.5, seed=seed, step=step, stream="a")

        for number in (0, 5):
            came = run(self.x, tf.constant(7, tf.int64), tf.constant(number))
            assert np.array_equal(came, self.drop(seed=7, step=number, stream="a"))

    @pytest.mark.parametrize("xla", [False, True])
    def test_none_is_fresh_in_each_call_of_a_function(self, xla: bool) -> None:
        run = tf.function(lambda x: mapdrop.drop(x, "b c -> b c", 0.5), jit_compile=xla)
        masks = {run(self.x).numpy().tobytes() for _ in range(8)}
        assert len(masks) == 8

    @pytest.mark.parametrize("stream", ["", "s", "A", "encoder", "größe", *map(str, range(8))])
    def test_every_stream_of_a_seed_that_a_graph_is_given(self, stream: str) -> None:
        """The hash of a name has numbers on both sides of 2**63, or on one: "A" has both."""

        @tf.function(input_signature=[tf.TensorSpec([], tf.uint64)])
        def run(seed: Any) -> Any:
            return mapdrop.drop(tf.ones([8, 16]), "b c -> b c", 0.5, seed=seed, stream=stream)

        wanted = mapdrop.drop(
            np.ones((8, 16), np.float32), "b c -> b c", 0.5, seed=7, stream=stream
        )
        assert np.array_equal(run(tf.constant(7, tf.uint64)), wanted)

    def test_none_follows_set_seed(self) -> None:
        tf.random.set_seed(5)
        first, second = self.drop(), self.drop()
        assert not np.array_equal(first, second)
        tf.random.set_seed(5)
        assert np.array_equal(self.drop(), first)
        assert np.array_equal(self.drop(), second)

    def test_a_generator(self) -> None:
        one, two = (tf.random.Generator.from_seed(5) for _ in range(2))
        first = self.drop(seed=one)
        assert np.array_equal(first, self.drop(seed=two))
        assert not np.array_equal(first, self.drop(seed=two))

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"seed": -1}, "seed is a whole number from 0"),
            ({"seed": 2**64}, "seed is a whole number from 0"),
            ({"seed": True}, "seed is a whole number"),
            ({"seed": tf.constant(1.5)}, "a seed tensor has one integer"),
            ({"seed": tf.constant([1, 2])}, "a seed tensor has one integer"),
            ({"step": -1}, "step is a whole number"),
            ({"step": tf.constant(1.0)}, "a step tensor has one integer"),
            ({"stream": 7}, "stream is a name"),
        ],
        ids=str,
    )
    def test_wrong_ones_are_refused(self, options: dict[str, Any], message: str) -> None:
        with pytest.raises((TypeError, ValueError), match=message):
            self.drop(**{"seed": 1, **options})


# --- What else is promised.


def test_p_0_is_the_same_object_and_draws_nothing() -> None:
    x = tf.ones([3, 4])
    tf.random.set_seed(5)
    want = tf.random.uniform([])
    tf.random.set_seed(5)
    assert mapdrop.drop(x, "b c -> b c", 0.0) is x
    assert tf.random.uniform([]) == want
    variable = tf.Variable(x)
    assert mapdrop.drop(variable, "b c -> b c", 0) is variable
    with pytest.raises(mapdrop.PatternError):
        mapdrop.drop(x, "b c h -> b c", 0.0)


def test_a_variable_is_read() -> None:
    variable = tf.Variable(tf.ones([8, 16]))
    came = mapdrop.drop(variable, "b c -> b c", 0.5, seed=7)
    assert np.array_equal(came, mapdrop.drop(np.ones((8, 16)), "b c -> b c", 0.5, seed=7))
    assert np.array_equal(variable, np.ones((8, 16)))


@pytest.mark.parametrize("dtype", [tf.int32, tf.bool, tf.dtypes.experimental.float8_e4m3fn])
def test_other_dtypes_are_refused_with_a_reason(dtype: Any) -> None:
    with pytest.raises(TypeError, match=r"which needs floats; tf.cast\(x, tf.float32\)"):
        mapdrop.drop(tf.cast(tf.ones(4), dtype), "n -> n", 0.5)


@pytest.mark.parametrize(
    "options", [{"inplace": True}, {"out": np.ones(4)}], ids=["inplace", "out"]
)
def test_writing_is_refused_with_a_reason(options: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="tensors never change"):
        mapdrop.drop(tf.ones(4), "n -> n", 0.5, **options)


@pytest.mark.parametrize("p", [-0.5, 1.5, float("nan"), "0.5", True, None, [0.5]])
def test_a_wrong_rate_is_refused_with_what_came(p: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="p is the fraction to drop"):
        mapdrop.drop(tf.ones(4), "n -> n", p)


_TRACED = """
import importlib, sys
# TensorFlow brings Keras, which imports these where it finds them: seconds.
sys.modules.update(dict.fromkeys(("jax", "matplotlib", "sklearn")))
import tensorflow as tf, mapdrop
@tf.function
def drop(x):
    return mapdrop.drop(x, "b c -> b c", 0.5)
@tf.function
def apply(x):
    return mapdrop.mask("b c -> b c", (4, 8), 0.5, seed=1).apply(x)
@tf.function
def twin(x):
    return importlib.import_module("wave") and x
for traced in drop, apply, twin:
    print("traced", traced.__name__, file=sys.stderr)
    traced(tf.ones([4, 8]))
"""


@pytest.fixture(scope="module")
def heard(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bool]:
    """Whether AutoGraph says something while it traces each function, in a new interpreter."""
    script = tmp_path_factory.mktemp("autograph") / "traced.py"  # AutoGraph reads the source.
    script.write_text(_TRACED)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    _, *parts = done.stderr.split("traced ")
    return {part.split()[0]: "AutoGraph" in part for part in parts}


@pytest.mark.parametrize("function", ["drop", "apply"])
def test_autograph_has_nothing_to_say(function: str, heard: dict[str, bool]) -> None:
    assert not heard[function]


def test_autograph_twin(heard: dict[str, bool]) -> None:
    assert heard["twin"]
