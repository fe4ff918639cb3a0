"""The schedule: the steps of a training forward, in order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, fx

from mapdrop.torch.compact.choice import Choice
from mapdrop.torch.compact.dataflow import Dataflow
from mapdrop.torch.compact.node import Env
from mapdrop.torch.compact.storage import Run, StepState, Storage


@dataclass
class Step:
    """One thing to do, the slot of its result, and the slots that no later step reads."""

    slot: Any
    run: Run
    frees: tuple[Any, ...] = ()


@dataclass
class Schedule:
    """The steps of a training forward, for inputs of certain shapes.

    Attributes:
        steps: in order.
        samples: the batch size.
        block: each sample's rows are padded to a multiple of it.
        flow, choice: what the steps follow from.
        storages: how the result of each operation is stored.
        state_type: the class of a step's state.
        last: the state of the last call.
    """

    steps: list[Step]
    samples: int
    block: int
    flow: Dataflow
    choice: Choice
    storages: dict[fx.Node, Storage]
    state_type: type[StepState] = StepState
    last: StepState | None = None

    @property
    def skips(self) -> bool:
        """Whether anything is skipped."""
        return any(storage.packed for storage in self.storages.values())

    def run(self, values: list[Tensor]) -> Any:
        """Return the model's output."""
        env: Env = {"inputs": values}
        state = self.state_type(self.samples, self.block)
        self.last = state
        for step in self.steps:
            env[step.slot] = step.run(env, state)
            for slot in step.frees:
                del env[slot]
        return env["output"]
