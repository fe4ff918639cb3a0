"""`mapdrop localize train`: from labelled images to a network that finds joints in others."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from mapdrop.localize.command import options as o
from mapdrop.localize.command.output import say
from mapdrop.localize.command.texts import pixels, words
from mapdrop.localize.errors import LocalizeError
from mapdrop.tools.errors import user_errors

if TYPE_CHECKING:
    from mapdrop.localize.run.settings import Settings
    from mapdrop.localize.run.team import Team


def train(
    data: o.Data,
    out: o.Out = None,
    resume: o.Resume = False,
    device: o.Device = None,
    train_size: o.TrainSize = None,
    validation: o.Validation = 0.1,
    bodyparts: o.Bodyparts = None,
    size: o.Size = None,
    data_seed: o.DataSeed = 0,
    width: o.Width = 16,
    banks: o.Banks = 2,
    pooling: o.Pooling = 8,
    drop: o.Drop = "spatial",
    rate: o.Rate = None,
    block_size: o.BlockSize = 5,
    drop_at: o.DropAt = "head",
    cascade: o.UseCascade = True,
    coarse_steps: o.CoarseSteps = 600,
    fine_steps: o.FineSteps = 400,
    joint_steps: o.JointSteps = 200,
    batch: o.BatchSize = 8,
    learning_rate: o.LearningRate = 2e-3,
    seed: o.Seed = 0,
    every: o.Every = 50,
    patience: o.Patience = 0,
    compact: o.UseCompact = True,
    precision: o.Precision = None,
    rotation: o.Rotation = 20.0,
    scale: o.Scale = 1.3,
    shift: o.Shift = 8.0,
    brightness: o.Brightness = 0.2,
    flip: o.Flip = None,
) -> None:
    """Train the localizer of Tompson et al. (CVPR 2015) on your own labelled images.

    First a coarse network with spatial dropout, then a second one that looks
    again around what the first one found, then both. Leaves the best and the
    last weights, the settings and a picture of the training in --out. The same
    command with --resume goes on after a kill, to the same result.

    Several GPUs or machines:
    torchrun --nproc-per-node 4 -m mapdrop localize train DATA --out RUN
    """
    with user_errors(others=(LocalizeError, OSError)):
        from mapdrop.localize.augment import Augment
        from mapdrop.localize.kinds import kind
        from mapdrop.localize.run.settings import (
            DataSettings,
            NetworkSettings,
            Settings,
            TrainingSettings,
        )
        from mapdrop.localize.run.team import team

        joints = words(bodyparts) if bodyparts is not None else None
        pictured = pixels(size, "--size") if size else None
        with team(device) as mine:
            try:
                chosen = kind(drop).rate if rate is None else rate
                settings = Settings(
                    DataSettings(data, joints, pictured, train_size, validation, data_seed),
                    NetworkSettings(
                        width,
                        banks,
                        pooling,
                        drop,
                        chosen or 0.0,
                        block_size,
                        words(drop_at),
                        cascade,
                    ),
                    TrainingSettings(
                        seed=seed,
                        coarse=coarse_steps,
                        fine=fine_steps,
                        joint=joint_steps,
                        batch=batch,
                        learning_rate=learning_rate,
                        augment=Augment(shift, rotation, scale, brightness),
                        flip=flip,
                        every=every,
                        patience=patience,
                        compact=compact,
                        precision=precision or _usual(mine.device.type),
                    ),
                )
            except ValueError as error:
                raise typer.BadParameter(str(error)) from error
            _train(settings, out, resume, mine)


def _usual(device: str) -> str:
    return "bfloat16" if device == "cuda" else "float32"


def _train(settings: Settings, out: Path | None, resume: bool, team: Team) -> None:
    from rich.console import Console

    from mapdrop.localize.command.watch import Watch
    from mapdrop.localize.run.begin import begin
    from mapdrop.localize.run.curves import draw
    from mapdrop.localize.run.folder import Folder, RunError

    if out is None and (resume or team.ranks > 1):
        raise RunError("say where the run is: --out RUN")
    folder = Folder(out or _fresh(Path("mapdrop-runs"), settings.data.source))
    console = Console(quiet=not team.leads)
    # The others of the team wait for the leader, or end with it.
    with folder.locked() if team.leads else nullcontext(), Watch(console) as watch:
        run = begin(folder, settings, resume, team, watch.picture, watch.step)
        say(console, f"{run.about}\nrun: {folder.path}")
        watch.total = run.total
        try:
            log = run.go()
        except KeyboardInterrupt:
            raise RunError(
                f"stopped; the same command with --out {folder.path} --resume goes on"
            ) from None
        if team.leads:
            draw(folder.curves, log, run.validation.unit)
    if team.leads:
        best = next(row for row in reversed(log) if row["best"])
        # A run on all there is needs other labelled images.
        others = "OTHER_DATA" if settings.data.train_size is None else settings.data.source
        say(
            console,
            f"best on {len(run.validation)} validation images: median error "
            f"{best['median_error']:.1f} px ({run.validation.unit})\n"
            f"weights: {folder.best}\npicture: {folder.curves}\n"
            f"next: mapdrop localize evaluate {folder.path} {others}\n"
            f"      mapdrop localize predict {folder.path} IMAGES",
        )


def _fresh(parent: Path, source: str) -> Path:
    """The first of name-1, name-2, ... that isn't there yet; it isn't made."""
    name, number = Path(source).resolve().stem, 1
    while (folder := parent / f"{name}-{number}").exists():
        number += 1
    return folder
