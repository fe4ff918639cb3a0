"""Videos, through PyAV: frames in, and frames out again."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from mapdrop.localize.data import DataError

KINDS = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpg", ".webm")


def frames(path: Path) -> Iterator[Image.Image]:
    """Every frame of a video in colour, one at a time.

    Raises:
        DataError: when it can't be read.
    """
    import av

    try:
        with av.open(str(path)) as container:
            for frame in container.decode(video=0):
                yield Image.fromarray(frame.to_ndarray(format="rgb24"))
    except (av.FFmpegError, IndexError) as error:
        raise DataError(f"{path} can't be read as a video: {error}") from error


def count(path: Path) -> int:
    """About how many frames a video has; 0 where it doesn't say.

    Raises:
        DataError: when it can't be read.
    """
    import av

    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            rate, duration = stream.average_rate, container.duration
            return stream.frames or int((duration or 0) / av.time_base * float(rate or 0))
    except (av.FFmpegError, IndexError) as error:
        raise DataError(f"{path} can't be read as a video: {error}") from error


@contextmanager
def recorder(path: Path, like: Path) -> Iterator[Callable[[Image.Image], None]]:
    """Takes frames for a new video, as fast as the one that it is `like`; whole or not at all."""
    import av

    with av.open(str(like)) as source:
        given = source.streams.video[0]
        rate = given.average_rate
        # H.264 halves the colours' resolution, so sides have to be even.
        width, height = given.width - given.width % 2, given.height - given.height % 2
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".part-{path.name}")  # The name's end decides the format.
    with av.open(str(unfinished), "w") as container:
        stream = container.add_stream("h264", rate=rate or 25)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"

        def take(picture: Image.Image) -> None:
            pixels = np.asarray(picture.crop((0, 0, width, height)))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))

        yield take
        container.mux(stream.encode())
    os.replace(unfinished, path)
