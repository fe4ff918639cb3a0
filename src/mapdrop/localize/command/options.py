"""The options of `mapdrop localize`, with their help; `mapdrop study` shares some of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer


def option(panel: str | None, text: str, **limits: Any) -> Any:
    """Return an option with its help; `limits` are those of `typer.Option`, such as `min`."""
    return typer.Option(help=text, rich_help_panel=panel, show_default=True, **limits)


DATA, NETWORK, TRAINING, TRANSFORMS = "Data", "Network", "Training", "Image transforms"
"""The panels of the help."""

Data = Annotated[
    str,
    typer.Argument(
        help="Labelled images: the folder of a DeepLabCut project, FLIC or MPII, a file of SLEAP, "
        "a COCO key point file, a CSV file with the columns image,joint,x,y; or 'scenes', "
        "generated examples."
    ),
]
Run = Annotated[
    Path, typer.Argument(help="The folder that 'train' has written.", show_default=False)
]
Device = Annotated[
    str | None, option(None, "cpu, cuda, cuda:1, ... Default: a GPU if there is one.")
]
Out = Annotated[Path | None, option(None, "Folder of the run. Default: a new one in mapdrop-runs.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say what would be trained, and how long; then stop.")
]
Resume = Annotated[
    bool, option(None, "Continue the interrupted run in --out, or start it if there is none.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace results of the same names.")]

TrainSize = Annotated[
    int | None,
    option(DATA, "Images to use, for training and validation. Default: all.", min=2),
]
Validation = Annotated[float, option(DATA, "Fraction of the images that validates.")]
Bodyparts = Annotated[str | None, option(DATA, "Joints to use: snout,tailbase. Default: all.")]
Size = Annotated[
    str | None,
    option(
        DATA,
        "Size that images are scaled to fit into. Default: scenes 96x96, people of COCO and MPII "
        "128x128, else 160x120.",
    ),
]
Coordinates = Annotated[
    Literal["pixels", "fractions"] | None,
    option(
        DATA,
        "pixels, or fractions of the image's size (0 to 1). Default: pixels; if all are below 1, "
        "you are asked to say.",
    ),
]
SkipMissing = Annotated[
    bool,
    typer.Option(
        "--skip-missing", help="Leave out labels whose image does not exist.", rich_help_panel=DATA
    ),
]
DataSeed = Annotated[int, option(DATA, "Determines which images train and which validate.", min=0)]

Width = Annotated[int, option(NETWORK, "Maps of the first convolutions (paper: 128).", min=1)]
Banks = Annotated[int, option(NETWORK, "Number of image resolutions.", min=1, max=5)]
Pooling = Annotated[int, option(NETWORK, "Image pixels for each heat-map pixel: 4, 8 or 16.")]
Drop = Annotated[
    str, option(NETWORK, "none, element, spatial, block, or share=N, as in 'mapdrop study'.")
]
Rate = Annotated[float | None, option(NETWORK, "Dropout rate. Default: 0.5, and 0.2 for block.")]
BlockSize = Annotated[int, option(NETWORK, "Side of a block, in heat-map pixels.", min=1)]
DropAt = Annotated[
    str,
    option(
        NETWORK,
        "Positions of drop layers: 'head' is before the first 1x1 convolution (the paper), "
        "'hidden' before the second, 'banks' before each bank's last convolution; several as "
        "head,banks.",
    ),
]
UseCascade = Annotated[
    bool, option(NETWORK, "A second network refines each joint in a window around it.")
]

CoarseSteps = Annotated[int, option(TRAINING, "Steps of the coarse network.", min=1)]
FineSteps = Annotated[int, option(TRAINING, "Then steps of the cascade's second network.", min=1)]
JointSteps = Annotated[int, option(TRAINING, "Then steps of both together.", min=1)]
BatchSize = Annotated[int, option(TRAINING, "Images in a step, over all processes.", min=1)]
LearningRate = Annotated[float, option(TRAINING, "Peak learning rate (AdamW, one cycle).")]
Seed = Annotated[
    int, option(TRAINING, "Determines initial weights, masks, and the order of images.", min=0)
]
Every = Annotated[int, option(TRAINING, "Steps from one validation to the next.", min=1)]
Patience = Annotated[
    int,
    option(TRAINING, "Validations without improvement that end a stage; 0: no limit."),
]
UseCompact = Annotated[
    bool, option(TRAINING, "Skip computing the maps that dropout drops, where that is faster.")
]
Precision = Annotated[
    str | None, option(TRAINING, "float32 or bfloat16. Default: bfloat16 on a GPU.")
]

Rotation = Annotated[float, option(TRANSFORMS, "Largest rotation, in degrees.")]
Scale = Annotated[float, option(TRANSFORMS, "Largest factor of enlargement and of reduction.")]
Shift = Annotated[float, option(TRANSFORMS, "Largest shift, in pixels.")]
Brightness = Annotated[float, option(TRANSFORMS, "Largest relative change of brightness.")]
Flip = Annotated[
    bool | None,
    typer.Option(
        "--flip/--no-flip",
        help="Mirror half of the images. Default: if joints come in pairs, left and right.",
        rich_help_panel=TRANSFORMS,
    ),
]
Pairs = Annotated[
    str | None,
    option(TRANSFORMS, "Joints that a mirror image exchanges: FL:FR,BL:BR. Default: by name."),
]
