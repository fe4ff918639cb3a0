"""Drawn cases on one backend of Keras. Run by test_backends.py, as body.py."""

from __future__ import annotations

import os
from typing import Any

import keras
import pytest
from hypothesis import Phase

from tests.integration.everywhere.frameworks import KERAS
from tests.integration.everywhere.search import WRONG, broken, search

# A layer has no streams, and keeps the number of the call in 31 bits.
LIMITS: dict[str, Any] = {"streams": False, "last_step": 2**31 - 2}


def test_drawn_cases() -> None:
    assert keras.backend.backend() == os.environ["KERAS_BACKEND"]
    search(KERAS.run, KERAS.few, **LIMITS)


@pytest.mark.long
def test_many_drawn_cases() -> None:
    print(keras.backend.backend(), search(KERAS.run, KERAS.many, **LIMITS), "cases")


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_a_wrong_result_twin(wrong: Any) -> None:
    with pytest.raises(AssertionError, match=r"values differ|another dtype"):
        search(broken(KERAS.run, wrong), 40, [Phase.generate], **LIMITS)
