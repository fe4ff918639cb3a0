"""Checkpoints: tensors as safetensors, with what else there is to know as JSON in its header.

One file for both, so that no kill can leave tensors of one step beside the numbers of another.
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
            for number, values in trainer.state_dict()["optimiser"]["state"].items():
                for name, tensor in values.items():
                    tensors[f"{_OPTIMISER}{number}.{name}"] = tensor
            about = {**about, "trainer": _numbers(trainer)}
        return cls(tensors, about)

    @classmethod
    def read(cls, path: Path) -> Checkpoint:
        """Of a file that `write` wrote.

        Raises:
            RunError: when it is missing, damaged or of another format.
        """
        try:
            opened(path).close()  # Only of regular files there is an end.
            with safe_open(path, "pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                about = json.loads((file.metadata() or {})["mapdrop"])
        except FileNotFoundError:
            message = f"{path} is missing: the run was stopped before its first step"
            raise RunError(message) from None
        except (OSError, SafetensorError, KeyError, ValueError, RecursionError) as error:
            raise RunError(f"{path} is no checkpoint of mapdrop's: {error}") from error
        if not isinstance(about, dict) or about.get("format") != FORMAT:
            raise RunError(f"{path} is not of format {FORMAT}, which this version of mapdrop reads")
        # Files of earlier versions have no digest.
        if about.pop("digest", digest := _digest(tensors, about)) != digest:
            raise RunError(f"{path} is damaged: it is not what was written; restore it")
        odd = [name for name, tensor in tensors.items() if not tensor.isfinite().all()]
        if odd:
            raise RunError(f"{path} holds numbers that are not finite, in {odd[0]}; train again")
        return cls(tensors, about)

    def write(self, path: Path) -> None:
        """To a file, whole or not at all."""
        tensors = {name: tensor.cpu().contiguous() for name, tensor in self.tensors.items()}
        about = {"format": FORMAT, **self.about}
        text = json.dumps({**about, "digest": _digest(tensors, about)}, allow_nan=False)
        write(path, save(tensors, {"mapdrop": text}))

    def restore(self, model: nn.Module, trainer: Trainer | None = None) -> None:
        """Puts the states back.

        Raises:
            RunError: when they are those of another model, or of no trainer.
        """
        try:
            model.load_state_dict(self._under(_MODEL))
        except RuntimeError as error:
            differences = " ".join(str(error).split())
            raise RunError(f"the checkpoint is of another network: {differences}") from error
        if trainer is None:
            return
        numbers = self.about["trainer"]
        if not _alike(numbers, json.loads(json.dumps(_numbers(trainer)))):
            raise RunError("the checkpoint is of another training; choose another --out")
        optimiser = {"state": self._moments(trainer), "param_groups": numbers["groups"]}
        trainer.load_state_dict({"optimiser": optimiser, "schedule": numbers["schedule"]})

    def _moments(self, trainer: Trainer) -> dict[int, dict[str, Tensor]]:
        """What AdamW keeps of each parameter, by its number."""
        values: dict[int, dict[str, Tensor]] = {}
        for number, parameter in enumerate(trainer.parameters):
            kept = self._under(f"{_OPTIMISER}{number}.")
            shapes = {"step": (), "exp_avg": parameter.shape, "exp_avg_sq": parameter.shape}
            if kept and {name: tensor.shape for name, tensor in kept.items()} != shapes:
                raise RunError("the checkpoint is of another training; choose another --out")
            if kept:
                values[number] = kept
        return values

    def _under(self, prefix: str) -> dict[str, Tensor]:
        return {
            name.removeprefix(prefix): tensor
            for name, tensor in self.tensors.items()
            if name.startswith(prefix)
        }


def _digest(tensors: dict[str, Tensor], about: dict[str, Any]) -> str:
    """Of everything in a file, in which one wrong bit would else go unnoticed."""
    rest = {name: value for name, value in about.items() if name != "digest"}
    digest = blake2b(json.dumps(rest).encode(), digest_size=16)
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _numbers(trainer: Trainer) -> dict[str, Any]:
    """What a trainer's state has beside tensors."""
    state = trainer.state_dict()
    return {"groups": state["optimiser"]["param_groups"], "schedule": state["schedule"]}


def _alike(one: Any, other: Any) -> bool:
    """Whether two values of JSON differ in nothing but their numbers."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_alike(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_alike, one, other))
    if type(one) in (int, float) and type(other) in (int, float):
        return True
    return bool(one == other and type(one) is type(other))
