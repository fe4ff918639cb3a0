"""Write what is suggested: a list, a contact sheet, and images under DeepLabCut's names."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from PIL import Image

from mapdrop.localize import overlay, video
from mapdrop.localize.contact_sheet import contact_sheet
from mapdrop.localize.data import image_files
from mapdrop.localize.failures import Failures
from mapdrop.localize.results import ResultFolder
from mapdrop.localize.suggestion import Candidate
from mapdrop.system.printable import printable

LIST, SHEET = "suggestions.csv", "suggestions.png"
DIGITS = 4
"""Of a frame's number, at least, as DeepLabCut writes it."""


def names(chosen: Sequence[Candidate]) -> list[str]:
    """Return the names of all results."""
    return [LIST, SHEET, *map(image_name, chosen)]


def image_name(candidate: Candidate) -> str:
    """Return an image's name: that of its folder or video, and of the image in it."""
    source = candidate.source.absolute()
    if candidate.frame is None:
        return f"labeled-data/{source.parent.name}/{source.stem}.png"
    digits = max(DIGITS, len(str(max(0, video.count(candidate.source) - 1))))
    return f"labeled-data/{source.stem}/img{candidate.frame:0{digits}}.png"


def write(chosen: Sequence[Candidate], results: ResultFolder, failures: Failures) -> None:
    """Write all results, but for images that can't be read any more."""
    shown = []
    images = _images(chosen, failures)
    chosen = [candidate for candidate in chosen if (candidate.source, candidate.frame) in images]
    for candidate in chosen:
        image = images[candidate.source, candidate.frame]
        results.write(image_name(candidate), image_files.encode_png(image))
        found, spread = candidate.found, candidate.found.spread
        wide = None if spread is None else spread[0]
        drawn = overlay.draw(image, found.points[0], found.likelihood[0], found.joints, 0.0, wide)
        text = f"{candidate.spread:.1f} px  {printable(candidate.source.name)}"
        shown.append((drawn, text if candidate.frame is None else f"{text} {candidate.frame}"))
    results.write(SHEET, image_files.encode_png(contact_sheet(shown)))
    results.write(LIST, _list(chosen))


def _images(
    chosen: Sequence[Candidate], failures: Failures
) -> dict[tuple[Path, int | None], Image.Image]:
    """Return the images by their files and frames. Each video is read once."""
    wanted: dict[Path, set[int | None]] = {}
    for candidate in chosen:
        wanted.setdefault(candidate.source, set()).add(candidate.frame)
    found: dict[tuple[Path, int | None], Image.Image] = {}
    for path, frames in wanted.items():
        with failures.recorded():
            if None in frames:
                found[path, None] = image_files.read(path, "suggest")
                continue
            last = max(number for number in frames if number is not None)
            for number, image in enumerate(islice(video.frames(path), last + 1)):
                if number in frames:
                    found[path, number] = image
    return found


def _list(chosen: Sequence[Candidate]) -> bytes:
    file = io.StringIO(newline="")
    rows = csv.writer(file, lineterminator="\n")
    rows.writerow(["image", "source", "frame", "spread"])
    for candidate in chosen:
        frame = "" if candidate.frame is None else candidate.frame
        rows.writerow([image_name(candidate), candidate.source, frame, f"{candidate.spread:.4f}"])
    return file.getvalue().encode(errors="backslashreplace")
