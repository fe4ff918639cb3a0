"""How exact and how fast the cascade is on DeepLabCut's mouse: the table of docs/localize.md.

    python -m benchmarks.localize [DATA]

trains on 40 frames of five splits and evaluates on the frames that none of them saw.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from rich.console import Console
from rich.table import Table

from mapdrop.localize.evaluation import Evaluation, unseen
from mapdrop.localize.run.folder import Folder
from mapdrop.localize.run.images import load_test
from mapdrop.localize.run.process_group import ProcessGroup
from mapdrop.localize.run.settings import DataSettings, Settings
from mapdrop.localize.run.start import start_run
from mapdrop.localize.run.trained import TrainedModel

MOUSE = Path(__file__).parents[2] / "shared" / "data" / "mouse-openfield"
SPLITS, FRAMES = 5, 40


def main(data: str) -> None:
    table = Table("split", "median px", "within 10 px", "within 20 px", "minutes of training")
    for split in range(SPLITS):
        with TemporaryDirectory() as folder:
            settings = Settings(DataSettings(data, train_size=FRAMES, seed=split))
            cpu = torch.device("cpu")
            run = start_run(Folder(Path(folder)), settings, False, ProcessGroup(cpu))
            started = time.perf_counter()
            run.execute()
            minutes = (time.perf_counter() - started) / 60
            trained = TrainedModel.load(Path(folder), cpu)
            new = unseen(trained, load_test(data, trained.joints, trained.size))
            metrics = Evaluation.of(trained, new).metric_table()
            cells = [metrics["median error px"]["total"]]
            cells += [100 * metrics[f"pck {radius} px"]["total"] for radius in (10, 20)]
            table.add_row(str(split), *(f"{cell:.1f}" for cell in cells), f"{minutes:.1f}")
    Console().print(table)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else str(MOUSE))
