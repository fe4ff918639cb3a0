"""What the commands need of a framework, and what most frameworks have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import mapdrop
from mapdrop.tools.adapters.bits import DTYPES, Bits
from mapdrop.tools.drop_kinds import DropKind

Array = Any
Drop = Callable[..., Array]
"""Takes an array and may take the mask's step after it."""
Program = Callable[[Sequence[Array]], Sequence[Array]]
"""Takes as many arrays as it gives."""


class UnavailableError(Exception):
    """Something of the framework is missing here, through no fault of mapdrop's; says what."""


@dataclass(frozen=True)
class Work:
    """Something to time: `run` returns when it is done, or for a device is started.

    `peak` gives the most bytes it holds at once beyond its input, where that can be known.
    """

    run: Callable[[], object]
    peak: Callable[[], int] | None = None


class Adapter(ABC):
    """A framework on one of its devices.

    Attributes:
        device, device_name: the device as the framework calls it, and as its maker does.
        modes: how functions may be run.
        compiled: the modes that compile every function, which takes long.
        dtypes: those that its arrays can have.
        strided: whether the axes of arrays may lie in memory in any order.
        layers: whether it drops by layers, which take neither a stream nor a step.
        dropout_name: the framework's own dropout; empty where it has none.
        channels_first: where channels are by its users' custom.
        peers_of: the kinds of dropout that its users have elsewhere, by name.
        gradients: whether they are taken by the framework.
    """

    modes: tuple[str, ...] = ("eager",)
    compiled: ClassVar[tuple[str, ...]] = ()
    dtypes: tuple[str, ...] = DTYPES
    strided: ClassVar[bool] = False
    layers: ClassVar[bool] = False
    dropout_name: ClassVar[str] = ""
    channels_first: ClassVar[bool] = False
    peers_of: ClassVar[tuple[str, ...]] = ("element", "spatial", "path")
    gradients: ClassVar[bool] = True
    device: str
    device_name: str

    def __init__(self, device: str = "cpu", device_name: str = "") -> None:
        self.device, self.device_name = device, device_name

    @classmethod
    def found(cls) -> Iterator[Adapter]:
        """Yield an adapter for every device here."""
        yield cls()

    @staticmethod
    @abstractmethod
    def versions() -> dict[str, str]:
        """Return the versions of the packages that take part."""

    @staticmethod
    def hardware() -> dict[str, str]:
        """Return what rows say of accelerators."""
        return {}

    @abstractmethod
    def to_array(self, bits: Bits, dtype: str) -> Array:
        """Return an array on the device that has these bits."""

    @abstractmethod
    def to_bits(self, array: Array) -> Bits:
        """Return an array's bits."""

    def permute(self, array: Array, axes: tuple[int, ...]) -> Array:
        """Return a view with other axes, where arrays are strided."""
        raise NotImplementedError

    def drop(self, pattern: str, p: float, options: Mapping[str, Any], dtype: str) -> Drop:
        """Return what drops an array of this dtype as `mapdrop.drop` does."""
        given = {"step": 0, **options}
        return lambda x, step=given["step"]: mapdrop.drop(x, pattern, p, **{**given, "step": step})

    def own_dropout(self) -> Drop | None:
        """Return the framework's own dropout of half of the values; None where it has none."""
        return None

    def program(self, mode: str, drops: Sequence[Drop]) -> Program:
        """Return a function in this mode that drops each of several arrays."""
        return one_by_one(drops)

    def wait(self, array: Array) -> Array:
        """Return the array when it is computed."""
        return array

    @abstractmethod
    def random(self, size: tuple[int, ...], dtype: str, layout: str) -> Array:
        """Return normal noise; `layout` is "channels first" or "channels last" in memory."""

    @abstractmethod
    def ours(self, kind: DropKind, size: tuple[int, ...]) -> Drop:
        """Return mapdrop's drop as the framework's users would write it."""

    @abstractmethod
    def peers(self, kind: DropKind, size: tuple[int, ...]) -> dict[str, Drop]:
        """Return what else the framework's users have for it, by the names that they know."""

    @abstractmethod
    def work(self, drop: Drop, array: Array, backward: bool) -> Work:
        """Return the work of dropping an array, with the gradient or without."""

    @abstractmethod
    def copy(self, array: Array, passes: int) -> tuple[str, Work]:
        """Return the name and the work of the least that moves the array's bytes."""

    def synchronize(self) -> None:  # noqa: B027 - most have nothing to wait for
        """Return when all that was started on the device is done."""


def one_by_one(drops: Sequence[Drop]) -> Callable[[Sequence[Array]], list[Array]]:
    """Return what drops each array by its drop: run as it is, or compiled as one function."""
    return lambda arrays: [drop(x) for drop, x in zip(drops, arrays, strict=True)]


def at_step(drops: Sequence[Drop]) -> Callable[[Sequence[Array], Any], list[Array]]:
    """Return the same at the mask's step that comes with the arrays: 0 in what is compiled.

    A compiler that knew it would work the mask out beforehand, perhaps on another device.
    """
    return lambda arrays, step: [drop(x, step) for drop, x in zip(drops, arrays, strict=True)]


def passes_named(thing: str, passes: int) -> str:
    """Return "a copy" for one pass, "two copies" for two; of "negation" likewise."""
    plural = f"{thing.removesuffix('y')}ies" if thing.endswith("y") else f"{thing}s"
    return f"a {thing}" if passes == 1 else f"two {plural}"
