"""Guards for what PyTorch's compiler reads and does not guard.

These are the methods and attributes of classes, and what changes inside a tuple.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from operator import is_
from typing import Any

from torch import nn

_LIBRARIES = ("mapdrop.torch.layers", "mapdrop._layers.settings", "mapdrop._layers.patterns")
_CONTAINERS = (list, dict, set)


class Guards:
    """The contents of a model's classes, and of the containers inside its tuples."""

    def __init__(self, model: nn.Module) -> None:
        classes: dict[type, Mapping[str, Any]] = {}
        inside: dict[int, Any] = {}
        for module in model.modules():
            for value in (module, *vars(module).values()):
                classes.update((kind, vars(kind)) for kind in _classes(value))
                inside.update((id(container), container) for container in _inside_tuples(value))
        watched = (*classes.values(), *inside.values())
        self._contents = [(container, _content(container)) for container in watched]

    def hold(self) -> bool:
        """Return whether nothing changed."""
        for container, content in self._contents:
            now = _content(container)
            same = len(now) == len(content)
            if not same or not (all(map(is_, now, content)) or all(map(_unchanged, now, content))):
                return False
        return True


def _classes(value: Any) -> Iterator[type]:
    """Yield the classes of an object that a user wrote."""
    for kind in type(value).__mro__:
        home = kind.__module__.partition(".")[0]
        library = home == "torch" or home in sys.stdlib_module_names
        if not library and kind.__module__ not in _LIBRARIES:
            yield kind


def _inside_tuples(value: Any, inside: bool = False) -> Iterator[Any]:
    if isinstance(value, tuple):
        for part in value:
            yield from _inside_tuples(part, True)
    elif inside and isinstance(value, _CONTAINERS):
        yield value
        for part in value.values() if isinstance(value, dict) else value:
            yield from _inside_tuples(part, True)


def _content(container: Any) -> list[Any]:
    """Return what a container holds, in order. Lists compare what is the same object at once."""
    if isinstance(container, Mapping):
        return [*container, *container.values()]
    return list(container)


def _unchanged(value: Any, expected: Any) -> bool:
    """Return whether a value is the same object, or an equal constant."""
    constant = isinstance(value, (int, float, str)) and type(value) is type(expected)
    return value is expected or (constant and bool(value == expected))
