"""One mask in every framework: what is drawn comes out as the specification has it, bit for bit.

`pytest -m long tests/integration/everywhere tests/keras` draws at least 10,000 different cases for
each framework.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase
from numpy.typing import NDArray

from mapdrop import kernels
from tests import checks
from tests.conftest import framework
from tests.integration.everywhere.draws import DTYPES, Draw, expected
from tests.integration.everywhere.frameworks import WAYS, Result
from tests.integration.everywhere.search import WRONG, broken, search

ways = pytest.mark.parametrize("name", WAYS)


@ways
def test_drawn_cases(name: str) -> None:
    search(WAYS[name].run, WAYS[name].few)


@pytest.mark.long
@ways
def test_many_drawn_cases(name: str) -> None:
    print(name, search(WAYS[name].run, WAYS[name].many), "cases")


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("name", ["numpy", "torch", "jax", "tensorflow"])
def test_a_wrong_result_twin(name: str, wrong: Any) -> None:
    with pytest.raises(AssertionError, match=r"values differ|another dtype"):
        search(broken(WAYS[name].run, wrong), 40, [Phase.generate])


# --- What is drawn, and what it is compared with.


def features(draw: Draw, x: NDArray[Any]) -> set[str]:
    """What a case is an example of."""
    case, options = draw.case, draw.case.options
    left, right = case.pattern.split("->")
    sizes = [f"an axis of {n}" for n in case.shape if n < 2]
    found = {draw.dtype.name, draw.fill, *sizes, *(f"a gap of {gap}" for gap in draw.gaps)}
    found |= {f"scale {options['scale']}", f"region {options.get('region')}"}
    found |= {name for name in ("exact", "balance", "block") if name in options}
    found |= {"large seed"} if options["seed"] >= 2**63 else set()
    found |= {"large step"} if options["step"] >= 2**63 else set()
    found |= {"stream"} if options["stream"] is not None else set()
    found |= {"group"} if "(" in left else set()
    found |= {"ellipsis"} if "..." in left else set()
    found |= {"placeholder"} if "1" in right.split() else set()
    found |= {"literal"} if any(token.isdigit() for token in left.split()) else set()
    found |= {"transposed"} if draw.order != tuple(sorted(draw.order)) else set()
    found |= {f"rate {case.p:g}"} if case.p in (0, 1) else set()
    found |= {"tiny rate"} if 0 < case.p < 1e-6 else set()
    found |= {"rate near 1"} if 0.999 < case.p < 1 else set()
    found |= {"many values"} if x.size > 1000 else set()
    with np.errstate(invalid="ignore"):  # Of signalling NaN.
        found |= {"NaN"} if np.isnan(x).any() else set()
        return found | ({"infinity"} if np.isinf(x).any() else set())


FEATURES = {
    *DTYPES, "normal", "wild", "any", "an axis of 0", "an axis of 1", "a gap of 2", "a gap of -1",
    "a gap of 0", "scale expected", "scale sample", "scale batch", "scale None", "region full",
    "exact", "balance", "block", "large seed", "large step", "stream", "group", "ellipsis",
    "placeholder", "literal", "transposed", "rate 0", "rate 1", "tiny rate", "rate near 1",
    "many values", "NaN", "infinity",
}  # fmt: skip


def test_everything_is_drawn() -> None:
    found: set[str] = set()

    def look(draw: Draw) -> Result:
        _, x = draw.laid_out()
        found.update(features(draw, x))
        return x, expected(draw, x)

    search(look, 1_000)
    assert found >= FEATURES, FEATURES - found


def test_the_answer_is_that_of_an_independent_reading() -> None:
    """tests/reference.py is as slow as it is plain: of the larger arrays there are enough."""

    def read_again(draw: Draw) -> Result:
        _, x = draw.laid_out(subnormal=False)
        if math.prod(draw.case.shape) > 200:
            return x, expected(draw, x)
        return x, checks.expected(draw.case, x)[1]

    search(read_again, 300)


def test_there_are_compiled_kernels() -> None:
    framework("numba")
    assert kernels.for_cpu() is not None
