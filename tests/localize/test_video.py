"""Videos as phones, cameras and bad disks leave them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition
from PIL import Image

from mapdrop.localize.clips.recorder import recorder
from mapdrop.localize.clips.video import Video
from mapdrop.localize.data import DataError
from tests.localize import films

COUNT = 24
Frames = list[Image.Image | None]


def read_damaged(path: Path) -> tuple[Frames, str]:
    """Return the frames, and what is told after them."""
    frames: Frames = []
    with pytest.raises(DataError) as told:
        frames.extend(Video(path).frames())  # Keeps those before the error.
    return frames, str(told.value)


def lost(frames: Frames) -> list[int]:
    return [number for number, frame in enumerate(frames) if frame is None]


def check_equal(frames: Frames, expected: list[films.Pixels], numbers: Iterable[int]) -> None:
    for number in numbers:
        np.testing.assert_array_equal(np.asarray(frames[number]), expected[number])


# --- Turned videos.


@pytest.mark.parametrize(
    ("matrix", "clockwise"),
    [((1, 0, 0, 1), 0), ((0, 1, -1, 0), 90), ((-1, 0, 0, -1), 180), ((0, -1, 1, 0), 270)],
    ids=["level", "quarter", "half", "three-quarters"],
)
def test_a_video_is_turned_as_its_matrix_says(
    tmp_path: Path, matrix: tuple[int, int, int, int], clockwise: int
) -> None:
    film = films.write(tmp_path / "phone.mp4", films.pictures(3))
    expected = [Image.fromarray(pixels) for pixels in films.decoded(film)]
    films.turn(film, matrix)
    frames = list(Video(film).frames())
    assert len(frames) == Video(film).count() == 3
    for frame, level in zip(frames, expected, strict=True):
        upright = np.asarray(level.rotate(-clockwise, expand=True))
        np.testing.assert_array_equal(np.asarray(frame), upright)


def test_pixels_that_are_not_square_stay_as_they_are_stored(tmp_path: Path) -> None:
    """OpenCV, by which frames are labelled, ignores their shape."""
    film = tmp_path / "wide.mp4"
    with av.open(str(film), "w") as container:
        stream = container.add_stream("h264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.sample_aspect_ratio = Fraction(4, 3)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(films.pictures(1)[0], "rgb24")))
        container.mux(stream.encode())
    with av.open(str(film)) as read:
        assert read.streams.video[0].sample_aspect_ratio == Fraction(4, 3)
    (frame,) = Video(film).frames()
    assert frame is not None
    assert frame.size == (64, 48)


# --- Damage.


@pytest.mark.parametrize("number", [0, 9, COUNT - 1], ids=["first", "middle", "last"])
@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.avi", "mjpeg"), ("a.mov", "mjpeg"), ("a.mp4", "h264")],
    ids=["mjpeg-avi", "mjpeg-mov", "h264-mp4"],
)
def test_frames_keep_their_numbers_past_a_damaged_one(
    tmp_path: Path, name: str, codec: str, number: int
) -> None:
    film = films.write(tmp_path / name, films.pictures(COUNT), codec)
    expected = films.decoded(film)
    films.damage(film, number)
    frames, told = read_damaged(film)
    missing = lost(frames)
    # Frames that need it are lost with it, until one comes that needs no other.
    after = number + 1 if codec == "mjpeg" else -(-(number + 1) // films.KEY) * films.KEY
    assert set(missing) <= set(range(number, after))
    assert missing or len(frames) == number  # After the last readable one there are no rows.
    assert len(frames) >= COUNT - 1
    check_equal(frames, expected, set(range(len(frames))) - set(missing))
    assert f"{film}: " in told
    assert f"frame {number} can't" in told or f" {number}-{after - 2}, can't" in told


def test_frames_keep_their_numbers_past_a_hole_in_matroska(tmp_path: Path) -> None:
    """FFmpeg skips to the next cluster of frames that it recognises, and says nothing."""
    film = films.write(tmp_path / "a.mkv", films.pictures(COUNT))
    expected = films.decoded(film)
    films.damage(film, 9)
    with av.open(str(film)) as container:
        found = sum(1 for _ in container.decode(video=0))
    assert found < COUNT
    frames, told = read_damaged(film)
    missing = lost(frames)
    assert len(frames) == COUNT
    assert 9 in missing
    assert COUNT - len(missing) <= found
    check_equal(frames, expected, set(range(COUNT)) - set(missing))
    assert "can't be read: the file is damaged; copy it again" in told


def test_a_picture_that_is_damaged_in_part_is_none(tmp_path: Path) -> None:
    """FFmpeg fills what it can't decode with something like the picture before, and marks it."""
    film = films.write(tmp_path / "a.mp4", films.pictures(COUNT), "mpeg4")
    expected = films.decoded(film)
    films.damage(film, 9, part=0.5)
    with av.open(str(film)) as container:
        marked = [n for n, frame in enumerate(container.decode(video=0)) if frame.is_corrupt]
    assert marked == [9]
    frames, told = read_damaged(film)
    assert lost(frames) == marked
    check_equal(frames, expected, set(range(COUNT)) - set(marked))
    assert "frame 9 can't be read: the file is damaged" in told


