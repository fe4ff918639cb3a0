"""How pictures look: large letters on a white card, in Okabe and Ito's colours."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

BLACK, ORANGE, BLUE, GREEN, PURPLE, SKY, RED = (
    "#000000", "#E69F00", "#0072B2", "#009E73", "#CC79A7", "#56B4E9", "#D55E00",
)  # fmt: skip
WIDTH = 5.6  # Inches of 72 pixels: a little more than a phone is wide.
SETTINGS: Any = {
    "svg.hashsalt": "mapdrop",  # Otherwise names inside the file are random.
    "svg.fonttype": "path",
    "font.size": 12,
    "axes.titlesize": 12,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.25,
    "lines.linewidth": 2.2,
}


def digest(figures: Any) -> str:
    """Return what names these figures, and no others, inside a picture."""
    text = json.dumps(figures, sort_keys=True)
    return f"figures {hashlib.sha256(text.encode()).hexdigest()}"


def draw(picture: Any, figures: Any, path: Path) -> None:
    """Write a module's picture of these figures: the same bytes for the same versions."""
    with rc_context(SETTINGS):
        figure = Figure(figsize=(WIDTH, picture.HEIGHT), layout="constrained", facecolor="white")
        picture.draw(figure, figures)
        about = {"Date": None, "Creator": None, "Description": digest(figures)}
        figure.savefig(path, format="svg", metadata=about)


def blank(axis: Any) -> None:
    """Take an image's axes away."""
    axis.set(xticks=[], yticks=[])
    axis.grid(False)
    axis.spines[:].set_visible(False)
