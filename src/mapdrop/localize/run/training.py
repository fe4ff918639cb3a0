"""Execute a run's stages in order, with validation, checkpoints and early stopping."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mapdrop.localize import metrics
from mapdrop.localize.batches import Batches
from mapdrop.localize.cascade import Cascade
from mapdrop.localize.network import CoarseNet
from mapdrop.localize.normalise import local_contrast
from mapdrop.localize.run.checkpoint import Checkpoint
from mapdrop.localize.run.decoding import decode
from mapdrop.localize.run.folder import Folder, RunError
from mapdrop.localize.run.images import LabelledImages
from mapdrop.localize.run.process_group import ProcessGroup
from mapdrop.localize.run.settings import TrainingSettings
from mapdrop.localize.stages import stage_of
from mapdrop.localize.train import Recipe, Trainer, predict
from mapdrop.system.files import write

LogEntry = dict[str, Any]
CURVE_POINTS = 41


@dataclass
class TrainingState:
    """The state of a run that a checkpoint holds beside tensors.

    Attributes:
        stage: number of the present stage.
        step: steps made in the stage.
        best: the stage's highest validation score; None before its first validation.
        since: number of validations since the best one.
        losses: sum of the losses since the last validation.
        log: an entry for each validation.
    """

    stage: int = 0
    step: int = 0
    best: float | None = None
    since: int = 0
    losses: float = 0.0
    log: list[LogEntry] = field(default_factory=list)


@dataclass(frozen=True)
class _LogEntry:
    """The fields of a log entry, for checking."""

    stage: str
    step: int
    score: float
    median_error: float
    loss: float | None
    best: bool


class Run:
    """A model in training. `execute` trains it to the end from its present state.

    Args:
        folder: holds the checkpoints and the log.
        model: made by `NetworkSettings.build`, on the group's device.
        settings: how to train.
        train, validation: the images.
        swaps: the joint that each joint becomes in a mirrored image; None disables mirroring.
        group: the processes that train together.
        on_step: called after each step with the stage's name, the number of steps made in all
            stages, and the log entry of the step's validation, if any.
    """

    folder: Folder
    model: CoarseNet | Cascade
    settings: TrainingSettings
    group: ProcessGroup
    train: LabelledImages
    validation: LabelledImages
    on_step: Callable[[str, int, LogEntry | None], None]

    def __init__(
        self,
        folder: Folder,
        model: CoarseNet | Cascade,
        settings: TrainingSettings,
        train: LabelledImages,
        validation: LabelledImages,
        swaps: list[int] | None,
        group: ProcessGroup,
        on_step: Callable[[str, int, LogEntry | None], None] = lambda stage, step, entry: None,
    ) -> None:
        group.check_batch(settings.batch)
        self.folder, self.model, self.settings, self.group = folder, model, settings, group
        self.train, self.validation, self.on_step = train, validation, on_step
        self.stages: dict[str, Recipe] = settings.stages(isinstance(model, Cascade))
        images, points = (tensor.to(group.device) for tensor in train.tensors)
        self.batches: Batches = Batches(
            images,
            points,
            settings.batch,
            settings.seed,
            replace(settings.augment, flip=swaps is not None),
            swaps,
            group.rank,
            group.world_size,
        )
        self.validation_inputs: Tensor = local_contrast(
            validation.tensors[0].to(group.device).float()
        )
        self.state: TrainingState = TrainingState()
        self.saved: Checkpoint | None = None

    @property
    def description(self) -> str:
        """Describe the network and its data in a sentence."""
        train, parameters = self.train, sum(p.numel() for p in self.model.parameters())
        kind = "a cascade" if isinstance(self.model, Cascade) else "a coarse network"
        return (
            f"{train.name}: {kind} of {parameters:,} parameters, {len(train)} training and "
            f"{len(self.validation)} validation images of {train.size[0]}x{train.size[1]} pixels, "
            f"{len(train.joints)} joints, on {self.group.world_size} x {self.group.device}"
        )

    @property
    def total(self) -> int:
        """Return the number of steps of all stages, if none ends early."""
        return sum(recipe.steps for recipe in self.stages.values())

    @property
    def steps_left(self) -> dict[str, int]:
        """Return the number of steps of each stage that are not made yet, if none ends early."""
        steps = {name: recipe.steps for name, recipe in self.stages.items()}
        for number, name in enumerate(steps):
            if number < self.state.stage:
                steps[name] = 0
            elif number == self.state.stage:
                steps[name] -= self.state.step
        return steps

    def resume(self) -> None:
        """Restore the last checkpoint.

        Raises:
            RunError: when there is none, or it is of another network.
        """
        saved = Checkpoint.read(self.folder.last)
        try:
            self.state = self._checked(decode(TrainingState, saved.metadata.get("progress")))
        except ValueError as error:
            raise RunError(f"{self.folder.last} has no valid state of this run: {error}") from error
        saved.restore(self.model)
        self.saved = saved if "trainer" in saved.metadata else None

    def _checked(self, state: TrainingState) -> TrainingState:
        """Return a state, or raise ValueError if this run can't have reached it."""
        for entry in state.log:
            if decode(_LogEntry, entry, "log").stage not in self.stages:
                raise ValueError(f"there is no stage {entry['stage']!r:.60}")
        steps = [*(recipe.steps for recipe in self.stages.values()), 0]
        if not 0 <= state.stage < len(steps) or not 0 <= state.step <= steps[state.stage]:
            raise ValueError(f"there is no step {state.step} of stage {state.stage}")
        return state

    def execute(self) -> list[LogEntry]:
        """Train every stage to its end; return the log's entries.

        Raises:
            TrainingDivergedError: when the loss diverged; the last checkpoint is kept.
        """
        while self.state.stage < len(self.stages):
            self._stage(*list(self.stages.items())[self.state.stage])
        return self.state.log

    def _stage(self, name: str, recipe: Recipe) -> None:
        stage, network = stage_of(self.model, name)
        trainer = Trainer(self.group.wrap(stage), recipe, self.group.world_size)
        if self.saved is not None:
            self.saved.restore(self.model, trainer)
            self.saved = None
        state = self.state
        if state.best is None:
            self._validate(name, network, trainer)
        before = sum(r.steps for r in list(self.stages.values())[: state.stage])
        while state.step < recipe.steps and not self._is_over():
            state.losses += self.step(trainer, before + state.step)
            state.step += 1
            entry = None
            if state.step % self.settings.every == 0 or state.step == recipe.steps:
                entry = self._validate(name, network, trainer)
            self.on_step(name, before + state.step, entry)
        # The next stage continues from the best weights of this one.
        self.group.barrier()
        Checkpoint.read(self.folder.best).restore(self.model)
        self.state = TrainingState(stage=state.stage + 1, log=state.log)
        self._save(None)

    def step(self, trainer: Trainer, number: int) -> float:
        """Make step `number` of all, and return its loss."""
        with self.group.shard_masks(self.settings.batch), self._precision():
            return trainer(self.batches[number])

    def _is_over(self) -> bool:
        return 0 < self.settings.patience <= self.state.since

    def _precision(self) -> torch.autocast:
        return torch.autocast(
            self.group.device.type, torch.bfloat16, enabled=self.settings.precision == "bfloat16"
        )

    def _validate(self, name: str, network: CoarseNet | Cascade, trainer: Trainer) -> LogEntry:
        state, steps = self.state, self.settings.every
        if state.step and state.step % steps:
            steps = state.step % steps
        entry = {"stage": name, "step": state.step, **self.scores(network)}
        trainer.stage.train()
        score = entry["score"] = self.group.broadcast(entry["score"])
        entry["loss"] = self.group.all_reduce(state.losses) / steps if state.step else None
        state.losses = 0.0
        # On a tie the later weights win, as they have trained longer.
        entry["best"] = state.best is None or score >= state.best
        state.best, state.since = (score, 0) if entry["best"] else (state.best, state.since + 1)
        state.log.append(entry)
        if entry["best"] and self.group.is_main:
            Checkpoint.of(self.model, None, {"stage": name, "step": state.step}).write(
                self.folder.best
            )
        self._save(trainer)
        return entry

    def scores(self, network: CoarseNet | Cascade) -> LogEntry:
        """Return the area under the PCK curve and the median error on the validation images."""
        network.eval()
        with self._precision():
            found = predict(network, self.validation_inputs).points.float().cpu().numpy()
        scale = self.validation.scale[:, None, None]
        radii = np.linspace(0, self.validation.radii[1], CURVE_POINTS)
        points = found * scale, self.validation.points * scale, self.validation.joints
        return {
            "score": metrics.pck(*points, radii).auc()["total"],
            "median_error": metrics.pixel_errors(*points).median()["total"],
        }

    def _save(self, trainer: Trainer | None) -> None:
        if self.group.is_main:
            metadata = {"progress": asdict(self.state)}
            Checkpoint.of(self.model, trainer, metadata).write(self.folder.last)
            lines = [json.dumps(entry, allow_nan=False) + "\n" for entry in self.state.log]
            write(self.folder.log, "".join(lines).encode())
