"""The stages of a run, one after the other, with validations, checkpoints and early stopping."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from mapdrop.localize import metrics
from mapdrop.localize.batches import Batches
from mapdrop.localize.cascade import Cascade
from mapdrop.localize.network import CoarseNet
from mapdrop.localize.normalise import local_contrast
from mapdrop.localize.run.checkpoint import Checkpoint
from mapdrop.localize.run.decoding import decoded
from mapdrop.localize.run.folder import Folder, RunError
from mapdrop.localize.run.pictures import Pictures
from mapdrop.localize.run.settings import TrainingSettings
from mapdrop.localize.run.team import Team
from mapdrop.localize.stages import CoarseStage, FineStage, JointStage
from mapdrop.localize.train import Recipe, Trainer, predict
from mapdrop.system.files import write

Row = dict[str, Any]
CURVE_POINTS = 41


@dataclass
class Progress:
    """How far a run is; what a checkpoint holds beside tensors.

    Attributes:
        stage: number of the present one.
        step: steps made in it.
        best: the highest validation score in it; None before the first validation.
        since: validations since that one.
        losses: sum of the losses since the last validation.
        log: a row for each validation.
    """

    stage: int = 0
    step: int = 0
    best: float | None = None
    since: int = 0
    losses: float = 0.0
    log: list[Row] = field(default_factory=list)


@dataclass(frozen=True)
class _Row:
    """What stands in a row of the log."""

    stage: str
    step: int
    score: float
    median_error: float
    loss: float | None
    best: bool


class Run:
    """A model in training. `go` trains it to the end from wherever it is.

    Args:
        folder: where checkpoints and the log go.
        model: as `NetworkSettings.build` makes it, on the team's device.
        settings: how to train.
        train, validation: the pictures.
        swaps: which joint is which in a mirror; None leaves images as they are.
        team: the processes that share the work.
        on_step: is told the stage's name, the steps made of all stages' and the last row, if any.
    """

    def __init__(
        self,
        folder: Folder,
        model: CoarseNet | Cascade,
        settings: TrainingSettings,
        train: Pictures,
        validation: Pictures,
        swaps: list[int] | None,
        team: Team,
        on_step: Callable[[str, int, Row | None], None] = lambda stage, step, row: None,
    ) -> None:
        team.check(settings.batch)
        self.folder, self.model, self.settings, self.team = folder, model, settings, team
        self.train, self.validation, self.on_step = train, validation, on_step
        self.stages = settings.stages(isinstance(model, Cascade))
        images, points = (tensor.to(team.device) for tensor in train.tensors)
        self.batches = Batches(
            images,
            points,
            settings.batch,
            settings.seed,
            replace(settings.augment, flip=swaps is not None),
            swaps,
            team.rank,
            team.ranks,
        )
        self.seen = local_contrast(validation.tensors[0].to(team.device).float())
        self.progress = Progress()
        self.saved: Checkpoint | None = None

    @property
    def about(self) -> str:
        """What is trained on what, in a sentence."""
        train, parameters = self.train, sum(p.numel() for p in self.model.parameters())
        kind = "a cascade" if isinstance(self.model, Cascade) else "a coarse network"
        return (
            f"{train.name}: {kind} of {parameters:,} parameters, {len(train)} training and "
            f"{len(self.validation)} validation images of {train.size[0]}x{train.size[1]} pixels, "
            f"{len(train.joints)} joints, on {self.team.ranks} x {self.team.device}"
        )

    @property
    def total(self) -> int:
        """Steps of all stages, if none ends early."""
        return sum(recipe.steps for recipe in self.stages.values())

    def resume(self) -> None:
        """Goes back to the last checkpoint.

        Raises:
            RunError: when there is none, or it is of another network.
        """
        saved = Checkpoint.read(self.folder.last)
        try:
            self.progress = self._checked(decoded(Progress, saved.about.get("progress")))
        except ValueError as error:
            raise RunError(f"{self.folder.last} has no progress of this run: {error}") from error
        saved.restore(self.model)
        self.saved = saved if "trainer" in saved.about else None

    def _checked(self, progress: Progress) -> Progress:
        """Raises ValueError unless this run could have come so far."""
        for row in progress.log:
            if decoded(_Row, row, "log").stage not in self.stages:
                raise ValueError(f"there is no stage {row['stage']!r:.60}")
        steps = [*(recipe.steps for recipe in self.stages.values()), 0]
        if not 0 <= progress.stage < len(steps) or not 0 <= progress.step <= steps[progress.stage]:
            raise ValueError(f"there is no step {progress.step} of stage {progress.stage}")
        return progress

    def go(self) -> list[Row]:
        """Every stage to its end; the rows of the log.

        Raises:
            TrainingDivergedError: when the loss did; the last checkpoint is kept.
        """
        while self.progress.stage < len(self.stages):
            self._stage(*list(self.stages.items())[self.progress.stage])
        return self.progress.log

    def _stage(self, name: str, recipe: Recipe) -> None:
        stage, located = self._module(name)
        trainer = Trainer(self.team.shared(stage), recipe, self.team.ranks)
        if self.saved is not None:
            self.saved.restore(self.model, trainer)
            self.saved = None
        progress = self.progress
        if progress.best is None:
            self._validate(name, located, trainer)
        before = sum(r.steps for r in list(self.stages.values())[: progress.stage])
        while progress.step < recipe.steps and not self._is_over():
            with self.team.part(self.settings.batch), self._precision():
                progress.losses += trainer(self.batches[before + progress.step])
            progress.step += 1
            row = None
            if progress.step % self.settings.every == 0 or progress.step == recipe.steps:
                row = self._validate(name, located, trainer)
            self.on_step(name, before + progress.step, row)
        # The next stage goes on with the best of this one.
        self.team.wait()
        Checkpoint.read(self.folder.best).restore(self.model)
        self.progress = Progress(stage=progress.stage + 1, log=progress.log)
        self._save(None)

    def _module(self, name: str) -> tuple[nn.Module, nn.Module]:
        """What a stage trains, and what then finds joints."""
        if isinstance(self.model, CoarseNet):
            return CoarseStage(self.model), self.model
        if name == "coarse":
            return CoarseStage(self.model.coarse), self.model.coarse
        return (FineStage if name == "fine" else JointStage)(self.model), self.model

    def _is_over(self) -> bool:
        return 0 < self.settings.patience <= self.progress.since

    def _precision(self) -> torch.autocast:
        return torch.autocast(
            self.team.device.type, torch.bfloat16, enabled=self.settings.precision == "bfloat16"
        )

    def _validate(self, name: str, located: nn.Module, trainer: Trainer) -> Row:
        progress, steps = self.progress, self.settings.every
        if progress.step and progress.step % steps:
            steps = progress.step % steps
        row = {"stage": name, "step": progress.step, **self._scores(located)}
        trainer.stage.train()
        score = row["score"] = self.team.agreed(row["score"])
        row["loss"] = self.team.summed(progress.losses) / steps if progress.step else None
        progress.losses = 0.0
        # Of equals the later one, which has seen more.
        row["best"] = progress.best is None or score >= progress.best
        progress.best, progress.since = (
            (score, 0) if row["best"] else (progress.best, progress.since + 1)
        )
        progress.log.append(row)
        if row["best"] and self.team.leads:
            Checkpoint.of(self.model, None, {"stage": name, "step": progress.step}).write(
                self.folder.best
            )
        self._save(trainer)
        return row

    def _scores(self, located: nn.Module) -> Row:
        """Of the validation pictures: the median error, and the area under the curve of PCK."""
        located.eval()
        with self._precision():
            found = predict(located, self.seen).points.float().cpu().numpy()
        scale = self.validation.scale[:, None, None]
        radii = np.linspace(0, self.validation.radii[1], CURVE_POINTS)
        points = found * scale, self.validation.points * scale, self.validation.joints
        return {
            "score": metrics.pck(*points, radii).auc()["total"],
            "median_error": metrics.pixel_errors(*points).median()["total"],
        }

    def _save(self, trainer: Trainer | None) -> None:
        if self.team.leads:
            about = {"progress": asdict(self.progress)}
            Checkpoint.of(self.model, trainer, about).write(self.folder.last)
            lines = [json.dumps(row, allow_nan=False) + "\n" for row in self.progress.log]
            write(self.folder.log, "".join(lines).encode())
