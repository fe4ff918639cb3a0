"""Do suggested frames teach more than random ones? The work of a lab, with its commands.

Of 116 frames of a mouse, 36 test. For each of 5 splits of the others, 20 are labelled at first and
train a network. Then 20 more are labelled, of the 60 that are left: those that `suggest` names, or
as many at random. Both sets of 40 train a network anew, with the same seed.

All trainings have the defaults of `mapdrop localize train` and run in one thread, so that results
don't depend on the number of cores.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mapdrop.localize.evaluation import Evaluation
from mapdrop.localize.predictor import SEED
from mapdrop.localize.run.images import LabelledImages, load_test
from mapdrop.localize.run.trained import TrainedModel

TEST, LABELLED, COUNT, SPLITS = 36, 20, 20, 5
"""Test images; images labelled at first; images labelled then; splits."""
CHOICES = ("start", "suggested", "random")
"""What a network is trained on: the first images, or these and others, chosen in either way."""
PASSES = 20
"""With dropout, as `suggest` makes them unless asked for another number."""
TABLE = Path("labeled-data/m4s1/CollectedData_Pranav.csv")
HEADER = 3
Row = dict[str, Any]


@dataclass(frozen=True)
class Lab:
    """Labelled frames of which some are labelled first.

    Attributes:
        data: the DeepLabCut project.
        split: its number; it also seeds the trainings.
        work: a folder for projects and runs, empty at first.
    """

    data: Path
    split: int
    work: Path

    def frames(self) -> dict[str, list[str]]:
        """Return the names of the test frames, of the first ones, and of those that are left."""
        lines = (self.data / TABLE).read_text().splitlines()[HEADER:]
        every = [line.split(",")[0] for line in lines]
        mixed = np.random.default_rng(0).permutation(every).tolist()
        rest = np.random.default_rng(1 + self.split).permutation(mixed[TEST:]).tolist()
        return {"test": mixed[:TEST], "start": rest[:LABELLED], "left": rest[LABELLED:]}

    def rows(self) -> list[Row]:
        """Return a row for each of `CHOICES`."""
        frames = self.frames()
        found = [self._train("start", frames["start"]) | {"left": self._uncertain(frames["left"])}]
        chosen = {"suggested": self._suggested(frames), "random": frames["left"][:COUNT]}
        for choice, names in chosen.items():
            found.append(self._train(choice, [*frames["start"], *names]))
        return found

    def _train(self, choice: str, names: Sequence[str]) -> Row:
        started = time.perf_counter()
        project, run = self._project(choice, names), self.work / f"{choice}-run"
        mapdrop("train", project, "--out", run, "--seed", self.split)
        errors = self._errors(run)
        return {
            "split": self.split,
            "choice": choice,
            "frames": [Path(name).name for name in names],
            "errors": {"test": errors},
            "seconds": round(time.perf_counter() - started, 1),
        }

    def _suggested(self, frames: dict[str, list[str]]) -> list[str]:
        pool = self._project("left", frames["left"])
        out = self.work / "suggestions"
        images = pool / TABLE.parent
        mapdrop("suggest", self.work / "start-run", images, "--count", COUNT, "--out", out)
        with (out / "suggestions.csv").open(newline="") as file:
            names = {Path(row["source"]).name for row in csv.DictReader(file)}
        return [name for name in frames["left"] if Path(name).name in names]

    def _uncertain(self, frames: Sequence[str]) -> list[dict[str, float]]:
        """Return the mean spread and the mean error of each frame that is left, in its pixels."""
        trained, labelled = self._loaded(self.work / "start-run", "left", frames)
        spread = trained.spread(labelled.images, PASSES, SEED).numpy() * labelled.scale[:, None]
        errors = np.nanmean(Evaluation.of(trained, labelled).errors.distances, axis=1)
        pairs = zip(spread.mean(axis=1), errors, strict=True)
        return [{"spread": round(float(s), 3), "error": round(float(e), 2)} for s, e in pairs]

    def _errors(self, run: Path) -> list[list[float | None]]:
        """Return the error of each joint in each test image, in its pixels; None if missing."""
        evaluation = Evaluation.of(*self._loaded(run, "test", self.frames()["test"]))
        distances = evaluation.errors.distances
        return [[None if np.isnan(d) else round(float(d), 2) for d in image] for image in distances]

    def _loaded(
        self, run: Path, name: str, frames: Sequence[str]
    ) -> tuple[TrainedModel, LabelledImages]:
        trained = TrainedModel.load(run, torch.device("cpu"))
        project = self._project(name, frames)
        return trained, load_test(str(project), trained.joints, trained.size)

    def _project(self, name: str, frames: Sequence[str]) -> Path:
        """Return a DeepLabCut project with these frames alone."""
        project = self.work / name
        if project.exists():
            return project
        (project / TABLE.parent).mkdir(parents=True)
        shutil.copy(self.data / "config.yaml", project)
        lines = (self.data / TABLE).read_text().splitlines()
        kept = [line for line in lines[HEADER:] if line.split(",")[0] in set(frames)]
        (project / TABLE).write_text("\n".join([*lines[:HEADER], *kept, ""]))
        for frame in frames:
            shutil.copy(self.data / frame, project / frame)
        return project


def mapdrop(*arguments: object) -> None:
    """Run `mapdrop localize` in one thread. Raise RuntimeError with its output if it fails."""
    command = [sys.executable, "-m", "mapdrop", "localize", *map(str, arguments)]
    one = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=one, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stdout}{done.stderr}")


def train_splits(data: Path, file: Path, jobs: int, on_split: Callable[[], None]) -> None:
    """Train what `file` has no rows of yet, and append them, a whole split at a time."""
    known = {row["split"] for row in read(file)} if file.exists() else set()
    for _ in known:
        on_split()
    file.parent.mkdir(parents=True, exist_ok=True)

    def one(split: int) -> list[Row]:
        with tempfile.TemporaryDirectory() as work:
            return Lab(data, split, Path(work)).rows()

    waiting = [split for split in range(SPLITS) if split not in known]
    with ThreadPoolExecutor(jobs) as pool:
        for rows in pool.map(one, waiting):
            with file.open("a") as out:
                out.writelines(json.dumps(row, allow_nan=False) + "\n" for row in rows)
            on_split()


def read(file: Path) -> list[Row]:
    """Return the rows of a file."""
    return [json.loads(line) for line in file.read_text().splitlines()]
