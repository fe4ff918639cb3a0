"""Tell by the times in a damaged video how many frames it lost, and where."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

OVERHEAD = 1024
"""Bytes, and with them an eighth of a packet, that a container may add to it."""


class Times:
    """Follows a video's packets and frames, and counts what is missing between frames.

    A packet that can't be decoded is a lost frame at its time. Where damage hides packets, the
    container's reader skips bytes without a word; from there on the times tell how many frames are
    missing. Before, they don't: many cameras leave out frames, and other programs count those that
    are there.

    Attributes:
        last: when the last packet of any track ends, in seconds.
    """

    def __init__(self, stream: VideoStream) -> None:
        rate, base = stream.average_rate, stream.time_base
        self._step = float(1 / (rate * base)) if rate and base else 0.0
        self._broken: list[int] = []  # A heap.
        self._suspicious: set[int] = set()
        self._before: int | None = None
        self._end: int | None = None
        self._slack = self._skipped = 0
        self.last = 0.0

    def note(self, packet: Packet[Any]) -> None:
        """Follow a packet of any track, in the order of the file."""
        if not packet.size:
            return
        if packet.pts is not None and packet.time_base:
            self.last = max(
                self.last, float((packet.pts + (packet.duration or 0)) * packet.time_base)
            )
        if packet.is_corrupt:
            self._suspicious.add(_time(packet))
            self._skipped += packet.size
        if packet.pos is None:
            return
        if self._end is not None and packet.pos - self._end > self._slack:
            self._skipped += packet.pos - self._end
        self._end, self._slack = packet.pos + packet.size, OVERHEAD + packet.size // 8

    def broken(self, packet: Packet[Any]) -> None:
        """Note that a packet can't be decoded."""
        heapq.heappush(self._broken, _time(packet))

    def lost_before(self, frame: VideoFrame) -> int:
        """Return how many frames are missing between the last frame and this one."""
        time, count = _time(frame), 0
        while self._broken and self._broken[0] < time:
            heapq.heappop(self._broken)
            count += 1
        if self._skipped and self._step and self._before is not None:
            by_time = round((time - self._before) / self._step) - 1
            count = max(count, min(by_time, self._skipped))  # Each had a byte at least.
        self._before = time
        return count

    def rest(self) -> int:
        """Return how many packets at the end can't be decoded."""
        return len(self._broken)

    def is_damaged(self, frame: VideoFrame) -> bool:
        """Return whether a frame shows something else in part."""
        return frame.is_corrupt or _time(frame) in self._suspicious


def _time(item: Packet[Any] | VideoFrame) -> int:
    """Return when it is shown; where the container doesn't say, when it is decoded."""
    return next((time for time in (item.pts, item.dts) if time is not None), 0)
