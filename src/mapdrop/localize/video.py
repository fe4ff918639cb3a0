"""Videos, through PyAV: frames in, and frames out again."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from mapdrop.localize.data import DataError
from mapdrop.system.files import replacing

if TYPE_CHECKING:
    from av.container import InputContainer

KINDS = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpg", ".webm")
_ONLY = {"protocol_whitelist": "file", "format_whitelist": "avi,matroska,webm,mov,mpeg,mpegvideo"}
"""A file of these endings may be a list of other files, or of addresses: it is not opened."""


def frames(path: Path) -> Iterator[Image.Image]:
    """Yield every frame of a video in colour, one at a time.

    Raises:
        DataError: when one can't be read; frames before it have come.
    """
    import av

    number = 0
    with _read(path) as container:
        try:
            for frame in container.decode(video=0):
                yield Image.fromarray(frame.to_ndarray(format="rgb24"))
                number += 1
        except (av.FFmpegError, ValueError) as error:
            raise DataError(
                f"{path} can't be read after its first {number} frames: {error}; copy it again"
            ) from error


def count(path: Path) -> int:
    """Return about how many frames a video has; 0 where it doesn't say.

    Raises:
        DataError: when it can't be read.
    """
    import av

    with _read(path) as container:
        stream = container.streams.video[0]
        rate, duration = stream.average_rate, container.duration
        return stream.frames or int((duration or 0) / av.time_base * float(rate or 0))


@contextmanager
def recorder(path: Path, like: Path) -> Iterator[Callable[[Image.Image], None]]:
    """Take frames for a new MP4 video, as fast as the one that it is `like`; whole or not at all.

    Raises:
        DataError: when it can't be written.
    """
    import av

    with _read(like) as source:
        given = source.streams.video[0]
        rate = given.average_rate
        # H.264 halves the colours' resolution, so sides have to be even.
        width, height = given.width - given.width % 2, given.height - given.height % 2
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with (
            replacing(path) as file,
            av.open(file, "w", format="mp4") as container,
        ):
            stream = container.add_stream("h264", rate=rate or 25)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"

            def take(picture: Image.Image) -> None:
                pixels = np.asarray(picture.crop((0, 0, width, height)))
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))

            yield take
            container.mux(stream.encode())
    except av.FFmpegError as error:
        raise DataError(f"{path} can't be written: {error}") from error


@contextmanager
def _read(path: Path) -> Iterator[InputContainer]:
    """Open a video that has pictures.

    Raises:
        DataError: when it can't be read.
    """
    import av

    try:
        if not path.is_file():  # FFmpeg would wait for a FIFO's writer.
            raise DataError(f"{path}: there is no such video")
        container = av.open(_place(path), options=_ONLY)
    except (av.FFmpegError, ValueError) as error:
        raise DataError(f"{path} can't be read as a video: {error}; copy it again") from error
    with container:
        if not container.streams.video:
            raise DataError(f"{path} can't be read as a video: it has no pictures")
        yield container


def _place(path: Path) -> str:
    """Return a path that FFmpeg can't take for an address: `a:b.mp4` has a protocol to it."""
    return os.path.abspath(path)
