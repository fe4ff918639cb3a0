"""Where dropout goes in three kinds of networks. It shows advice, no measurements.

Dropout comes behind the stage whose box is shaded.
"""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

HEIGHT = 5.2
# Each stage, and how much is dropped behind it: 0 nothing, 3 most.
NETWORKS: dict[str, tuple[tuple[str, int], ...]] = {
    "heat maps, segmentation, few images: spatial dropout before the last 1x1": (
        ("early", 0), ("middle", 0), ("late", 2), ("last", 3), ("1x1", 0),
    ),
    "convolutional classifier: DropBlock late, element-wise before the classifier": (
        ("early", 0), ("late", 2), ("last", 2), ("pooled", 3), ("classes", 0),
    ),
    "ResNet, ConvNeXt, ViT, Swin: drop path, more with depth": (
        ("block 1", 0), ("...", 1), ("...", 2), ("block n", 3), ("classes", 0),
    ),
}  # fmt: skip
_SHADES = ("#FFFFFF", "#FBE3B5", "#F3BE5C", "#E69F00")


def figures() -> dict[str, Any]:
    """Return what is drawn."""
    return {name: [list(stage) for stage in stages] for name, stages in NETWORKS.items()}


def draw(figure: Figure, found: dict[str, Any]) -> None:
    """Draw a row of boxes for each network: the darker, the more is dropped."""
    axes = figure.subplots(len(found), 1)
    for axis, (name, stages) in zip(axes, found.items(), strict=True):
        axis.set(xlim=(0, len(stages)), ylim=(0, 1))
        axis.axis("off")
        kind, _, advice = name.partition(": ")
        axis.set_title(f"{kind}\n{advice}", loc="left", fontsize=11)
        for place, (label, amount) in enumerate(stages):
            box = FancyBboxPatch(
                (place + 0.08, 0.1), 0.8, 0.8, boxstyle="round,pad=0,rounding_size=0.08",
                facecolor=_SHADES[amount], edgecolor="black", lw=1.2,
            )  # fmt: skip
            axis.add_patch(box)
            axis.text(place + 0.48, 0.5, label, ha="center", va="center", fontsize=11)
