"""`mapdrop.residual` in every framework: x + drop(branch(x)), and a branch that sees kept samples.

One body for all. A way has the framework's function, and gives what it returned with the gradients
of x and of the branch's parameter.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import mapdrop
from mapdrop import PatternError
from tests.conftest import framework

Array = NDArray[Any]
Added = Callable[[Any, Any], Any]  # Of x and the branch's parameter.


@dataclass(frozen=True)
class Case:
    """A call, how many samples of its batch are kept, and how many may be where that is limited."""

    kept: int
    most: int | None = None
    batch: int = 8
    p: float = 0.5
    pattern: str = "b ... -> b"
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.batch, 2, 3

    def rows(self) -> NDArray[np.intp]:
        """The samples that are kept, by the specification's mask."""
        mask = mapdrop.mask(self.pattern, self.shape, self.p, **self.options)
        return np.flatnonzero(mask.apply(np.ones(self.shape))[:, 0, 0])


def case(kept: int, most: int | None = None, **given: Any) -> Case:
    own = {name: given.pop(name) for name in ("batch", "p", "pattern") if name in given}
    return Case(kept, most, **own, options=given)


CASES = {
    "path": case(5, seed=0),
    "named axes": case(5, pattern="b n c -> b", seed=0),
    "stream and step": case(3, seed=2, stream="s", step=4),
    "groups": case(4, pattern="(m s) ... -> m", s=2, seed=7),
    "groups, members": case(4, pattern="(m s) ... -> s", m=4, seed=0),
    "the whole batch, kept": case(8, pattern="... ->", seed=1),
    "the whole batch, dropped": case(0, pattern="... ->", seed=0),
    "balance, floor": case(5, 6, p=0.3, balance="b", seed=0),
    "balance, ceil": case(6, 6, p=0.3, balance="b", seed=2),
    "balance, groups": case(4, 6, p=0.4, pattern="(m s) ... -> m", s=2, balance="m", seed=2),
    "balance, none or one": case(0, 1, p=0.95, balance="b", seed=0),
    "exact": case(5, 5, p=0.4, exact="b", seed=3),
    "scale by the batch": case(5, scale="batch", seed=0),
    "scale by the sample": case(5, scale="sample", seed=0),
    "unscaled": case(5, scale=None, seed=0),
    "all kept": case(8, p=0.05, seed=1),
    "one kept": case(1, p=0.9, seed=0),
    "none kept": case(0, p=0.9, seed=1),
    "batch 1, kept": case(1, 1, batch=1, p=0.4, balance="b", seed=0),
    "batch 1, dropped": case(0, 1, batch=1, p=0.4, balance="b", seed=3),
    "batch 0": case(0, batch=0, seed=0),
    "rate 0": case(8, p=0.0, seed=0),
    "rate 1": case(0, p=1.0, seed=0),
    "rate 1, balance": case(0, 0, p=1.0, balance="b", seed=0),
}
cases = pytest.mark.parametrize("name", CASES)


def test_the_cases_are_what_they_are_called() -> None:
    found = {name: (len(case.rows()), case.kept) for name, case in CASES.items()}
    assert {name: pair for name, pair in found.items() if pair[0] != pair[1]} == {}


# --- Ways: a framework's function of x and w, run, with the gradients of its square's sum.


class Numpy:
    """Without gradients, which NumPy has not."""

    padded = False
    make = staticmethod(np.asarray)

    def run(self, function: Added, x: Array, w: Array) -> list[Array]:
        return [function(x, w)]


class Torch:
    padded = False

    def make(self, x: Array) -> Any:
        return framework("torch").tensor(x)

    def compiled(self, function: Added) -> Added:
        return function

    def run(self, function: Added, x: Array, w: Array) -> list[Array]:
        given = [self.make(a).requires_grad_() for a in (x, w)]
        y = self.compiled(function)(*given)
        y.square().sum().backward()
        return [a.detach().numpy() for a in (y, *(g.grad for g in given))]


class Compiled(Torch):
    """In one graph."""

    padded = True

    def __init__(self, backend: str) -> None:
        self.backend = backend

    def compiled(self, function: Added) -> Added:
        torch = framework("torch")
        torch.compiler.reset()
        made: Added = torch.compile(function, backend=self.backend, fullgraph=True)
        return made


class Jax:
    padded = False

    def make(self, x: Array) -> Any:
        return framework("jax").numpy.asarray(x)

    def compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return function

    def run(self, function: Added, x: Array, w: Array) -> list[Array]:
        jax = framework("jax")

        def both(x: Any, w: Any) -> Any:
            loss = lambda x, w: (function(x, w) ** 2).sum()  # noqa: E731
            return function(x, w), *jax.grad(loss, (0, 1))(x, w)

        with jax.enable_x64(True):
            return [*map(np.asarray, self.compiled(both)(self.make(x), self.make(w)))]


