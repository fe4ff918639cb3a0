"""Masks: what follows from random numbers and from no data, and how to draw it again.

Whoever writes a drop, and in whatever way, multiplies data by such a mask. It can be drawn again
without the model: the calls that made it are kept, and read nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mapdrop.backends.torch._internals import pytree, storage_of
from mapdrop.torch.graph.graph import operation_name

_LIKE = {
    *("empty_like", "zeros_like", "ones_like", "full_like"),
    *("rand_like", "randn_like", "randint_like"),
    *("new_empty", "new_zeros", "new_ones", "new_full", "new_empty_strided", "fresh_seed"),
}
"""Operations that read the shape and the type of their first tensor, and no values."""
_VALUE_BY_VALUE = {
    *("empty", "empty_like", "new_empty", "zeros", "zeros_like", "new_zeros", "ones", "ones_like"),
    *("new_ones", "full", "full_like", "new_full", "fill", "rand", "rand_like", "uniform"),
    *("bernoulli", "randn", "randn_like", "normal", "randint", "randint_like", "random"),
    *("add", "sub", "rsub", "mul", "div", "floor", "round", "clamp", "where", "to_copy"),
    *("lt", "le", "gt", "ge", "eq", "ne", "logical_not", "bitwise_not", "clone", "detach", "view"),
    *("unsqueeze", "squeeze", "copy"),
}
"""Operations of which each value of the result follows from one value of each input."""
_WITHIN_MAPS = {"max_pool2d_with_indices", "max_pool3d_with_indices", "constant_pad_nd"}
"""Operations that mix the values of a map, and no maps: of arrays (b, c, ...)."""

Key = tuple[Any, ...]


def name_of(function: Any) -> str:
    """Return the name of an operator, without its library and without marks of writing."""
    return operation_name(function).split(".")[-1].strip("_")


def tensors_in(value: Any) -> list[Tensor]:
    """Return the tensors in the arguments or the result of a call."""
    return [leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, Tensor)]


@dataclass(frozen=True, eq=False)
class _Call:
    """A call that reads no data."""

    function: Callable[..., Any]
    args: Any
    kwargs: Any
    result: Any
    drawn: bool  # Whether it draws random numbers itself.

    @property
    def name(self) -> str:
        return name_of(self.function)

    @property
    def settings(self) -> list[Any]:
        """What it is called with; of tensors, their shapes, types and devices."""
        leaves = pytree.tree_leaves((self.args, self.kwargs))
        return [(v.shape, v.dtype, v.device) if isinstance(v, Tensor) else v for v in leaves]


class Masks:
    """Notes every call of a run, and keeps those that read no data."""

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        self._free: dict[int, bool] = {}  # By storage: whether it follows from random numbers.

    def is_free(self, tensor: Tensor) -> bool:
        """Return whether a tensor follows from no data."""
        return storage_of(tensor) in self._free

    def is_random(self, tensor: Tensor) -> bool:
        """Return whether a tensor follows from random numbers alone."""
        return self._free.get(storage_of(tensor), False)

    def note(self, function: Any, args: Any, kwargs: Any, result: Any) -> None:
        """Note a call that was made."""
        args = _without_data(name_of(function), args, self._free)
        read = tensors_in((args, kwargs))
        made = {storage_of(tensor) for tensor in tensors_in(result)}
        if not all(map(self.is_free, read)):
            for storage in made:  # Data were written into what was free of them.
                self._free.pop(storage, None)
            return
        drawn = torch.Tag.nondeterministic_seeded in function.tags
        random = drawn or any(map(self.is_random, read))
        for storage in made:
            self._free[storage] = random or self._free.get(storage, False)
        # What is kept here stays in memory, so that no other tensor has its storage.
        self._calls.append(_Call(function, args, kwargs, result, drawn))

    def program(self, mask: Tensor) -> Program:
        """Return the calls that made a mask."""
        needed, calls = {storage_of(mask)}, []
        for call in reversed(self._calls):
            if needed.intersection(storage_of(t) for t in tensors_in(call.result)):
                calls.append(call)
                needed.update(storage_of(t) for t in tensors_in((call.args, call.kwargs)))
        return Program(calls[::-1], mask)


class Program:
    """The calls that made a mask, which make another one each time they are run.

    Attributes:
        independent: how many parts of a mask are certainly independent of each other.
        law: two programs with equal laws make masks alike.
    """

    def __init__(self, calls: list[_Call], mask: Tensor) -> None:
        self._calls: list[tuple[Any, Any, Any, list[int]]] = []
        self._slots: dict[Key, int] = {}
        for call in calls:
            args, kwargs = self._with_slots((call.args, call.kwargs))
            made = [
                self._slots.setdefault(_key(t), len(self._slots)) for t in tensors_in(call.result)
            ]
            self._calls.append((call.function, args, kwargs, made))
        self._mask = self._slots[_key(mask)]
        sizes = [t.numel() for call in calls if call.drawn for t in tensors_in(call.result)]
        names = {call.name for call in calls}
        self.independent: int = _independent(names, min([*sizes, mask.numel()]), tuple(mask.shape))
        self.law: tuple[tuple[Any, ...], ...] = tuple((call.name, *call.settings) for call in calls)

    def _with_slots(self, value: Any) -> Any:
        """Return arguments with slots in the place of the tensors that the program makes."""

        def slot(tensor: Tensor) -> Any:
            at = self._slots.get(_key(tensor))
            return tensor if at is None else _Slot(at)

        return pytree.tree_map_only(Tensor, slot, value)

    def __call__(self) -> Tensor:
        """Draw another mask."""
        made: list[Any] = [None] * len(self._slots)

        def filled(value: Any) -> Any:
            if isinstance(value, _Slot):
                return made[value.number]
            return [filled(part) for part in value] if isinstance(value, (list, tuple)) else value

        for function, args, kwargs, slots in self._calls:
            result = function(*map(filled, args), **{n: filled(v) for n, v in kwargs.items()})
            for slot, tensor in zip(slots, tensors_in(result), strict=True):
                made[slot] = tensor
        mask: Tensor = made[self._mask]
        return mask


@dataclass(frozen=True)
class _Slot:
    """The place of a tensor that an earlier call of a program makes."""

    number: int


def _without_data(name: str, args: Any, free: dict[int, bool]) -> Any:
    """Return arguments whose first tensor is free of data, if its values are not read or constant.

    In the place of the former stands an empty likeness, so that it need not stay in memory.
    """
    if not args or not isinstance(args[0], Tensor):
        return args
    first = args[0]
    if name in _LIKE:
        first = torch.empty((), dtype=first.dtype, device=first.device).expand(first.shape)
    elif name != "lift_fresh":  # Which makes a tensor of Python's numbers.
        return args
    free.setdefault(storage_of(first), False)
    return first, *args[1:]


def _key(tensor: Tensor) -> Key:
    place = tensor.storage_offset(), tuple(tensor.shape), tensor.stride(), tensor.dtype
    return storage_of(tensor), *place


def _independent(names: set[str], numbers: int, shape: tuple[int, ...]) -> int:
    """Return how many parts of one mask are certainly independent; 1 if that is unknown."""
    if names <= _VALUE_BY_VALUE:
        return max(1, numbers)
    if names <= _VALUE_BY_VALUE | _WITHIN_MAPS and len(shape) >= 4:
        return max(1, min(numbers, math.prod(shape[:2])))
    return 1
