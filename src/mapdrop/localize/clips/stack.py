"""Stacks: images of several pages, such as microscopes' TIFFs and animated GIFs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from PIL import Image

from mapdrop.localize.clips.lost_frames import LostFrames
from mapdrop.localize.data import image_files


@dataclass(frozen=True)
class Stack:
    """An image of several pages, which are its frames; a `Clip`.

    Attributes:
        path: the file.
    """

    path: Path

    def frames(self) -> Iterator[Image.Image | None]:
        """Yield every page; see `Clip`."""
        lost = LostFrames(self.path)
        with image_files.opened_image(self.path, str(self.path)) as image:
            for number in range(self.count()):
                try:
                    page = image_files.decode(image, number)
                except image_files.UnsuitableError as error:
                    lost.add(number, number + 1, f"it {error}")
                    yield None
                except Exception as error:  # Pillow's decoders raise almost anything.
                    lost.add(number, number + 1, f"{error}; copy it again")
                    yield None
                else:
                    yield page
        lost.check()

    def count(self) -> int:
        """Return how many pages there are."""
        return image_files.pages(self.path, str(self.path))

    def rate(self) -> Fraction | None:
        """Return None: pages have no times, or each its own."""
        return None
