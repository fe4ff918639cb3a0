"""A run put together from its folder and settings: new, or where it was when it was stopped."""

from __future__ import annotations

from collections.abc import Callable

import torch

from mapdrop.localize.data import Progress
from mapdrop.localize.run.folder import Folder, RunError
from mapdrop.localize.run.pictures import to_train
from mapdrop.localize.run.record import Record
from mapdrop.localize.run.settings import Settings
from mapdrop.localize.run.team import Team
from mapdrop.localize.run.training import Row, Run


def begin(
    folder: Folder,
    settings: Settings,
    resume: bool,
    team: Team,
    on_picture: Progress | None = None,
    on_step: Callable[[str, int, Row | None], None] = lambda stage, step, row: None,
) -> Run:
    """A run that `go` trains.

    Args:
        folder: where it lives.
        settings: what is asked for.
        resume: go on with the run in the folder, if there is one.
        team: the processes that train together.
        on_picture, on_step: are told what is being done.

    Raises:
        RunError: when the folder holds a run and `resume` isn't asked for, or it is another one;
            when it holds files that a run would replace.
        DataError: when the data can't be used, or is no longer what it was.
    """
    known = folder.record.exists()
    if not known:
        folder.check_free()
    if known and not resume:
        raise RunError(
            f"{folder.path} holds a run already; go on with it by --resume, or choose another --out"
        )
    team.check(settings.training.batch)
    train, validation = to_train(settings.data, on_picture)
    if known:
        Record.from_json(folder.read_record()).check(settings, train, validation)
    team.wait()
    if not known and team.leads:
        folder.write_record(Record.of(settings, train, validation, team.device).to_json())
    team.wait()
    record = Record.from_json(folder.read_record())
    torch.set_num_threads(record.threads)
    run = Run(
        folder,
        record.model().to(team.device),
        settings.training,
        train,
        validation,
        record.data.swaps,
        team,
        on_step,
    )
    if folder.last.exists():
        run.resume()
    return run
