"""Store the test images that are hard for every dropout, and draw them for the report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.colors import to_rgb
from PIL import Image

from mapdrop.localize.contact_sheet import Colour, Section, sheet_of
from mapdrop.localize.data import KeypointData
from mapdrop.localize.marked_picture import marked
from mapdrop.study.conditions import Condition
from mapdrop.study.examples import MAX_BYTES, arrays_of, load_detections
from mapdrop.study.joint_errors import hardest, typical
from mapdrop.study.plots import LINES
from mapdrop.study.rows import Row
from mapdrop.study.verdict import Findings, findings
from mapdrop.system.files import write
from mapdrop.system.printable import printable, short_path

_FILE = Path("examples", "hardest.npz")
HEADING = (
    "Crosses: labels, large: the row's joint. Dots: what the first seed's networks found of it."
)
LABEL: Colour = (255, 255, 255)


@dataclass(frozen=True)
class HardImages:
    """Test images of `joint_errors.hardest`.

    Attributes:
        numbers: (n,), their positions in the test part.
        images: (n, H, W, 3), 0 to 255.
        points: (n, K, 2), the labels in working pixels; NaN where missing.
        names: (n,), the files' names with their folders', but not the folders' places: users share
            reports.
    """

    numbers: npt.NDArray[np.int64]
    images: npt.NDArray[np.uint8]
    points: npt.NDArray[np.float64]
    names: tuple[str, ...]

    @classmethod
    def select(cls, data: KeypointData, found: Findings) -> HardImages:
        """Select the images."""
        numbers = np.unique(np.concatenate([*hardest(found).values()])).astype(np.int64)
        indices = data.test[numbers]
        names = tuple(short_path(data.image_names[index]) for index in indices)
        return cls(numbers, data.images[indices], data.points[indices], names)

    @classmethod
    def load(cls, folder: Path, data: Row) -> HardImages:
        """Load the images of a study in `folder`, whose first row describes `data`.

        Raises:
            OSError, ValueError: when they are missing or damaged.
        """
        width, height = data["working_size"]
        with arrays_of(folder / _FILE) as arrays:
            numbers = arrays.read("numbers", "<i8", (None,))
            count = len(numbers)
            images = arrays.read("images", "|u1", (count, height, width, 3), most=MAX_BYTES)
            points = arrays.read("points", "<f8", (count, len(data["joints"]), 2))
            if np.isinf(points).any():
                raise ValueError("a point is infinite")
            names = [f"test image {number}" for number in numbers]
            if "names" in arrays.names:  # Earlier versions stored none.
                names = arrays.read("names", "U", (count,)).tolist()
            return cls(numbers, images, points, tuple(names))

    def save(self, folder: Path) -> None:
        """Save the images, so that later reports need no data set."""
        content = BytesIO()
        np.savez_compressed(
            content,
            numbers=self.numbers,
            images=self.images,
            points=self.points,
            names=np.array(self.names, np.str_),
        )
        write(folder / _FILE, content.getvalue())

    def sheet(
        self,
        joints: Sequence[str],
        found: Findings,
        detections: Mapping[Condition, npt.NDArray[np.float32]],
    ) -> Image.Image | None:
        """Draw a row of the hardest images for each of the hardest joints.

        Args:
            joints: K names.
            found: with the errors that say what is hard.
            detections: by dropout, (N, K, 2): what its network found in all N test images.

        Returns:
            The sheet; None when none of these images is stored.
        """
        colours = {of: _bytes(LINES[n % len(LINES)]) for n, of in enumerate(found.best)}
        errors, sections = typical(found), []
        for joint, numbers in hardest(found).items():
            pictures = []
            for number in numbers:
                for at in np.flatnonzero(self.numbers == number):
                    dots = [
                        (points[number, joint], colours[of]) for of, points in detections.items()
                    ]
                    shades = [LABEL] * len(joints)
                    picture = marked(self.images[at], self.points[at], joint, shades, dots)
                    far = errors.distances[number, joint]
                    pictures.append((picture, f"{far:.1f} px\n{printable(self.names[at])}"))
            if pictures:
                sections.append(Section(printable(joints[joint]), pictures))
        legend = [(colours[of], of.label) for of in detections]
        return sheet_of(HEADING, legend, sections) if sections else None


def save_hard_images(folder: Path, data: KeypointData, rows: Sequence[Row]) -> None:
    """Save the hard images of a study's rows, if it has any to compare."""
    if found := findings(rows):
        HardImages.select(data, found[-1]).save(folder)


def load_sheet(
    folder: Path,
    rows: Sequence[Row],
    found: Findings,
    shown: Sequence[Condition],
    notify: Callable[[str], None],
) -> Image.Image | None:
    """Load and draw the hard images of a study, with what some dropouts' networks found in them.

    Returns:
        None for a study of an earlier version, which stored none; what is damaged is notified.
    """
    data, detections = rows[0]["data"], {}
    try:
        images = HardImages.load(folder, data)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as problem:
        notify(f"without the hardest images: {problem}")
        return None
    for condition in shown:
        try:
            points = load_detections(folder, condition, found.train_size, data)
        except (OSError, ValueError) as problem:
            notify(f"without points of {condition.label}: {problem}")
            continue
        if points is not None:
            detections[condition] = points
    return images.sheet(data["joints"], found, detections)


def _bytes(colour: str) -> Colour:
    red, green, blue = (round(255 * part) for part in to_rgb(colour))
    return red, green, blue
