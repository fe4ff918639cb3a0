"""Checkpoints: tensors as safetensors, with what else there is to know as JSON in its header.

One file for both, so that no kill can leave tensors of one step beside the numbers of another.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from mapdrop.localize.run.folder import FORMAT, RunError, write
from mapdrop.localize.train import Trainer

_MODEL, _OPTIMISER = "model.", "optimiser."


@dataclass(frozen=True)
class Checkpoint:
    """What a file holds.

    Attributes:
        tensors: by name.
        about: everything else, as JSON has it.
    """

    tensors: dict[str, Tensor]
    about: dict[str, Any]

    @classmethod
    def of(cls, model: nn.Module, trainer: Trainer | None, about: dict[str, Any]) -> Checkpoint:
        """A model's state, and that of the trainer who changes it, if one is to go on."""
        tensors = {_MODEL + name: tensor for name, tensor in model.state_dict().items()}
        if trainer is not None:
            state = trainer.state_dict()
            optimiser = state["optimiser"]
            for number, values in optimiser["state"].items():
                for name, tensor in values.items():
                    tensors[f"{_OPTIMISER}{number}.{name}"] = tensor
            numbers = {"groups": optimiser["param_groups"], "schedule": state["schedule"]}
            about = {**about, "trainer": numbers}
        return cls(tensors, about)

    @classmethod
    def read(cls, path: Path) -> Checkpoint:
        """Of a file that `write` wrote.

        Raises:
            RunError: when it is missing, damaged or of another format.
        """
        try:
            with safe_open(path, "pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                about = json.loads((file.metadata() or {})["mapdrop"])
        except FileNotFoundError:
            message = f"{path} is missing: the run was stopped before its first step"
            raise RunError(message) from None
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise RunError(f"{path} is no checkpoint of mapdrop's: {error}") from error
        if about.get("format") != FORMAT:
            raise RunError(f"{path} is not of format {FORMAT}, which this version of mapdrop reads")
        return cls(tensors, about)

    def write(self, path: Path) -> None:
        """To a file, whole or not at all."""
        tensors = {name: tensor.cpu().contiguous() for name, tensor in self.tensors.items()}
        text = json.dumps({"format": FORMAT, **self.about}, allow_nan=False)
        write(path, save(tensors, {"mapdrop": text}))

    def restore(self, model: nn.Module, trainer: Trainer | None = None) -> None:
        """Puts the states back.

        Raises:
            RunError: when they are those of another model.
        """
        try:
            model.load_state_dict(self._under(_MODEL))
        except RuntimeError as error:
            raise RunError(f"the checkpoint is of another network: {error}") from error
        if trainer is None:
            return
        values: dict[int, dict[str, Tensor]] = {}
        for name, tensor in self._under(_OPTIMISER).items():
            number, key = name.split(".", 1)
            values.setdefault(int(number), {})[key] = tensor
        numbers = self.about["trainer"]
        optimiser = {"state": values, "param_groups": numbers["groups"]}
        trainer.load_state_dict({"optimiser": optimiser, "schedule": numbers["schedule"]})

    def _under(self, prefix: str) -> dict[str, Tensor]:
        return {
            name.removeprefix(prefix): tensor
            for name, tensor in self.tensors.items()
            if name.startswith(prefix)
        }