class Jitted(Jax):
    padded = True

    def compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        made: Callable[..., Any] = framework("jax").jit(function)
        return made


class TensorFlow:
    padded = False

    def make(self, x: Array) -> Any:
        return framework("tensorflow").constant(x)

    def compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return function

    def run(self, function: Added, x: Array, w: Array) -> list[Array]:
        tf = framework("tensorflow")

        def both(x: Any, w: Any) -> Any:
            with tf.GradientTape() as tape:
                tape.watch([x, w])
                y = function(x, w)
                loss = tf.reduce_sum(y**2)
            return y, *map(tf.convert_to_tensor, tape.gradient(loss, [x, w]))

        return [a.numpy() for a in self.compiled(both)(self.make(x), self.make(w))]


class Graph(TensorFlow):
    """A function whose sizes are known, or not; compiled by XLA, or not."""

    def __init__(self, known: bool = True, xla: bool = False) -> None:
        self.known, self.xla = known, xla

    def compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        tf = framework("tensorflow")
        options: dict[str, Any] = {"autograph": False, "jit_compile": self.xla}
        if not self.known:
            wanted = [(None, None, 3), (3, 3)]
            options["input_signature"] = [tf.TensorSpec(shape, tf.float64) for shape in wanted]
        made: Callable[..., Any] = tf.function(function, **options)
        return made


WAYS: dict[str, Any] = {
    "numpy": Numpy(),
    "torch": Torch(),
    "torch, aot_eager": Compiled("aot_eager"),
    "jax": Jax(),
    "jax, jit": Jitted(),
    "tensorflow": TensorFlow(),
    "tensorflow, graph": Graph(),
    "tensorflow, sizes unknown": Graph(known=False),
    "tensorflow, XLA": Graph(xla=True),
}
ways = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)


def values(case: Case) -> tuple[Array, Array]:
    random = np.random.default_rng(0)
    return random.standard_normal(case.shape), random.standard_normal((3, 3))


def branch(x: Any, w: Any) -> Any:
    """Of each sample by itself, and not linear."""
    return (x @ w) ** 2 + x[:, :1] @ w


def check(way: Any, case: Case, added: Callable[..., Any] = mapdrop.residual) -> None:
    """It returns x + drop(branch(x)), with its gradients, and its branch sees kept samples.

    Raises AssertionError.
    """
    x, w = values(case)
    seen: list[tuple[int | None, ...]] = []

    def watched(x: Any, w: Any) -> Any:
        seen.append(tuple(x.shape))
        return branch(x, w)

    def ours(x: Any, w: Any) -> Any:
        return added(lambda x: watched(x, w), x, case.p, case.pattern, **case.options)

    def dense(x: Any, w: Any) -> Any:
        return x + mapdrop.drop(branch(x, w), case.pattern, case.p, **case.options)

    came, wanted = way.run(ours, x, w), way.run(dense, x, w)
    for name, one, other in zip(("y", "x's gradient", "w's gradient"), came, wanted, strict=False):
        assert one.dtype == np.float64
        np.testing.assert_allclose(one, other, 1e-10, 1e-10, err_msg=name)
    changed = (came[0] != x).any((1, 2))
    assert np.array_equal(np.flatnonzero(changed), case.rows())
    count = case.kept
    if way.padded:
        count = case.batch if case.most is None else case.most
    assert {shape[0] for shape in seen} <= {count, None}
    assert {shape[1:] for shape in seen} <= {(2, 3), (None, 3)}
    assert len(seen) >= 1


@ways
@cases
def test_it_is_x_and_the_dropped_branch(way: Any, name: str) -> None:
    check(way, CASES[name])


@pytest.mark.compiler
def test_by_inductor() -> None:
    check(Compiled("inductor"), CASES["balance, floor"])


# --- Twins: what the check refuses.


def _dense(branch: Any, x: Any, p: float, pattern: str, **options: Any) -> Any:
    return x + mapdrop.drop(branch(x), pattern, p, **options)


def _another_scale(branch: Any, x: Any, p: float, pattern: str, **options: Any) -> Any:
    return mapdrop.residual(branch, x, p, pattern, **{**options, "scale": "batch"})


def _another_mask(branch: Any, x: Any, p: float, pattern: str, **options: Any) -> Any:
    return mapdrop.residual(branch, x, p, pattern, **{**options, "seed": 5})


