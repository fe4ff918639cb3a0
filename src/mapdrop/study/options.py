"""The options of `mapdrop study`, with their help, and how their texts are read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from mapdrop.localize.command.texts import counts as counts
from mapdrop.localize.command.texts import numbers as numbers
from mapdrop.localize.command.texts import pixels as pixels
from mapdrop.localize.command.texts import words as words


def _about(panel: str | None, text: str, **rules: Any) -> Any:
    return typer.Option(help=text, rich_help_panel=panel, show_default=True, **rules)


_DATA, _TRAINING = "Data", "Training"

Data = Annotated[
    str,
    typer.Argument(
        help="'scenes', or what was labelled: the folder of a DeepLabCut project, FLIC or MPII, a "
        "COCO key point file, or a CSV file with the columns image,joint,x,y."
    ),
]
Drops = Annotated[
    str,
    _about(
        None,
        "What to compare; the first is what others are held against. share=N is spatial with one "
        "mask for N samples; both may end in +balanced, +compact: share=4+balanced+compact.",
    ),
]
Rates = Annotated[
    str | None, _about(None, "Rates for every dropout: 0.1,0.3. Default: 0.5, and 0.2 for block.")
]
Seeds = Annotated[int, _about(None, "Runs of each, to see the spread.", min=1)]
Out = Annotated[
    Path | None, _about(None, "Folder for the results. Default: a new one in mapdrop-study.")
]

Jobs = Annotated[
    int | None, _about(None, "Runs at a time, one thread each. Default: one for each core.", min=1)
]
Ray = Annotated[
    str | None, _about(None, "Run on a Ray cluster instead: auto, ray://HOST:PORT, or local.")
]
Retry = Annotated[bool, _about(None, "Try runs that failed earlier again.")]

TrainSize = Annotated[
    str | None,
    _about(_DATA, "Training images, or several numbers: 10,20,40. Default: 32 scenes, else 40."),
]
ValidationSize = Annotated[
    int | None,
    _about(
        _DATA,
        "Images that choose each dropout's rate. Default: 64 scenes, else a quarter of what does "
        "not train.",
        min=1,
    ),
]
TestSize = Annotated[
    int | None, _about(_DATA, "Test images. Default: 128 scenes, else up to 1000 others.", min=1)
]
Bodyparts = Annotated[str | None, _about(_DATA, "Only these: snout,tailbase. Default: all.")]
Size = Annotated[
    str | None,
    _about(
        _DATA,
        "Images are fitted into it. Default: scenes 96x96, people of COCO and MPII 128x128, else "
        "160x120.",
    ),
]
DataSeed = Annotated[int, _about(_DATA, "Decides the split, and what the scenes show.", min=0)]

Width = Annotated[int, _about(_TRAINING, "Maps of the first convolutions (paper: 128).", min=1)]
Banks = Annotated[int, _about(_TRAINING, "Resolutions the network looks at.", min=1, max=5)]
BlockSize = Annotated[int, _about(_TRAINING, "Side of a block, in heat-map pixels.", min=1)]
Steps = Annotated[int, _about(_TRAINING, "Gradient steps.", min=1)]
Batch = Annotated[int, _about(_TRAINING, "Images in a step.", min=1)]
LearningRate = Annotated[float, _about(_TRAINING, "At its highest (AdamW, one cycle).")]
Shift = Annotated[int, _about(_TRAINING, "Images are moved by up to so many pixels.", min=0)]


_ADDRESS = re.compile(r"auto|local|(ray://)?([\w.-]+|\[[0-9A-Fa-f:.]+\]):(\d{1,5})")


def ray_address(text: str) -> str:
    """The address, of the form that Ray reads. Raises typer.BadParameter for another."""
    found = _ADDRESS.fullmatch(text)
    if not found or not 0 < int(found[3] or 1) < 1 << 16:
        raise typer.BadParameter(
            f"expected auto, local, HOST:PORT or ray://HOST:PORT with a port up to 65535, "
            f"got {text!r}",
            param_hint="'--ray'",
        )
    return text
