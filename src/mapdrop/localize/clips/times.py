"""Tell by the times in a damaged video how many frames it lost, and where."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

OVERHEAD = 1024
"""Bytes, and with them an eighth of a packet, that Matroska may add to it."""


class Times:
    """Follows a video's packets and frames, and counts what is missing between frames.

    Nothing is missing before the first sign of damage. Then every packet without a frame is one
    that is missing. Where FFmpeg has skipped bytes of a Matroska file, packets are missing too, and
    only the time between two frames tells how many. In a good video neither would be right:
    cameras leave out frames, some packets show nothing, and other programs count what is there.

    Attributes:
        last: when the last packet of any track ends, in seconds.
    """

    def __init__(self, stream: VideoStream) -> None:
        self._track = stream.index
        container = stream.container.format.name
        # In others packets need not follow each other, or something else lies between them.
        self._is_dense = container == "matroska,webm"
        # A transport stream marks packets beside any gap, as where two good files were joined.
        self._marks_cuts = container != "mpegts"
        rate, base = stream.average_rate, stream.time_base
        self._step = float(1 / (rate * base)) if rate and base else 0.0
        self._awaited: list[int] = []  # A heap of times.
        self._cut: set[int] = set()
        self._broken = False
        self._skipped = 0
        self._end = self._slack = 0
        self._before: int | None = None
        self.last: float = 0.0

    def note(self, packet: Packet[Any]) -> None:
        """Follow a packet of any track, in the order of the file."""
        if not packet.size:
            return
        if packet.pts is not None and packet.time_base:
            end = packet.pts + (packet.duration or 0)
            self.last = max(self.last, float(end * packet.time_base))
        if packet.stream.index == self._track:
            self._note_pictures(packet)
        if packet.pos is not None and self._is_dense:
            if self._end and packet.pos - self._end > self._slack:
                self._skipped += packet.pos - self._end
            self._end, self._slack = packet.pos + packet.size, OVERHEAD + packet.size // 8

    def _note_pictures(self, packet: Packet[Any]) -> None:
        if not packet.is_discard:
            heapq.heappush(self._awaited, _time(packet))
        if packet.is_corrupt and self._marks_cuts:
            self._cut.add(_time(packet))

    def broken(self) -> None:
        """Note that a packet can't be decoded."""
        self._broken = True

    def lost_before(self, frame: VideoFrame) -> int:
        """Return how many frames are missing between the last frame and this one."""
        time, count = _time(frame), 0
        while self._awaited and self._awaited[0] <= time:
            count += heapq.heappop(self._awaited) < time
        if not self._broken:
            count = 0
        if self._step and self._before is not None:
            by_time = round((time - self._before) / self._step) - 1
            count = max(count, min(by_time, self._skipped))  # Each had bytes.
        self._before = time
        return count

    def rest(self) -> int:
        """Return how many frames are missing at the end."""
        return len(self._awaited) if self._broken else 0

    def is_damaged(self, frame: VideoFrame) -> bool:
        """Return whether a frame shows something else in part."""
        return frame.is_corrupt or _time(frame) in self._cut


def _time(item: Packet[Any] | VideoFrame) -> int:
    """Return when it is shown; where the container doesn't say, when it is decoded."""
    return next((time for time in (item.pts, item.dts) if time is not None), 0)
