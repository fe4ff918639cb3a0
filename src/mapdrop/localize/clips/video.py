"""Read videos, through PyAV."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from mapdrop.localize.clips.lost_frames import LostFrames
from mapdrop.localize.clips.times import Times
from mapdrop.localize.data.base import DataError

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

KINDS = (
    *(".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts"),
    *(".ts", ".webm", ".wmv"),
)
_ONLY = {
    "protocol_whitelist": "file",
    "format_whitelist": "asf,avi,flv,matroska,webm,mov,mpeg,mpegts,mpegvideo",
}
"""A file of these endings may be a list of other files, or of addresses: it is not opened."""
EARLY = 0.5
"""Seconds by which a video may end before its time without being cut off."""


@dataclass(frozen=True)
class Video:
    """A video's frames, upright; a `Clip`.

    Attributes:
        path: the file.
    """

    path: Path

    def frames(self) -> Iterator[Image.Image | None]:
        """Yield every frame; see `Clip`."""
        lost, number = LostFrames(self.path), 0
        with opened(self.path) as (container, stream):
            reader = _Reader(container, stream)
            for frame in reader.frames():
                missing = reader.times.lost_before(frame)
                picture = reader.picture(frame)
                lost.add(number, number + missing + (picture is None), reader.told())
                yield from [None] * missing
                yield picture
                number += missing + 1
            if lost.runs or reader.why or reader.is_cut_off():
                end = max(_count(container, stream), number + reader.times.rest())
                lost.add(number, end, reader.told("the file is cut off"))
        lost.check()
        if not number:
            raise DataError(f"{self.path} has no frames; record it again, or leave it out")

    def count(self) -> int:
        """Return about how many frames there are; 0 where the video doesn't say."""
        with opened(self.path) as (container, stream):
            return _count(container, stream)

    def rate(self) -> Fraction | None:
        """Return the frames per second."""
        with opened(self.path) as (_, stream):
            return stream.average_rate


class _Reader:
    """Decodes a video past damage.

    Attributes:
        times: what is missing between the frames.
        why: the reason for it; empty as long as nothing is.
    """

    def __init__(self, container: InputContainer, stream: VideoStream) -> None:
        self._container, self._stream = container, stream
        self.times = Times(stream)
        self.why = ""

    def frames(self) -> Iterator[VideoFrame]:
        """Yield the frames that can be decoded, up to where the container can't be read on."""
        import av

        try:
            for packet in self._container.demux():
                self.times.note(packet)
                if packet.stream.index == self._stream.index:
                    yield from self._decode(packet)
        except av.FFmpegError as error:
            self.why = _reason(error)

    def _decode(self, packet: Packet[Any]) -> list[VideoFrame]:
        import av

        try:
            return self._stream.decode(packet)
        except (av.FFmpegError, ValueError) as error:
            self.why = _reason(error)
            self.times.broken()
            return []

    def picture(self, frame: VideoFrame) -> Image.Image | None:
        """Return a frame, upright; None if it is damaged."""
        import av

        if self.times.is_damaged(frame):
            return None
        try:
            return upright(frame)
        except (av.FFmpegError, ValueError) as error:
            self.why = _reason(error)
            return None

    def told(self, otherwise: str = "the file is damaged") -> str:
        """Return the reason and the remedy."""
        return f"{self.why or otherwise}; copy it again"

    def is_cut_off(self) -> bool:
        """Return whether every track ended before the time that the container gives."""
        import av

        return (self._container.duration or 0) / av.time_base - self.times.last > EARLY


def upright(frame: VideoFrame) -> Image.Image:
    """Return a frame in colour, turned as the video says.

    Raises:
        av.FFmpegError, ValueError: when it is damaged.
    """
    return Image.fromarray(np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90)))


def _count(container: InputContainer, stream: VideoStream) -> int:
    import av

    seconds = (container.duration or 0) / av.time_base
    return stream.frames or int(seconds * float(stream.average_rate or 0))


@contextmanager
def opened(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a video and the track that has its pictures.

    Raises:
        DataError: when it can't be read.
    """
    import av
    from av.stream import Disposition

    if not path.is_file():  # FFmpeg would wait for a FIFO's writer.
        raise DataError(f"{path}: there is no such video")
    if not path.stat().st_size:
        raise DataError(f"{path} is empty; copy it again")
    try:
        container = av.open(_place(path), options=_ONLY)
    except (av.FFmpegError, ValueError) as error:
        raise DataError(
            f"{path} can't be read as a video: {_reason(error)}; copy it again"
        ) from error
    with container:
        tracks = [
            stream
            for stream in container.streams.video
            if not stream.disposition & Disposition.attached_pic
        ]
        if not tracks:
            raise DataError(f"{path} is not a video: it has {_rest(container)}; leave it out")
        yield container, tracks[0]


def _rest(container: InputContainer) -> str:
    """Say what there is in a file without a track of pictures."""
    if container.streams.video:
        return "only a cover picture"
    return "only sound" if container.streams.audio else "no pictures"


def _reason(error: Exception) -> str:
    """Return what FFmpeg says, without its number for it."""
    return getattr(error, "strerror", None) or str(error)


def _place(path: Path) -> str:
    """Return a path that FFmpeg can't take for an address: `a:b.mp4` has a protocol to it."""
    return os.path.abspath(path)
