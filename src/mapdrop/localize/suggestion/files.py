"""Write what is suggested: a list, a contact sheet, and images under DeepLabCut's names."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from PIL import Image

from mapdrop.localize import overlay
from mapdrop.localize.clips import clip_of
from mapdrop.localize.contact_sheet import contact_sheet
from mapdrop.localize.csv_text import csv_text
from mapdrop.localize.data import image_files
from mapdrop.localize.failures import Failures
from mapdrop.localize.results import ResultFolder
from mapdrop.localize.suggestion import Candidate
from mapdrop.localize.suggestion.names import SuggestionNames
from mapdrop.system.printable import printable

LIST, SHEET = "suggestions.csv", "suggestions.png"


def write(
    chosen: Sequence[Candidate], names: SuggestionNames, results: ResultFolder, failures: Failures
) -> None:
    """Write all results, but for images that can't be read any more."""
    results.check_names([LIST, SHEET, *map(names, chosen)], [one.source for one in chosen])
    shown = []
    images = _images(chosen, failures)
    chosen = [candidate for candidate in chosen if (candidate.source, candidate.frame) in images]
    for candidate in chosen:
        image = images[candidate.source, candidate.frame]
        results.write(names(candidate), image_files.encode_png(image))
        found, spread = candidate.found, candidate.found.spread
        wide = None if spread is None else spread[0]
        drawn = overlay.draw(image, found.points[0], found.likelihood[0], found.joints, 0.0, wide)
        text = f"{candidate.spread:.1f} px  {printable(candidate.source.name)}"
        shown.append((drawn, text if candidate.frame is None else f"{text} {candidate.frame}"))
    results.write(SHEET, image_files.encode_png(contact_sheet(shown)))
    results.write(LIST, _list(chosen, names))


def _images(
    chosen: Sequence[Candidate], failures: Failures
) -> dict[tuple[Path, int | None], Image.Image]:
    """Return the images by their files and frames. Each clip is read once."""
    wanted: dict[Path, set[int | None]] = {}
    for candidate in chosen:
        wanted.setdefault(candidate.source, set()).add(candidate.frame)
    found: dict[tuple[Path, int | None], Image.Image] = {}
    for path, frames in wanted.items():
        with failures.recorded():
            clip = clip_of(path)
            if clip is None:
                found[path, None] = image_files.read(path, "suggest")
                continue
            last = max(number for number in frames if number is not None)
            for number, image in enumerate(islice(clip.frames(), last + 1)):
                if number in frames and image is not None:
                    found[path, number] = image
    return found


def _list(chosen: Sequence[Candidate], names: SuggestionNames) -> bytes:
    rows = [(names(one), one.source, one.frame, one.spread) for one in chosen]
    return csv_text([("image", "source", "frame", "spread"), *rows])
