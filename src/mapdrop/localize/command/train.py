"""`mapdrop localize train`: train a network on labelled images to find joints in others."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from mapdrop.localize.command import options as o
from mapdrop.localize.command.output import say
from mapdrop.localize.command.parsing import parse_names, parse_pairs, parse_size
from mapdrop.localize.errors import LocalizeError
from mapdrop.tools.errors import user_errors

if TYPE_CHECKING:
    from mapdrop.localize.run.process_group import ProcessGroup
    from mapdrop.localize.run.settings import Settings


def train(
    data: o.Data,
    out: o.Out = None,
    resume: o.Resume = False,
    dry_run: o.DryRun = False,
    device: o.Device = None,
    train_size: o.TrainSize = None,
    validation: o.Validation = 0.1,
    bodyparts: o.Bodyparts = None,
    size: o.Size = None,
    data_seed: o.DataSeed = 0,
    coordinates: o.Coordinates = None,
    skip_missing: o.SkipMissing = False,
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
    pairs: o.Pairs = None,
) -> None:
    """Train the localizer of Tompson et al. (CVPR 2015) on your own labelled images.

    Trains a coarse network with spatial dropout, then a second network that
    refines each joint in a window around the first one's detection, then both.
    Writes the best and the last weights, the settings and a plot of the
    training to --out. After an interruption, the same command with --resume
    continues to the same result.

    Several GPUs or machines:
    torchrun --nproc-per-node 4 -m mapdrop localize train DATA --out RUN
    """
    with user_errors(others=(LocalizeError, OSError)):
        from mapdrop.localize.augment import Augment
        from mapdrop.localize.drop_option import kind
        from mapdrop.localize.run.process_group import process_group
        from mapdrop.localize.run.settings import (
            DataSettings,
            NetworkSettings,
            Settings,
            TrainingSettings,
        )

        joints = parse_names(bodyparts) if bodyparts is not None else None
        working_size = parse_size(size, "--size") if size else None
        with process_group(device) as group:
            try:
                chosen = kind(drop).rate if rate is None else rate
                settings = Settings(
                    DataSettings(
                        data,
                        joints,
                        working_size,
                        train_size,
                        validation,
                        data_seed,
                        coordinates,
                        skip_missing,
                    ),
                    NetworkSettings(
                        width,
                        banks,
                        pooling,
                        drop,
                        chosen or 0.0,
                        block_size,
                        parse_names(drop_at),
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
                        pairs=parse_pairs(pairs, "--pairs") if pairs is not None else None,
                        every=every,
                        patience=patience,
                        compact=compact,
                        precision=precision or _default_precision(group.device.type),
                    ),
                )
            except ValueError as error:
                raise typer.BadParameter(str(error)) from error
            _train(settings, out, resume, dry_run, group)


def _default_precision(device: str) -> str:
    return "bfloat16" if device == "cuda" else "float32"


def _train(
    settings: Settings, out: Path | None, resume: bool, dry_run: bool, group: ProcessGroup
) -> None:
    from rich.console import Console

    from mapdrop.localize.command.plan import show_plan
    from mapdrop.localize.command.progress import TrainingProgress
    from mapdrop.localize.run.curves import draw
    from mapdrop.localize.run.folder import Folder, RunError, new_folder
    from mapdrop.localize.run.plan import Plan
    from mapdrop.localize.run.start import start_run

    if out is None and (resume or group.world_size > 1):
        raise RunError("name the run's folder: --out RUN")
    folder = Folder(
        out or new_folder(Path("mapdrop-runs"), Path(settings.data.source).resolve().stem)
    )
    console = Console(quiet=not group.is_main)
    # The other processes wait for the main one, or end with it.
    writes = group.is_main and not dry_run
    with folder.locked() if writes else nullcontext(), TrainingProgress(console) as progress:
        run = start_run(
            folder, settings, resume, group, progress.on_image, progress.on_step, dry_run
        )
        progress.on_image("timing some steps", 0, 1)
        show_plan(console, Plan.of(run))
        if dry_run:
            say(console, "nothing was written; to train, leave out --dry-run")
            return
        say(console, f"run: {folder.path}")
        progress.total = run.total
        try:
            log = run.execute()
        except KeyboardInterrupt:
            raise RunError(
                f"stopped; to continue, use the same command with --out {folder.path} --resume"
            ) from None
        if group.is_main:
            draw(folder.curves, log, run.validation.unit)
    if group.is_main:
        best = next(entry for entry in reversed(log) if entry["best"])
        # If every image was used, evaluation needs other labelled images.
        others = "OTHER_DATA" if settings.data.train_size is None else settings.data.source
        say(
            console,
            f"best on {len(run.validation)} validation images: median error "
            f"{best['median_error']:.1f} px ({run.validation.unit})\n"
            f"weights: {folder.best}\nplot: {folder.curves}\n"
            f"next: mapdrop localize evaluate {folder.path} {others}\n"
            f"      mapdrop localize predict {folder.path} IMAGES",
        )
