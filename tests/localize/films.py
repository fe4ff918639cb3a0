"""Write videos as cameras, phones and bad disks do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
RATE, KEY = 10, 6
"""Frames per second, and frames from one that needs no other to the next."""


def pictures(count: int, size: tuple[int, int] = (64, 48), seed: int = 0) -> list[Pixels]:
    """Return noise, of which no two pictures are alike."""
    rng = np.random.default_rng(seed)
    return list(rng.integers(0, 256, (count, size[1], size[0], 3), np.uint8))


def write(
    path: Path,
    frames: Sequence[Pixels],
    codec: str = "h264",
    times: Sequence[int] | None = None,
    seconds: float = 0,
    **options: str,
) -> Path:
    """Write a video, whose frames follow each other, or come at `times`, with seconds of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=RATE)
        assert isinstance(stream, av.VideoStream)
        stream.gop_size = KEY
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.height, stream.width = frames[0].shape[:2]
        if seconds:
            sound(container, seconds)
        for number, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts = number if times is None else times[number]
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def decoded(path: Path) -> list[Pixels]:
    """Return the frames of a good video, by PyAV alone."""
    with av.open(str(path)) as container:
        pictures = container.decode(video=0)
        frames = [frame.to_ndarray(format="rgb24").astype(np.uint8) for frame in pictures]
    assert len({frame.tobytes() for frame in frames}) == len(frames)
    return frames


def length(path: Path) -> int:
    """Return how many frames a good video has."""
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def damage(path: Path, number: int, part: float = 1.0) -> None:
    """Overwrite the last part of a frame's bytes, as a bad sector does."""
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    wanted = sorted(packets, key=lambda packet: packet.pts or 0)[number]
    assert wanted.pos is not None
    size = round(part * wanted.size)
    end = wanted.pos + wanted.size
    content = bytearray(path.read_bytes())
    content[end - size : end] = np.random.default_rng(0).bytes(size) if part < 1 else bytes(size)
    path.write_bytes(content)


def turn(path: Path, matrix: tuple[int, int, int, int]) -> None:
    """Put (a, b, c, d) into the header of an MP4's track, as a phone that is held upright does.

    ISO 14496-12: the matrix moves a point (p, q) to (ap + cq + x, bp + dq + y).
    """
    content = path.read_bytes()

    def stored(a: int, b: int, c: int, d: int) -> bytes:
        numbers = (a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
        return b"".join(number.to_bytes(4, "big", signed=True) for number in numbers)

    at = content.index(stored(1, 0, 0, 1), content.index(b"tkhd"))
    new = stored(*matrix)
    path.write_bytes(content[:at] + new + content[at + len(new) :])


def sound(container: av.container.OutputContainer, seconds: float) -> None:
    """Add a track of noise to a new file."""
    stream = container.add_stream("aac", rate=8000, layout="mono")
    samples = np.random.default_rng(0).uniform(-1, 1, (1, round(seconds * 8000)))
    frame = av.AudioFrame.from_ndarray(samples.astype(np.float32), format="fltp", layout="mono")
    frame.rate = 8000
    container.mux(stream.encode(frame))
    container.mux(stream.encode())