@pytest.mark.parametrize("codec", ["h264", "mjpeg"])
@pytest.mark.parametrize(
    ("name", "flags"),
    [("a.mp4", "faststart"), ("a.mkv", ""), ("a.avi", "")],
    ids=["mp4", "mkv", "avi"],
)
def test_the_beginning_of_a_video_that_is_cut_off_is_read(
    tmp_path: Path, name: str, flags: str, codec: str
) -> None:
    """What is left of the last frame is no frame; some decoders make it grey, without a word."""
    film = films.write(tmp_path / name, films.pictures(COUNT), codec, movflags=flags)
    expected, whole = films.decoded(film), film.read_bytes()
    film.write_bytes(whole[: len(whole) * 6 // 10])
    frames, told = read_damaged(film)
    readable = len(frames) - len(lost(frames))
    assert COUNT // 3 < readable < COUNT
    check_equal(frames, expected, range(readable))
    assert f"{COUNT - readable} frames, {readable}-{COUNT - 1}, can't be read" in told


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.mov"])
@pytest.mark.parametrize("sound", [0, 2], ids=["silent", "sound"])
def test_frames_that_a_camera_left_out_are_not_missing(
    tmp_path: Path, name: str, sound: float
) -> None:
    """Other programs count the frames that there are. Sound lies between them in the file."""
    times = [number + (number > 5) + (number > 9) * 7 for number in range(COUNT)]
    film = films.write(tmp_path / name, films.pictures(COUNT), times=times, seconds=sound)
    expected = films.decoded(film)
    frames = list(Video(film).frames())
    assert len(frames) == COUNT
    check_equal(frames, expected, range(COUNT))


def test_sound_that_goes_on_is_no_loss(tmp_path: Path) -> None:
    film = tmp_path / "a.mkv"
    with av.open(str(film), "w") as container:
        stream = container.add_stream("h264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        films.sound(container, seconds=4)
        for pixels in films.pictures(5):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        container.mux(stream.encode())
    assert len(list(Video(film).frames())) == 5


# --- What is no video, or only in part.


def empty(path: Path) -> None:
    path.write_bytes(b"")


def only_sound(path: Path) -> None:
    with av.open(str(path), "w") as container:
        films.sound(container, seconds=1)


def cover(path: Path, pixels: Iterable[films.Pixels] = ()) -> None:
    """Write a video with the picture of an album first."""
    with av.open(str(path), "w") as container:
        picture = container.add_stream("mjpeg", rate=1)
        picture.width, picture.height, picture.pix_fmt = 96, 96, "yuvj420p"
        picture.disposition = Disposition.attached_pic
        stream = container.add_stream("h264", rate=10) if pixels else None
        red = av.VideoFrame.from_ndarray(np.full((96, 96, 3), (255, 0, 0), np.uint8), "rgb24")
        if stream is None:
            films.sound(container, seconds=1)
        else:
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            for one in pixels:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(one, "rgb24")))
            container.mux(stream.encode())
        container.mux(picture.encode(red))
        container.mux(picture.encode())


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (empty, "is empty; copy it again"),
        (only_sound, "it has only sound; leave it out"),
        (cover, "it has only a cover picture; leave it out"),
    ],
    ids=["empty", "sound", "cover"],
)
def test_what_has_no_frames_is_told_at_once(
    tmp_path: Path, make: Callable[[Path], None], told: str
) -> None:
    make(tmp_path / "a.mp4")
    with pytest.raises(DataError, match=told):
        Video(tmp_path / "a.mp4").count()


def test_a_cover_picture_is_not_taken_for_the_video(tmp_path: Path) -> None:
    cover(tmp_path / "a.mp4", films.pictures(4))
    frames = list(Video(tmp_path / "a.mp4").frames())
    assert [frame.size for frame in frames if frame is not None] == [(64, 48)] * 4


def test_a_track_without_frames_is_told(tmp_path: Path) -> None:
    film = films.write(tmp_path / "a.ts", films.pictures(2))
    content = film.read_bytes()
    with av.open(str(film)) as container:
        (first, *_) = [packet for packet in container.demux(video=0) if packet.size]
    assert first.pos is not None
    film.write_bytes(content[: first.pos + 188])  # The tables, and the beginning of a frame.
    frames, told = read_damaged(film)
    assert not [frame for frame in frames if frame is not None]
    assert str(film) in told


def test_frames_of_another_size_are_read_at_their_own(tmp_path: Path) -> None:
    """A transport stream goes on with what a camera sends after its settings change."""
    parts = [
        films.write(tmp_path / f"{size[0]}.ts", films.pictures(3, size))
        for size in ((64, 48), (96, 64))
    ]
    expected = [pixels for part in parts for pixels in films.decoded(part)]
    film = tmp_path / "both.ts"
    film.write_bytes(b"".join(part.read_bytes() for part in parts))
    frames = list(Video(film).frames())
    check_equal(frames, expected, range(6))


# --- Recording.


def test_a_recording_keeps_numbers_and_fits_other_sizes(tmp_path: Path) -> None:
    film = tmp_path / "new" / "a.mp4"
    red, wide = Image.new("RGB", (64, 48), "red"), Image.new("RGB", (128, 48), "red")
    with recorder(film, Fraction(5)) as take:
        for picture in (None, None, red, None, wide):
            take(picture)
    with av.open(str(film)) as container:
        assert container.streams.video[0].average_rate == 5
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert [frame.shape for frame in frames] == [(48, 64, 3)] * 5
    lit = [[bool(frame[y, 32, 0] > 200) for y in (4, 24, 44)] for frame in frames]
    assert lit == [[False] * 3, [False] * 3, [True] * 3, [False] * 3, [False, True, False]]


def test_a_recording_without_frames_leaves_no_file(tmp_path: Path) -> None:
    with recorder(tmp_path / "a.mp4", None) as take:
        take(None)
    assert not list(tmp_path.iterdir())
