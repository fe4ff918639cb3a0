"""A program: the steps of a forward, in order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

Env = dict[Any, Any]
"""The values of a step: by node, or by whatever else a step stores."""
Run = Callable[[Env, Any], Any]
"""What a step does, with the values so far and what a client keeps for one call."""


@dataclass(frozen=True)
class Step:
    """One thing to do, the slot of its result, the slots that it reads, and those it frees."""

    slot: Any
    run: Run
    reads: tuple[Any, ...] = ()
    frees: tuple[Any, ...] = ()


@dataclass(frozen=True, eq=False)
class Program:
    """The steps of a forward; the last one's result is the output."""

    steps: tuple[Step, ...]

    @classmethod
    def of(cls, steps: Iterable[Step]) -> Program:
        """Return a program in which each step frees the slots that no later one reads."""
        given = list(steps)
        last: dict[Any, int] = {}
        for number, step in enumerate(given):
            last.update(dict.fromkeys((step.slot, *step.reads), number))
        last.pop(given[-1].slot, None)
        frees: dict[int, list[Any]] = {}
        for slot, number in last.items():
            frees.setdefault(number, []).append(slot)
        return cls(tuple(replace(s, frees=tuple(frees.get(i, ()))) for i, s in enumerate(given)))

    def run(self, inputs: Sequence[Any], state: Any) -> Any:
        """Return the output. `state` is what the steps keep for this call."""
        env: Env = {"inputs": inputs}
        for step in self.steps:
            env[step.slot] = step.run(env, state)
            for slot in step.frees:
                del env[slot]
        return env[self.steps[-1].slot]
