"""Single frames of videos, without decoding all that come before."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from PIL import Image

from mapdrop.localize.clips.video import opened, upright
from mapdrop.localize.data.base import DataError
from mapdrop.localize.data.paths import exists


@dataclass(frozen=True)
class VideoFrame:
    """A frame of a video; an `ImageSource`.

    Attributes:
        path: the video, without links.
        number: the frame's number in the order in which they are shown, from 0.
    """

    path: Path
    number: int

    def __str__(self) -> str:
        """Return the path and the number."""
        return f"{self.path}:{self.number}"

    @property
    def name(self) -> str:
        """Return the number and the file's name."""
        return f"frame {self.number} of {self.path.name}"

    def read_size(self, where: str) -> tuple[int, int]:
        """Return the (width, height) of the video's first frame.

        Raises:
            DataError: when the video is missing or can't be read, or has fewer frames; `where` says
                where it was named.
        """
        self._time(where)
        return _size(self.path, *_state(self.path))

    def pages(self, where: str) -> int:
        """Return 1."""
        return 1

    def read(self, where: str) -> Image.Image:
        """Return the frame in 8-bit colour.

        Raises:
            DataError: like `read_size`, and when the frame can't be decoded.
        """
        return _read_at(self.path, self._time(where), f"{where}: {self.name}")

    def _time(self, where: str) -> int:
        if not exists(self.path):
            raise DataError(
                f"{where}: there is no video {self.path}; copy it there, or export the labels with "
                "their images"
            )
        times = _times(self.path, *_state(self.path))
        if self.number >= len(times):
            raise DataError(
                f"{where}: {self.path} has only {len(times)} frames; restore the video that was "
                "labelled"
            )
        return times[self.number]


def _state(path: Path) -> tuple[int, int]:
    about = path.stat()
    return about.st_mtime_ns, about.st_size


@lru_cache(maxsize=64)
def _times(path: Path, *_unused: int) -> list[int]:
    """Return when each frame is shown, in the stream's unit; nothing is decoded."""
    with opened(path) as (container, stream):
        packets = container.demux(stream)
        times = [packet.pts for packet in packets if packet.size and not packet.is_discard]
    known = [time for time in times if time is not None]
    if len(known) < len(times):
        raise DataError(
            f"{path} doesn't say when its frames are shown; save it as MP4, or export the labels "
            "with their images"
        )
    return sorted(known)


@lru_cache(maxsize=64)
def _size(path: Path, *_unused: int) -> tuple[int, int]:
    return _read_at(path, _times(path, *_unused)[0], str(path)).size


def _read_at(path: Path, time: int, what: str) -> Image.Image:
    """Return the frame that is shown at a time."""
    import av

    with opened(path) as (container, stream):
        try:
            container.seek(time, stream=stream)  # To the last key frame before.
            return upright(next(one for one in container.decode(stream) if one.pts == time))
        except (av.FFmpegError, StopIteration, ValueError) as error:
            raise DataError(f"{what} can't be read: {error}; copy the video again") from error
