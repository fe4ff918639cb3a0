"""The options of `mapdrop localize`, with their help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def _about(panel: str | None, text: str, **rules: Any) -> Any:
    return typer.Option(help=text, rich_help_panel=panel, show_default=True, **rules)


_DATA, _NETWORK, _TRAINING, _CHANGES = "Data", "Network", "Training", "Changes to images"

Data = Annotated[
    str,
    typer.Argument(
        help="What was labelled: the folder of a DeepLabCut project, FLIC or MPII, a COCO key "
        "point file, a CSV file with the columns image,joint,x,y; or 'scenes', to try it."
    ),
]
Run = Annotated[Path, typer.Argument(help="The folder that 'train' made.", show_default=False)]
Device = Annotated[
    str | None, _about(None, "cpu, cuda, cuda:1, ... Default: a GPU where there is one.")
]
Out = Annotated[Path | None, _about(None, "Folder of the run. Default: a new one in mapdrop-runs.")]
Resume = Annotated[
    bool, _about(None, "Go on with the run in --out, from where it was killed; or start it.")
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace results of the same names that are there.")
]

TrainSize = Annotated[
    int | None,
    _about(_DATA, "Images to use, those for validation among them. Default: all.", min=2),
]
Validation = Annotated[float, _about(_DATA, "Share of the images that only validates.")]
Bodyparts = Annotated[str | None, _about(_DATA, "Only these: snout,tailbase. Default: all.")]
Size = Annotated[
    str | None,
    _about(
        _DATA,
        "Images are fitted into it. Default: scenes 96x96, people of COCO and MPII 128x128, else "
        "160x120.",
    ),
]
DataSeed = Annotated[int, _about(_DATA, "Decides which images train and which validate.", min=0)]

Width = Annotated[int, _about(_NETWORK, "Maps of the first convolutions (paper: 128).", min=1)]
Banks = Annotated[int, _about(_NETWORK, "Resolutions the network looks at.", min=1, max=5)]
Pooling = Annotated[int, _about(_NETWORK, "Image pixels for a heat-map pixel: 4, 8 or 16.")]
Drop = Annotated[
    str, _about(_NETWORK, "none, element, spatial, block, or share=N, as in 'mapdrop study'.")
]
Rate = Annotated[float | None, _about(_NETWORK, "Default: 0.5, and 0.2 for block.")]
BlockSize = Annotated[int, _about(_NETWORK, "Side of a block, in heat-map pixels.", min=1)]
DropAt = Annotated[
    str,
    _about(
        _NETWORK,
        "Where: 'head' is before the first 1x1 convolution (the paper), 'hidden' before the "
        "second, 'banks' before each bank's last convolution; several as head,banks.",
    ),
]
UseCascade = Annotated[
    bool, _about(_NETWORK, "A second network looks again, closely, where joints were found.")
]

CoarseSteps = Annotated[int, _about(_TRAINING, "Steps of the coarse network.", min=1)]
FineSteps = Annotated[int, _about(_TRAINING, "Then of the cascade's refiner.", min=1)]
JointSteps = Annotated[int, _about(_TRAINING, "Then of both together.", min=1)]
BatchSize = Annotated[int, _about(_TRAINING, "Images in a step, of all processes.", min=1)]
LearningRate = Annotated[float, _about(_TRAINING, "At its highest (AdamW, one cycle).")]
Seed = Annotated[
    int, _about(_TRAINING, "Decides start weights, masks, and the order of images.", min=0)
]
Every = Annotated[int, _about(_TRAINING, "Steps from one validation to the next.", min=1)]
Patience = Annotated[
    int,
    _about(_TRAINING, "End a stage after so many validations without a better one; 0: never."),
]
UseCompact = Annotated[
    bool, _about(_TRAINING, "Don't compute the maps that dropout drops, where that pays.")
]
Precision = Annotated[
    str | None, _about(_TRAINING, "float32 or bfloat16. Default: bfloat16 on a GPU.")
]

Rotation = Annotated[float, _about(_CHANGES, "Turned by up to so many degrees.")]
Scale = Annotated[float, _about(_CHANGES, "Made larger or smaller by up to this factor.")]
Shift = Annotated[float, _about(_CHANGES, "Moved by up to so many pixels.")]
Brightness = Annotated[float, _about(_CHANGES, "Made lighter or darker by up to this share.")]
Flip = Annotated[
    bool | None,
    typer.Option(
        "--flip/--no-flip",
        help="Half of them mirrored. Default: if joints come in pairs, left and right.",
        rich_help_panel=_CHANGES,
    ),
]
