"""The options of `mapdrop study`, with their help."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from mapdrop.localize.command.options import DATA, TRAINING, option
from mapdrop.localize.command.options import Banks as Banks
from mapdrop.localize.command.options import BlockSize as BlockSize
from mapdrop.localize.command.options import Bodyparts as Bodyparts
from mapdrop.localize.command.options import Coordinates as Coordinates
from mapdrop.localize.command.options import Data as Data
from mapdrop.localize.command.options import LearningRate as LearningRate
from mapdrop.localize.command.options import Size as Size
from mapdrop.localize.command.options import SkipMissing as SkipMissing
from mapdrop.localize.command.options import Width as Width

Drops = Annotated[
    str,
    option(
        None,
        "Kinds to compare, the others with the first. share=N is spatial with one mask for N "
        "samples; both may end in +balanced, +compact: share=4+balanced+compact.",
    ),
]
Rates = Annotated[
    str | None, option(None, "Rates for every dropout: 0.1,0.3. Default: 0.5, and 0.2 for block.")
]
Seeds = Annotated[int, option(None, "Runs of each, to estimate the spread.", min=1)]
Out = Annotated[
    Path | None, option(None, "Folder for the results. Default: a new one in mapdrop-study.")
]

Jobs = Annotated[
    int | None, option(None, "Parallel runs, one thread each. Default: one for each core.", min=1)
]
Ray = Annotated[
    str | None, option(None, "Run on a Ray cluster instead: auto, ray://HOST:PORT, or local.")
]
Retry = Annotated[bool, option(None, "Repeat runs that failed earlier.")]

TrainSize = Annotated[
    str | None,
    option(DATA, "Training images, or several numbers: 10,20,40. Default: 32 scenes, else 40."),
]
ValidationSize = Annotated[
    int | None,
    option(
        DATA,
        "Images that choose each dropout's rate. Default: 64 scenes, else a quarter of those that "
        "don't train.",
        min=1,
    ),
]
TestSize = Annotated[
    int | None, option(DATA, "Test images. Default: 128 scenes, else up to 1000 others.", min=1)
]
DataSeed = Annotated[
    int, option(DATA, "Determines the split, and the content of the scenes.", min=0)
]

Steps = Annotated[int, option(TRAINING, "Gradient steps.", min=1)]
Batch = Annotated[int, option(TRAINING, "Images in a step.", min=1)]
Shift = Annotated[int, option(TRAINING, "Largest shift of an image, in pixels.", min=0)]


_ADDRESS = re.compile(r"auto|local|(ray://)?([\w.-]+|\[[0-9A-Fa-f:.]+\]):(\d{1,5})")


def check_ray_address(text: str) -> None:
    """Raise typer.BadParameter unless Ray can parse the address."""
    found = _ADDRESS.fullmatch(text)
    if not found or not 0 < int(found[3] or 1) < 1 << 16:
        raise typer.BadParameter(
            f"expected auto, local, HOST:PORT or ray://HOST:PORT with a port up to 65535, "
            f"got {text!r}",
            param_hint="'--ray'",
        )
