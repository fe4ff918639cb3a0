"""Start a new run, or resume the one in a folder."""

from __future__ import annotations

from collections.abc import Callable

import torch

from mapdrop.localize.data import ProgressCallback
from mapdrop.localize.run.folder import Folder, RunError
from mapdrop.localize.run.images import LabelledImages, load_training
from mapdrop.localize.run.process_group import ProcessGroup
from mapdrop.localize.run.record import Record
from mapdrop.localize.run.settings import Settings
from mapdrop.localize.run.training import LogEntry, Run


def start_run(
    folder: Folder,
    settings: Settings,
    resume: bool,
    group: ProcessGroup,
    on_image: ProgressCallback | None = None,
    on_step: Callable[[str, int, LogEntry | None], None] = lambda stage, step, entry: None,
    dry_run: bool = False,
) -> Run:
    """Return a run that is ready to execute.

    Args:
        folder: the run's folder.
        settings: the run's settings.
        resume: continue the run in the folder, if there is one.
        group: the processes that train together.
        on_image: called as images are read.
        on_step: called after each step; see `Run`.
        dry_run: write nothing, so that the run can be described but not executed.

    Raises:
        RunError: when the folder holds a run and `resume` is false, or a different run, or files
            that a run would replace.
        DataError: when the data can't be used, or has changed since the run started.
    """
    exists = folder.record.exists()
    if not exists:
        folder.check_free()
    if exists and not resume:
        raise RunError(
            f"{folder.path} already holds a run; continue it with --resume, or choose another --out"
        )
    group.check_batch(settings.training.batch)
    train, validation = load_training(settings.data, on_image)
    if exists:
        Record.from_json(folder.read_record()).check(settings, train, validation)
    record = _record(folder, settings, train, validation, group, write=not exists and not dry_run)
    torch.set_num_threads(record.threads)
    run = Run(
        folder,
        record.model().to(group.device),
        settings.training,
        train,
        validation,
        record.data.swaps,
        group,
        on_step,
    )
    if folder.last.exists():
        run.resume()
    return run


def _record(
    folder: Folder,
    settings: Settings,
    train: LabelledImages,
    validation: LabelledImages,
    group: ProcessGroup,
    write: bool,
) -> Record:
    """Return the folder's record, after writing it if needed; a new one if there is none."""
    group.barrier()
    if write and group.is_main:
        folder.write_record(Record.of(settings, train, validation, group.device).to_json())
    group.barrier()
    if folder.record.exists():
        return Record.from_json(folder.read_record())
    return Record.of(settings, train, validation, group.device)
