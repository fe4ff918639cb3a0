"""A warning points at the line that called the library, through any framework."""

from __future__ import annotations

import sys
import warnings
from typing import Any

import pytest

from mapdrop.spec.warn import warn_user

CALL = "def call(function, *given):\n    return function(*given)\n"


def caller(name: str) -> Any:
    """Return a function of a module of this name that calls another."""
    space: dict[str, Any] = {"__name__": name}
    exec(compile(CALL, f"{name}.py", "exec"), space)
    return space["call"]


@pytest.mark.parametrize(
    "through", [[], ["mapdrop.x"], ["torch.nn.modules", "mapdrop"], ["functools", "keras.x"] * 3]
)
def test_a_warning_is_the_user_s(through: list[str]) -> None:
    functions = [caller("users.code"), *map(caller, through)]
    with pytest.warns(UserWarning, match="what to do") as caught:
        functions[0](*functions[1:], warn_user, "what to do")
    assert [found.filename for found in caught] == ["users.code.py"]


def test_a_module_of_another_name_is_the_user_s() -> None:
    with pytest.warns(UserWarning, match="x") as caught:
        caller("torchvision")(caller("mapdrop"), warn_user, "x")
    assert caught[0].filename == "torchvision.py"


def test_a_program_that_is_a_framework_s_own_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no frame is the user's, the outermost is pointed at."""
    frame = sys._getframe()
    while frame is not None:
        monkeypatch.setitem(frame.f_globals, "__name__", "torch.run")
        outermost, frame = frame, frame.f_back  # type: ignore[assignment]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_user("x")
    assert caught[0].filename == outermost.f_code.co_filename
