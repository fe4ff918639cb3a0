"""A small data set on disk: dark pictures with a bright red and a bright green spot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

JOINTS = ("left", "right")
SIZE = (64, 48)


def write(folder: Path, count: int = 12, seed: int = 0) -> Path:
    """`count` pictures and points.csv, a table image,joint,x,y; the folder."""
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
