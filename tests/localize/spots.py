"""Write a small data set: dark images with a bright red and a bright green spot."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

JOINTS = ("left", "right")
SIZE = (64, 48)


def write(folder: Path, count: int = 12, seed: int = 0) -> Path:
    """Write `count` images and points.csv, a table image,joint,x,y; return the folder."""
    rng = np.random.default_rng(seed)
    places = np.stack(np.meshgrid(*map(np.arange, SIZE)), axis=-1)
    lines = ["image,joint,x,y"]
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        picture = rng.uniform(20, 60, (SIZE[1], SIZE[0], 3))
        for channel, joint in enumerate(JOINTS):
            x, y = rng.uniform(8, np.subtract(SIZE, 9))
            far = np.square(places - (x, y)).sum(axis=-1)
            picture[..., channel] += 190 * np.exp(-far / 18)
            lines.append(f"{number:03}.png,{joint},{x:.2f},{y:.2f}")
        Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(folder / f"{number:03}.png")
    (folder / "points.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def film(path: Path, pictures: Sequence[Path], **options: str) -> Path:
    """Write a video of some images, ten a second; return `path`."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream("h264", rate=10)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        stream.options = {"crf": "1", "tune": "zerolatency"}
        for name in pictures:
            with Image.open(name) as picture:
                frame = av.VideoFrame.from_ndarray(np.asarray(picture), "rgb24")
                container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def untrained(
    folder: Path,
    data: Path,
    drop: str = "none",
    size: tuple[int, int] = SIZE,
    cascade: bool = False,
) -> Path:
    """Write a run of these images whose network has its initial weights; return its folder."""
    import torch

    from mapdrop.localize.run.checkpoint import Checkpoint
    from mapdrop.localize.run.folder import Folder
    from mapdrop.localize.run.images import load_training
    from mapdrop.localize.run.record import Record
    from mapdrop.localize.run.settings import (
        DataSettings,
        NetworkSettings,
        Settings,
        TrainingSettings,
    )

    settings = Settings(
        DataSettings(str(data), size=size, train_size=4),
        NetworkSettings(
            width=2,
            banks=1,
            pooling=4,
            drop=drop,
            rate=0.0 if drop == "none" else 0.5,
            cascade=cascade,
        ),
        TrainingSettings(compact=False),
    )
    record = Record.of(settings, *load_training(settings.data), torch.device("cpu"))
    Folder(folder).write_record(record.to_json())
    about = {"stage": "fine" if cascade else "coarse", "step": 0}
    Checkpoint.of(record.model(), None, about).write(Folder(folder).best)
    return folder


def table(path: Path) -> dict[str, npt.NDArray[np.float64]]:
    """Read a table of predictions: by image or frame, (joints, 3), x, y and likelihood."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))[3:]
    assert len({row[0] for row in rows}) == len(rows)
    return {row[0]: np.array(row[1:], float).reshape(-1, 3) for row in rows}
