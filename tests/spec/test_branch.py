"""What a residual branch must keep to."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mapdrop.spec.branch import check_arrays, check_branch, check_inputs


def test_inputs_are_arrays() -> None:
    check_arrays([np.ones(2), np.float64(1)], (np.ndarray, np.generic))
    message = r"inputs\[1\] has .* and is a ndarray or generic, not list: .* lambda x: block"
    with pytest.raises(TypeError, match=message):
        check_arrays([np.ones(2), [1.0]], (np.ndarray, np.generic))


def test_an_array_s_name_is_without_its_module() -> None:
    kind = type("framework.Tensor", (), {})
    with pytest.raises(TypeError, match="is a Tensor, not int"):
        check_arrays([1], (kind,))


@pytest.mark.parametrize(
    ("shape", "inputs"),
    [
        ((3,), []),
        ((3, 4), [(3,), (3, 9)]),
        ((None, 4), [(3,), (None,)]),
        ((3, 4), [(None,)]),
        ((0,), [(0, 1)]),
    ],
    ids=str,
)
def test_inputs_with_as_many_samples(shape: Any, inputs: Any) -> None:
    check_inputs(shape, inputs)


def test_x_without_axes_has_no_samples() -> None:
    with pytest.raises(ValueError, match="x has no axes"):
        check_inputs((), [])


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([(3, 4), (2, 4)], r"inputs\[1\] has shape \(2, 4\), and x has 3 samples"),
        ([()], r"inputs\[0\] has shape \(\), and x has 3 samples"),
        ([(4, 3)], r"inputs\[0\] has shape \(4, 3\)"),
    ],
    ids=str,
)
def test_inputs_with_other_numbers_of_samples(inputs: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_inputs((3, 4), inputs)


@pytest.mark.parametrize(
    ("came", "given"), [((2, 3), (2, 3)), ((None, 3), (2, 3)), ((2, 3), (2, None)), ((), ())]
)
def test_a_branch_returns_the_shape_it_is_given(came: Any, given: Any) -> None:
    check_branch(came, given)


@pytest.mark.parametrize("came", [(2, 4), (3, 3), (2,), (2, 3, 1), (None, 4), ()], ids=str)
def test_a_branch_that_returns_another_shape(came: Any) -> None:
    with pytest.raises(ValueError, match=r"given, \(2, 3\), .* returned \("):
        check_branch(came, (2, 3))
