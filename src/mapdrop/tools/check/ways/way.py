"""A way to run a drop: one framework on one device, eagerly or compiled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import mapdrop
from mapdrop.tools.check.bits import DTYPES, Bits
from mapdrop.tools.check.cases import Case

Step = Callable[..., Any]  # An array, and the mask's step if it's not the case's -> an array.


def dropping(case: Case) -> Step:
    """`mapdrop.drop` as the case asks for it."""
    options = {"step": 0, **case.options}
    return lambda x, step=options["step"]: mapdrop.drop(
        x, case.pattern, case.p, **{**options, "step": step}
    )


def one_by_one(steps: Sequence[Step]) -> Callable[[Sequence[Any]], list[Any]]:
    """Each array through its step: what is run as it is, or compiled as one function."""
    return lambda xs: [step(x) for step, x in zip(steps, xs, strict=True)]


def at_step(steps: Sequence[Step]) -> Callable[[Sequence[Any], Any], list[Any]]:
    """The same, at the mask's step that comes with the arrays: 0 in what is compiled.

    A compiler that knew it would work the mask out beforehand, perhaps on another device.
    """
    return lambda xs, number: [step(x, number) for step, x in zip(steps, xs, strict=True)]


class UnavailableError(Exception):
    """The way cannot be had here, through no fault of mapdrop's; says what is missing."""


@dataclass(frozen=True)
class Way:
    """How to go it.

    Attributes:
        mode: "eager", or the framework's name of its compiler.
        array: bits and a dtype -> an array on the device.
        bits: an array -> its bits.
        device, device_name: as the framework calls it, and as its maker does.
        together: steps -> a function of as many arrays.
        step: a case -> what drops its array.
        own: the framework's own dropout of half of the values; None where it has none.
        own_name: what that is called.
        ready: waits until an array is there, for frameworks that answer before they are done.
        permute: turns an array's axes; None where arrays have no memory layout to choose.
        dtypes: those that its arrays can have.
        compiled: every drop costs a compilation's time, so it is asked for the common cases alone.
        layer: layers take neither a stream nor a step.
    """

    mode: str
    array: Callable[[Bits, str], Any]
    bits: Callable[[Any], Bits]
    device: str = "cpu"
    device_name: str = ""
    together: Callable[[Sequence[Step]], Callable[[Sequence[Any]], Sequence[Any]]] = one_by_one
    step: Callable[[Case], Step] = dropping
    own: Step | None = None
    own_name: str = ""
    ready: Callable[[Any], Any] = lambda y: y
    permute: Callable[[Any, tuple[int, ...]], Any] | None = None
    dtypes: tuple[str, ...] = DTYPES
    compiled: bool = False
    layer: bool = False

    def takes(self, case: Case, quick: bool) -> bool:
        """Whether the case is one for this way."""
        if case.dtype not in self.dtypes or (self.compiled and not case.common):
            return False
        if case.memory != "dense":
            return self.permute is not None
        if self.layer and case.options.keys() & {"stream", "step"}:
            return False
        return case.common or not quick

    def given(self, case: Case) -> Any:
        """The case's input, laid out in memory as it asks."""
        if case.memory == "dense":
            return self.array(case.x, case.dtype)
        if case.memory == "sliced":
            return self.array(np.repeat(case.x, 2, axis=2), case.dtype)[:, :, ::2]
        assert self.permute is not None
        last = np.ascontiguousarray(case.x.transpose(0, 2, 3, 1))
        return self.permute(self.array(last, case.dtype), (0, 3, 1, 2))
