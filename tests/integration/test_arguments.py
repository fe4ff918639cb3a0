"""Seeds, steps and streams of a wrong type are refused by every framework, at 0 too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mapdrop
from tests.conftest import framework

ARRAYS: dict[str, Callable[[], Any]] = {
    "numpy": lambda: np.ones((4, 8), np.float32),
    "numpy, large": lambda: np.ones((4, 8000), np.float32),
    "torch": lambda: framework("torch").ones(4, 8),
    "torch, large": lambda: framework("torch").ones(4, 8000),
    "torch, transposed": lambda: framework("torch").ones(8, 4).T,
    "jax": lambda: framework("jax").numpy.ones((4, 8)),
    "tensorflow": lambda: framework("tensorflow").ones((4, 8)),
}
WRONG: dict[str, dict[str, Any]] = {
    "step 0.0": {"step": 0.0},
    "step False": {"step": False},
    "step text": {"step": "0"},
    "seed 1.0": {"seed": 1.0},
    "seed True": {"seed": True},
    "stream number": {"stream": 3},
}


@pytest.mark.parametrize("made", ARRAYS)
@pytest.mark.parametrize("given", WRONG)
def test_wrong_types_are_refused(made: str, given: str) -> None:
    name = next(iter(WRONG[given]))
    x = ARRAYS[made]()
    with pytest.raises(TypeError, match=f"{name} is a"):
        mapdrop.drop(x, "b c -> b c", 0.5, **{"seed": 1, **WRONG[given]})
    mapdrop.drop(x, "b c -> b c", 0.5, seed=1)  # It is the argument that is refused.
