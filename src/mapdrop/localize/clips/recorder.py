"""Write videos, through PyAV."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from mapdrop.localize.data import DataError
from mapdrop.system.files import replacing

RATE = Fraction(10)
"""Frames per second, for what has no times: pages can be followed by eye."""


@contextmanager
def recorder(path: Path, rate: Fraction | None) -> Iterator[Callable[[Image.Image | None], None]]:
    """Take frames for a new MP4 video; whole or not at all, and none without frames.

    It has the size of the first frame, into which frames of another size are fitted. None is a
    black frame, so that the others keep their numbers.

    Raises:
        DataError: when it can't be written.
    """
    early = 0
    write: Callable[[Image.Image | None], None] | None = None
    with ExitStack() as stack:

        def take(picture: Image.Image | None) -> None:
            nonlocal early, write
            if write is None:
                if picture is None:
                    early += 1
                    return
                write = stack.enter_context(_video(path, rate or RATE, picture.size))
                for _ in range(early):
                    write(None)
            write(picture)

        yield take


@contextmanager
def _video(
    path: Path, rate: Fraction, size: tuple[int, int]
) -> Iterator[Callable[[Image.Image | None], None]]:
    import av

    # H.264 halves the colours' resolution, so sides have to be even. Of one pixel two are made.
    even = max(2, size[0] - size[0] % 2), max(2, size[1] - size[1] % 2)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with (
            replacing(path) as file,
            av.open(file, "w", format="mp4") as container,
        ):
            stream = container.add_stream("h264", rate=rate)
            stream.width, stream.height, stream.pix_fmt = *even, "yuv420p"

            def write(picture: Image.Image | None) -> None:
                shown = Image.new("RGB", size) if picture is None else picture
                if shown.size != size:
                    shown = ImageOps.pad(shown, size)
                pixels = np.asarray(shown.crop((0, 0, *even)))
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))

            yield write
            container.mux(stream.encode())
    except av.FFmpegError as error:
        raise DataError(f"{path} can't be written: {error}") from error