WRONG = {
    "all samples run": _dense,
    "the identity": lambda branch, x, p, pattern, **options: x + 0 * branch(x),
    "nothing dropped": lambda branch, x, p, pattern, **options: x + branch(x),
    "scaled by the batch": _another_scale,
    "another mask": _another_mask,
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("way", [Numpy(), Torch()], ids=["numpy", "torch"])
def test_what_is_wrong_fails_twin(way: Any, wrong: Callable[..., Any]) -> None:
    with pytest.raises(AssertionError):
        check(way, CASES["path"], wrong)


# --- Other arrays with samples.


@ways
def test_inputs_are_those_of_the_kept_samples(way: Any) -> None:
    chosen = CASES["balance, floor"]
    x, w = values(chosen)
    by_sample = way.make(np.arange(8.0)[:, None, None])

    def ours(x: Any, w: Any) -> Any:
        return mapdrop.residual(
            lambda x, s, first: x @ w * s + first,
            x, 0.3, inputs=(by_sample, x[:, :1]), **chosen.options,
        )  # fmt: skip

    def dense(x: Any, w: Any) -> Any:
        made = x @ w * by_sample + x[:, :1]
        return x + mapdrop.drop(made, chosen.pattern, 0.3, **chosen.options)

    for one, other in zip(way.run(ours, x, w), way.run(dense, x, w), strict=True):
        np.testing.assert_allclose(one, other, 1e-10, 1e-10)


# --- Dropped samples that are not finite.


def of_zeros(way: Any, case: Case) -> list[Array]:
    """Results of a branch that makes NaN, and gradients of NaN, of dropped samples, which are 0."""
    x, w = values(case)
    x[np.setdiff1d(np.arange(case.batch), case.rows())] = 0.0

    def added(x: Any, w: Any) -> Any:
        def unit(x: Any) -> Any:
            return x / (x[:, :1] ** 2) ** 0.5 @ w

        return mapdrop.residual(unit, x, case.p, case.pattern, **case.options)

    with np.errstate(invalid="ignore"):
        made: list[Array] = way.run(added, x, w)
    return made


@ways
@pytest.mark.parametrize("name", ["path", "balance, floor", "balance, none or one", "none kept"])
def test_results_know_nothing_of_dropped_samples(way: Any, name: str) -> None:
    y, *_ = of_zeros(way, CASES[name])
    assert np.isfinite(y).all()
    assert np.array_equal(np.flatnonzero(y.any((1, 2))), CASES[name].rows())


@ways
@pytest.mark.parametrize("name", ["balance, floor", "balance, groups", "exact"])
def test_gradients_know_nothing_of_dropped_samples(way: Any, name: str) -> None:
    for made in of_zeros(way, CASES[name]):
        assert np.isfinite(made).all()


# --- Dtypes.


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("way", [Numpy(), Torch(), Jax(), Jitted()], ids=lambda w: type(w).__name__)
def test_results_are_rounded_as_drop_rounds_them(way: Any, dtype: str) -> None:
    x = np.random.default_rng(0).standard_normal((8, 50)).astype(dtype)

    def ours(x: Any) -> Any:
        return mapdrop.residual(lambda x: x * 3, x, 0.3, seed=0)

    def dense(x: Any) -> Any:
        return x + mapdrop.drop(x * 3, "b ... -> b", 0.3, seed=0)

    given = way.make(x)
    one, other = np.asarray(ours(given)), np.asarray(dense(given))
    assert one.dtype == other.dtype == dtype
    assert np.array_equal(one, other)


@pytest.mark.parametrize("way", [Numpy(), Torch(), Jax()], ids=lambda way: type(way).__name__)
def test_a_branch_may_change_the_dtype_and_may_be_complex(way: Any) -> None:
    x, turn = np.ones((8, 2), np.float32), np.complex64(3j)
    given, factor = way.make(x), way.make(turn)
    came = np.asarray(mapdrop.residual(lambda x: x * factor, given, 0.5, seed=0))
    wanted = x + mapdrop.drop(x * turn, "b ... -> b", 0.5, seed=0)
    assert came.dtype == np.complex64
    assert np.array_equal(came, wanted)
    assert set(came.ravel().tolist()) == {1, 1 + 6j}


# --- Errors.

ERRORS: dict[str, tuple[Callable[[Any], Any], type[Exception], str]] = {
    "coins of another axis": (
        lambda x: mapdrop.residual(_same, x, 0.5, "b n c -> b c"), PatternError,
        "the axis 'c' has coins of its own.*instead: 'b ... -> b'",
    ),
    "coins of the last axis": (
        lambda x: mapdrop.residual(_same, x, 0.5, "... c -> c"), PatternError, "the axis 'c' has",
    ),
    "coins of all": (
        lambda x: mapdrop.residual(_same, x, 0.5, "... -> ..."), PatternError, "the axis '...' has",
    ),
    "a pattern that does not fit": (
        lambda x: mapdrop.residual(_same, x, 0.5, "b n -> b"), PatternError, "names 2 axes",
    ),
    "a size of another axis": (
        lambda x: mapdrop.residual(_same, x, 0.5, "b (n k) c -> b", k=3), PatternError,
        "an axis of 2 does not split",
    ),
    "a rate above 1": (lambda x: mapdrop.residual(_same, x, 1.5), ValueError, "from 0 to 1"),
    "a wrong seed": (lambda x: mapdrop.residual(_same, x, 0.5, seed=-1), ValueError, "seed is a"),
    "a wrong stream": (
        lambda x: mapdrop.residual(_same, x, 0.5, stream=_wrong(3)), TypeError, "stream is a",
    ),
    "an axis to balance": (
        lambda x: mapdrop.residual(_same, x, 0.5, balance="c"), PatternError,
        "balance='c' does not name",
    ),
    "another shape": (
        lambda x: mapdrop.residual(lambda x: x[:, :1], x, 0.5), ValueError,
        "returns the shape that it is given",
    ),
    "another rank": (
        lambda x: mapdrop.residual(lambda x: x[:, 0], x, 0.5), ValueError,
        "returns the shape that it is given",
    ),
    "inputs of other samples": (
        lambda x: mapdrop.residual(_same, x, 0.5, inputs=(x, x[:3])), ValueError,
        r"inputs\[1\] has shape .*, and x has 4 samples",
    ),
    "inputs without samples": (
        lambda x: mapdrop.residual(_same, x, 0.5, inputs=(x[0, 0, 0],)), ValueError,
        r"inputs\[0\] has shape \(\)",
    ),
    "inputs that are no arrays": (
        lambda x: mapdrop.residual(_same, x, 0.5, inputs=(x, _wrong(None))), TypeError,
        r"inputs\[1\] has a row for each sample of x.*not NoneType",
    ),
}  # fmt: skip
EAGER = {name: way for name, way in WAYS.items() if "," not in name}


def _same(x: Any, *_: Any) -> Any:
    return x


def _wrong(value: Any) -> Any:
    return value


@pytest.mark.parametrize(("call", "kind", "message"), ERRORS.values(), ids=ERRORS)
@pytest.mark.parametrize("way", EAGER.values(), ids=EAGER)
def test_errors(way: Any, call: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=f"(?s){message}"):
        call(way.make(np.ones((4, 2, 3), np.float32)))


@ways
def test_a_branch_that_could_be_broadcast_is_refused(way: Any) -> None:
    """Its only row would be added to all kept samples."""

    def added(x: Any, w: Any) -> Any:
        return mapdrop.residual(lambda x: branch(x, w)[:1], x, 0.3, seed=0)

    with pytest.raises(Exception, match=r"shape|Observed exception"):
        way.run(added, *values(CASES["path"]))


SIZED = {name: way for name, way in WAYS.items() if "unknown" not in name}


@pytest.mark.parametrize("way", SIZED.values(), ids=SIZED)
def test_arrays_of_no_values(way: Any) -> None:
    def added(x: Any, w: Any) -> Any:
        return mapdrop.residual(lambda x: x @ w, x, 0.5, seed=0)

    y, *gradients = way.run(added, np.ones((4, 2, 0)), np.ones((0, 0)))
    assert y.shape == (4, 2, 0)
    assert [g.shape for g in gradients] in ([], [(4, 2, 0), (0, 0)])


def test_a_rate_in_an_array_that_is_written_to_is_read_each_time() -> None:
    arrays: list[Any] = [np.zeros(()), framework("torch").zeros(())]
    for array in arrays:
        found = []
        for rate in (0.0, 1.0):
            array[...] = rate
            found.append(mapdrop.drop(np.ones((3, 2)), "b c -> b", array, seed=0).sum())
        assert found == [6, 0]


@pytest.mark.parametrize("way", EAGER.values(), ids=EAGER)
def test_an_array_without_axes_is_refused(way: Any) -> None:
    with pytest.raises(ValueError, match="x has no axes"):
        mapdrop.residual(_same, way.make(np.ones(())), 0.5, "... ->")


@pytest.mark.parametrize("way", EAGER.values(), ids=EAGER)
def test_a_branch_that_returns_whole_numbers_is_refused(way: Any) -> None:
    whole = way.make(np.ones((4, 2), np.int32))
    with pytest.raises(TypeError, match="kept values are scaled"):
        mapdrop.residual(lambda x: x, whole, 0.5, seed=0)
