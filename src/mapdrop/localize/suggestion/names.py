"""Name suggested images as DeepLabCut does: a folder for each video, with its frames."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mapdrop.localize.sources import Sources
from mapdrop.localize.suggestion import Candidate

DIGITS = 4
"""Of a frame's number, at least, as DeepLabCut writes it."""


@dataclass(frozen=True)
class SuggestionNames:
    """Names of suggested images, which differ whatever the sources are called.

    Attributes:
        folders: by a clip's path, or by that of an images' folder.
        images: by an image's path.
        digits: of a frame's number, by the clip's path.
    """

    folders: dict[Path, str]
    images: dict[Path, str]
    digits: dict[Path, int]

    @classmethod
    def of(cls, sources: Sources) -> SuggestionNames:
        """Name all that may be suggested."""
        clips = {clip.path.absolute(): clip for clip in sources.clips}
        images = [path.absolute() for path in sources.images]
        folders = {path: path.stem for path in clips}
        folders |= {path.parent: path.parent.name for path in images}
        return cls(
            distinct(folders),
            _inside(images),
            {path: max(DIGITS, len(str(clip.count() - 1))) for path, clip in clips.items()},
        )

    def __call__(self, candidate: Candidate) -> str:
        """Return the name of an image, with `/`."""
        path = candidate.source.absolute()
        if candidate.frame is None:
            return f"labeled-data/{self.folders[path.parent]}/{self.images[path]}.png"
        return f"labeled-data/{self.folders[path]}/img{candidate.frame:0{self.digits[path]}}.png"


def _inside(images: Sequence[Path]) -> dict[Path, str]:
    """Name images, of which those of one folder have to differ."""
    folders: dict[Path, dict[Path, str]] = {}
    for path in images:
        folders.setdefault(path.parent, {})[path] = path.stem
    return {path: name for names in folders.values() for path, name in distinct(names).items()}


def distinct(names: Mapping[Path, str]) -> dict[Path, str]:
    """Return the names; where several files have one, as much of their paths' ends as differs.

    Of `cam0.mp4` and `cam0.avi` that is the whole name, of `day1/cam0.mp4` and `day2/cam0.mp4` it
    is `day1_cam0.mp4` and `day2_cam0.mp4`. Names that differ only in case are one name.
    """
    found = dict(names)
    for depth in range(1, max((len(path.parts) for path in found), default=0)):
        count = Counter(name.casefold() for name in found.values())
        for path, name in found.items():
            if count[name.casefold()] > 1:
                found[path] = "_".join(path.parts[-depth:])
    return found
