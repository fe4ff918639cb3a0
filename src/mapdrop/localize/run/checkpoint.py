"""Checkpoints: tensors as safetensors, and other values as JSON in the file's header.

Both are in one file, so that an interruption can't leave the tensors of one step beside the values
of another.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from mapdrop.localize.run.folder import FORMAT, RunError
from mapdrop.localize.train import Trainer
from mapdrop.system.files import opened, write

_MODEL, _OPTIMISER = "model.", "optimiser."


@dataclass(frozen=True)
class Checkpoint:
    """The contents of a checkpoint file.

    Attributes:
        tensors: by name.
        metadata: all other values, as JSON.
    """

    tensors: dict[str, Tensor]
    metadata: dict[str, Any]

    @classmethod
    def of(cls, model: nn.Module, trainer: Trainer | None, metadata: dict[str, Any]) -> Checkpoint:
        """Capture a model's state, and its trainer's, if training is to continue."""
        tensors = {_MODEL + name: tensor for name, tensor in model.state_dict().items()}
        if trainer is not None:
            for number, values in trainer.state_dict()["optimiser"]["state"].items():
                for name, tensor in values.items():
                    tensors[f"{_OPTIMISER}{number}.{name}"] = tensor
            metadata = {**metadata, "trainer": _trainer_values(trainer)}
        return cls(tensors, metadata)

    @classmethod
    def read(cls, path: Path) -> Checkpoint:
        """Read a file that `write` wrote.

        Raises:
            RunError: when it is missing, damaged or of another format.
        """
        try:
            opened(path).close()  # Refuse anything but a regular file, which could be endless.
            with safe_open(path, "pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                metadata = json.loads((file.metadata() or {})["mapdrop"])
        except FileNotFoundError:
            message = f"{path} is missing: the run was stopped before its first step"
            raise RunError(message) from None
        except (OSError, SafetensorError, KeyError, ValueError, RecursionError) as error:
            raise RunError(f"{path} is not a checkpoint of mapdrop: {error}") from error
        if not isinstance(metadata, dict) or metadata.get("format") != FORMAT:
            raise RunError(f"{path} is not of format {FORMAT}, which this version of mapdrop reads")
        # Files of earlier versions have no digest.
        if metadata.pop("digest", digest := _digest(tensors, metadata)) != digest:
            raise RunError(f"{path} is damaged: its digest does not match; restore it")
        infinite = [name for name, tensor in tensors.items() if not tensor.isfinite().all()]
        if infinite:
            raise RunError(
                f"{path} holds numbers that are not finite, in {infinite[0]}; train again"
            )
        return cls(tensors, metadata)

    def write(self, path: Path) -> None:
        """Write the checkpoint to a file, atomically."""
        tensors = {name: tensor.cpu().contiguous() for name, tensor in self.tensors.items()}
        metadata = {"format": FORMAT, **self.metadata}
        text = json.dumps({**metadata, "digest": _digest(tensors, metadata)}, allow_nan=False)
        write(path, save(tensors, {"mapdrop": text}))

    def restore(self, model: nn.Module, trainer: Trainer | None = None) -> None:
        """Restore the states of a model and its trainer.

        Raises:
            RunError: when the checkpoint is of another model or training.
        """
        try:
            model.load_state_dict(self._with_prefix(_MODEL))
        except RuntimeError as error:
            differences = " ".join(str(error).split())
            raise RunError(f"the checkpoint is of another network: {differences}") from error
        if trainer is None:
            return
        numbers = self.metadata["trainer"]
        if not _same_structure(numbers, json.loads(json.dumps(_trainer_values(trainer)))):
            raise RunError("the checkpoint is of another training; choose another --out")
        optimiser = {"state": self._moments(trainer), "param_groups": numbers["groups"]}
        trainer.load_state_dict({"optimiser": optimiser, "schedule": numbers["schedule"]})

    def _moments(self, trainer: Trainer) -> dict[int, dict[str, Tensor]]:
        """Return AdamW's state of each parameter, by the parameter's number."""
        values: dict[int, dict[str, Tensor]] = {}
        for number, parameter in enumerate(trainer.parameters):
            state = self._with_prefix(f"{_OPTIMISER}{number}.")
            shapes = {"step": (), "exp_avg": parameter.shape, "exp_avg_sq": parameter.shape}
            if state and {name: tensor.shape for name, tensor in state.items()} != shapes:
                raise RunError("the checkpoint is of another training; choose another --out")
            if state:
                values[number] = state
        return values

    def _with_prefix(self, prefix: str) -> dict[str, Tensor]:
        return {
            name.removeprefix(prefix): tensor
            for name, tensor in self.tensors.items()
            if name.startswith(prefix)
        }


def _digest(tensors: dict[str, Tensor], metadata: dict[str, Any]) -> str:
    """Hash everything in a file, so that a single flipped bit is noticed."""
    hashed = {name: value for name, value in metadata.items() if name != "digest"}
    digest = blake2b(json.dumps(hashed).encode(), digest_size=16)
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _trainer_values(trainer: Trainer) -> dict[str, Any]:
    """Return a trainer's state without its tensors."""
    state = trainer.state_dict()
    return {"groups": state["optimiser"]["param_groups"], "schedule": state["schedule"]}


def _same_structure(one: Any, other: Any) -> bool:
    """Return whether two JSON values are equal except for numbers."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(
            _same_structure(one[key], other[key]) for key in one
        )
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same_structure, one, other))
    if type(one) in (int, float) and type(other) in (int, float):
        return True
    return bool(one == other and type(one) is type(other))
