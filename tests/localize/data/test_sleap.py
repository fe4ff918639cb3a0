"""Labels that sleap-io writes: in packages, with videos, and with images."""

from __future__ import annotations

import io
import json
import shutil
import struct
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import av
import h5py
import numpy as np
import numpy.typing as npt
import pytest
import sleap_io
from PIL import Image
from typer.testing import CliRunner

from mapdrop.cli import app
from mapdrop.localize import reader_process
from mapdrop.localize.clips.video import Video
from mapdrop.localize.clips.video_frame import VideoFrame
from mapdrop.localize.data import DataError, Dataset, ImagesError, check_images, hdf5, read
from mapdrop.localize.data.image_files import ORIENTATION, clip_box
from mapdrop.localize.data.sleap.labels import read_labels
from tests.localize import films, spots

pytestmark = pytest.mark.filterwarnings(
    # The peer starts FFmpeg by a fork, of which JAX warns where another test has imported it.
    "ignore:os.fork\\(\\) was called:RuntimeWarning"
)

NODES = ["nose", "tail"]
NAN = [np.nan, np.nan]
Points = Sequence[Sequence[float]]


@pytest.fixture(autouse=True)
def _through_pyav() -> Iterator[None]:
    sleap_io.set_default_video_plugin("pyav")
    yield
    sleap_io.set_default_video_plugin(None)


def pictures(folder: Path, count: int = 4) -> list[Path]:
    """Write images that differ, of three different channels."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for number in range(count):
        pixels = rng.integers(0, 256, (*spots.SIZE[::-1], 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return [folder / f"{number}.png" for number in range(count)]


def labelled(
    film: sleap_io.Video, frames: dict[int, Sequence[Points]], nodes: Sequence[str] = NODES
) -> list[sleap_io.LabeledFrame]:
    """Label animals in some frames of a video."""
    skeleton = sleap_io.Skeleton(list(nodes))
    return [
        sleap_io.LabeledFrame(
            film,
            number,
            [sleap_io.Instance.from_numpy(np.array(points, float), skeleton) for points in animals],
        )
        for number, animals in frames.items()
    ]


ONE_EACH: dict[int, Sequence[Points]] = {
    2: [[[10, 20.5], [30, 40]]],
    0: [[[11, 21], NAN]],
    3: [[[12, 22], [0, 47]]],
}


def in_images(root: Path) -> sleap_io.Labels:
    film = sleap_io.Video.from_filename([str(path) for path in pictures(root / "frames")])
    return sleap_io.Labels(labelled(film, ONE_EACH))


def of_images(root: Path) -> Path:
    in_images(root).save(str(root / "labels.slp"))
    return root / "labels.slp"


def package(root: Path) -> Path:
    in_images(root).save(str(root / "labels.pkg.slp"), embed="user", verbose=False)
    shutil.rmtree(root / "frames")
    return root / "labels.pkg.slp"


def of_video(root: Path, **options: str) -> Path:
    """Write a video with frames that depend on earlier and later ones, and its labels."""
    spots.film(root / "clip.mp4", pictures(root / "frames", 40), **options)
    film = sleap_io.Video.from_filename(str(root / "clip.mp4"))
    sleap_io.Labels(labelled(film, ONE_EACH)).save(str(root / "labels.slp"))
    return root / "labels.slp"


def images(data: Dataset) -> list[npt.NDArray[np.uint8]]:
    return [np.asarray(data[index][0]) for index in range(len(data))]


WRITERS: dict[str, Callable[[Path], Path]] = {
    "images": of_images,
    "package": package,
    "video": of_video,
}
EVERY = pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)


@EVERY
@pytest.mark.parametrize("whole", [False, True], ids=["file", "folder"])
def test_labels_are_read_in_the_order_of_frames(
    write: Callable[[Path], Path], whole: bool, tmp_path: Path
) -> None:
    file = write(tmp_path)
    data = read(tmp_path if whole else file)
    assert data.joints == ("nose", "tail")
    found = [sample.points.tolist() for sample in data.samples]
    np.testing.assert_array_equal(found, [ONE_EACH[number][0] for number in (0, 2, 3)])
    assert [sample.box for sample in data.samples] == 3 * [None]
    assert len({str(sample.image) for sample in data.samples}) == 3
    assert data.left_out == ()
    check_images(data)


@pytest.mark.parametrize("write", [of_images, package], ids=["images", "package"])
def test_images_are_those_that_were_labelled(write: Callable[[Path], Path], tmp_path: Path) -> None:
    expected = [np.asarray(Image.open(path)) for path in pictures(tmp_path / "same")]
    for found, number in zip(images(read(write(tmp_path))), (0, 2, 3), strict=True):
        np.testing.assert_array_equal(found, expected[number])


def test_frames_are_those_that_sleap_reads(tmp_path: Path) -> None:
    expected = sleap_io.load_slp(str(of_video(tmp_path)))
    for found, number in zip(images(read(tmp_path)), (0, 2, 3), strict=True):
        np.testing.assert_array_equal(found, expected.videos[0][number])


def test_what_is_invisible_or_not_placed_is_missing(tmp_path: Path) -> None:
    labels = in_images(tmp_path)
    labels[0].instances[0].points["visible"][1] = False
    labels.save(str(tmp_path / "labels.slp"))
    samples = read(tmp_path).samples
    np.testing.assert_array_equal(samples[1].points, [[10, 20.5], NAN])
    np.testing.assert_array_equal(samples[0].points, [[11, 21], NAN])


def test_joints_are_in_the_selected_order(tmp_path: Path) -> None:
    data = read(package(tmp_path), ("tail", "nose"))
    assert data.joints == ("tail", "nose")
    np.testing.assert_array_equal(data.samples[1].points, [[30, 40], [10, 20.5]])
    with pytest.raises(DataError, match=r"no body part 'nsoe'; did you mean 'nose'"):
        read(tmp_path, ("nsoe",))


def test_coordinates_count_from_the_centre_of_the_first_pixel(tmp_path: Path) -> None:
    """Before version 1.1 of the format they counted from its corner."""
    file = package(tmp_path)
    now = np.stack([sample.points for sample in read(file).samples])
    with h5py.File(file, "r+") as found:
        found["metadata"].attrs["format_id"] = 1.0
        rows = found["instances"][()]
        del found["instances"]
        found["instances"] = rows[[name for name in rows.dtype.names if name != "tracking_score"]]
    before = np.stack([sample.points for sample in read(file).samples])
    np.testing.assert_array_equal(before, now - 0.5)


TWO: dict[int, Sequence[Points]] = {
    0: [[[10, 10], [20, 14]], [[40, 30], [60, 38]]],
    1: [[[30, 30], NAN]],
}


def test_animals_of_one_frame_are_cut_out_at_one_scale(tmp_path: Path) -> None:
    film = sleap_io.Video.from_filename([str(path) for path in pictures(tmp_path / "frames")])
    sleap_io.Labels(labelled(film, TWO)).save(str(tmp_path / "labels.slp"))
    data = read(tmp_path)
    assert data.size == (128, 128)
    boxes = np.array([sample.box for sample in data.samples])
    side = max(32, 1.25 * 20)
    np.testing.assert_allclose(boxes[:, 2:] - boxes[:, :2], side)
    np.testing.assert_allclose((boxes[:, 2:] + boxes[:, :2]) / 2, [[15, 12], [50, 34], [30, 30]])
    assert len({sample.image for sample in data.samples}) == 2
    for index, sample in enumerate(data.samples):
        picture, points = data[index]
        left, top, right, bottom = clip_box(sample.box, spots.SIZE)
        assert picture.size == (right - left, bottom - top)
        np.testing.assert_array_equal(points + np.array([left, top]), sample.points)


def test_a_training_tells_that_it_is_on_cut_outs(tmp_path: Path) -> None:
    film = sleap_io.Video.from_filename([str(path) for path in pictures(tmp_path / "frames")])
    several = dict.fromkeys(range(4), TWO[0])
    sleap_io.Labels(labelled(film, several)).save(str(tmp_path / "labels.slp"))
    small = "--width 2 --banks 1 --pooling 4 --drop none --no-cascade --no-flip --dry-run"
    command = ["localize", "train", str(tmp_path), "--out", str(tmp_path / "run")]
    done = CliRunner().invoke(app, [*command, *small.split()])
    assert done.exit_code == 0, done.output
    assert "Animals are cut out around their labels, which a user has not got" in done.output


def test_the_largest_animal_decides_the_scale(tmp_path: Path) -> None:
    film = sleap_io.Video.from_filename([str(path) for path in pictures(tmp_path / "frames")])
    wide: dict[int, Sequence[Points]] = {0: [[[4, 10], [60, 10]], [[10, 40], [12, 40]]]}
    sleap_io.Labels(labelled(film, wide)).save(str(tmp_path / "labels.slp"))
    boxes = np.array([sample.box for sample in read(tmp_path).samples])
    np.testing.assert_allclose(boxes[:, 2:] - boxes[:, :2], 1.25 * 56)


def test_predictions_and_suggestions_are_left_out(tmp_path: Path) -> None:
    labels = in_images(tmp_path)
    found = sleap_io.PredictedInstance.from_numpy(
        np.ones((2, 2)), labels.skeletons[0], point_scores=np.ones(2), score=0.5
    )
    labels[0].instances.append(found)
    labels.append(sleap_io.LabeledFrame(labels.videos[0], 1, [found]))
    labels.suggestions = [sleap_io.SuggestionFrame(labels.videos[0], 1)]
    labels.save(str(tmp_path / "labels.slp"))
    data = read(tmp_path)
    assert len(data) == 3
    assert data.left_out == ("2 instances that SLEAP predicted",)


def test_predictions_alone_are_an_error(tmp_path: Path) -> None:
    labels = in_images(tmp_path)
    for frame in labels:
        points = np.ones((2, 2))
        frame.instances = [
            sleap_io.PredictedInstance.from_numpy(
                points, labels.skeletons[0], point_scores=np.ones(2), score=0.5
            )
        ]
    labels.save(str(tmp_path / "labels.slp"))
    with pytest.raises(DataError, match=r"labels\.slp has only predictions; correct some in SLEAP"):
        read(tmp_path)


def test_several_kinds_of_skeletons_are_an_error(tmp_path: Path) -> None:
    labels = in_images(tmp_path)
    others = labelled(labels.videos[0], {1: [[[1, 2], [3, 4]]]}, ["head", "hoof"])
    labels = sleap_io.Labels([*labels, *others])
    labels.save(str(tmp_path / "labels.slp"))
    with pytest.raises(DataError, match="has 2 kinds of skeletons; keep one kind"):
        read(tmp_path)


def test_several_files_in_a_folder_are_named(tmp_path: Path) -> None:
    package(tmp_path)
    of_images(tmp_path)
    (tmp_path / "._labels.slp").write_bytes(b"macOS")
    with pytest.raises(DataError, match=r"has 2 files of SLEAP: labels\.pkg\.slp, labels\.slp"):
        read(tmp_path)


def test_videos_of_a_package_are_told_apart_by_their_numbers(tmp_path: Path) -> None:
    """SLEAP keeps the videos' numbers when it exports only some of them."""
    frames: list[sleap_io.LabeledFrame] = []
    for shade in (40, 20):
        path = tmp_path / f"{shade}.png"
        Image.new("RGB", spots.SIZE, (shade, shade, shade)).save(path)
        film = sleap_io.Video.from_filename([str(path)])
        frames += labelled(film, {0: [[[shade, 1], [2, 3]]]})
    file = tmp_path / "labels.pkg.slp"
    sleap_io.Labels(frames).save(str(file), embed="user", verbose=False)
    with h5py.File(file, "r+") as found:
        found.move("video0", "video7")
        found.move("video1", "video0")
        about = [row.decode() for row in found["videos_json"][()]]
        about = [about[0].replace("video0/", "video7/"), about[1].replace("video1/", "video0/")]
        del found["videos_json"]
        found["videos_json"] = [row.encode() for row in about]
        rows = found["frames"][()]
        rows["video"] = [7 if row == 0 else 0 for row in rows["video"]]
        found["frames"][...] = rows
    data = read(file)
    assert [image[0, 0, 0] for image in images(data)] == [20, 40]
    assert [sample.points[0, 0] for sample in data.samples] == [20, 40]


@pytest.mark.parametrize("order", ["BGR", None], ids=["said", "an old package"])
def test_blue_and_red_are_in_their_places(order: str | None, tmp_path: Path) -> None:
    file = package(tmp_path)
    expected = [image[..., ::-1] for image in images(read(file))]
    with h5py.File(file, "r+") as found:
        del found["video0/video"].attrs["channel_order"]
        if order is None:
            found["metadata"].attrs["format_id"] = 1.3
        else:
            found["video0/video"].attrs["channel_order"] = order
    theirs = sorted(sleap_io.load_slp(str(file)), key=lambda frame: int(frame.frame_idx))
    for ours, swapped, frame in zip(images(read(file)), expected, theirs, strict=True):
        np.testing.assert_array_equal(ours, swapped)
        np.testing.assert_array_equal(ours, frame.image)


def test_plain_frames_of_a_package_are_read(tmp_path: Path) -> None:
    file = package(tmp_path)
    expected = images(read(file))
    with h5py.File(file, "r+") as found:
        numbers = found["video0/frame_numbers"][()].tolist()
        del found["video0/video"]
        frames = np.zeros((len(numbers), *spots.SIZE[::-1], 3), np.uint8)
        for image, number in zip(expected, (0, 2, 3), strict=True):
            frames[numbers.index(number)] = image
        found["video0/video"] = frames
    for image, same in zip(images(read(file)), expected, strict=True):
        np.testing.assert_array_equal(image, same)


def test_a_package_without_an_image_is_an_error(tmp_path: Path) -> None:
    file = package(tmp_path)
    with h5py.File(file, "r+") as found:
        found["video0/frame_numbers"][0] = 99
    with pytest.raises(ImagesError, match=r"frame \d of video0/video: the package has no image"):
        check_images(read(file))


def test_a_damaged_image_of_a_package_is_an_error(tmp_path: Path) -> None:
    file = package(tmp_path)
    with h5py.File(file, "r+") as found:
        found["video0/video"][1, :] = 0
    with pytest.raises(
        ImagesError, match=r"frame \d in labels\.pkg\.slp can.t be read as an image: .*export"
    ):
        check_images(read(file))


def stored(file: Path, image: Image.Image, kind: str, **options: Any) -> None:
    """Replace the images in a package by another."""
    content = io.BytesIO()
    image.save(content, kind, **options)
    with h5py.File(file, "r+") as found:
        numbers = found["video0/frame_numbers"][()]
        del found["video0/video"]
        one = np.frombuffer(content.getvalue(), np.int8)
        found["video0/video"] = np.tile(one, (len(numbers), 1))


def test_an_image_of_a_package_is_turned_upright(tmp_path: Path) -> None:
    file, image = package(tmp_path), Image.new("RGB", spots.SIZE[::-1])
    image.getexif()[ORIENTATION] = 6
    stored(file, image, "PNG", exif=image.getexif())
    data = read(file)
    check_images(data)
    assert [data[index][0].size for index in range(len(data))] == 3 * [spots.SIZE]


def test_an_image_of_a_package_that_is_large_is_no_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pillow warns above its limit, and refuses twice as much."""
    file = package(tmp_path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", spots.SIZE[0] * spots.SIZE[1] - 1)
    check_images(read(file))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", spots.SIZE[0] * spots.SIZE[1] // 2 - 1)
    with pytest.raises(ImagesError, match=r"labels\.pkg\.slp has more than 0 million pixels"):
        check_images(read(file))


def test_an_image_of_a_package_with_more_than_8_bits_is_an_error(tmp_path: Path) -> None:
    file = package(tmp_path)
    stored(file, Image.fromarray(np.zeros(spots.SIZE[::-1], np.uint16)), "PNG")
    with pytest.raises(ImagesError, match=r"labels\.pkg\.slp has more than 8 bits; save it with 8"):
        check_images(read(file))


PLACES = {
    "missing": ("clip.avi", "there is no video .*clip.avi; copy it there, or export"),
    "outside": ("../clip.mp4", "lies outside the data folder"),
    "an address": ("https://localhost:9/clip.mp4", "there is no video|lies outside"),
    "another kind": (
        "clip.h5",
        r"it is not a video that can be read; export a package with the im",
    ),
    "a list": ("clip.m3u8", "it is not a video that can be read"),
}


@pytest.mark.parametrize(("name", "message"), PLACES.values(), ids=PLACES)
def test_a_video_that_is_not_there_is_an_error(name: str, message: str, tmp_path: Path) -> None:
    root = tmp_path / "data"
    root.mkdir()
    file = of_video(root)
    (root / "clip.mp4").rename(tmp_path / "clip.mp4")
    rename(file, name)
    with pytest.raises(DataError, match=f"labels.slp: frame 0 of clip.*: .*{message}"):
        check_images(read(file))


def rename(file: Path, name: str) -> None:
    """Let a file of labels name another video."""
    with h5py.File(file, "r+") as found:
        about = json.loads(found["videos_json"][0])
        about["filename"] = about["backend"]["filename"] = name
        del found["videos_json"]
        found["videos_json"] = [json.dumps(about).encode()]


@pytest.mark.parametrize("folder", ["videos\\", "D:\\lab\\videos\\", "/home/u/lab/videos/"])
def test_a_video_of_another_computer_is_found_in_the_folder(folder: str, tmp_path: Path) -> None:
    rename(of_video(tmp_path), f"{folder}clip.mp4")
    (tmp_path / "videos").mkdir()
    (tmp_path / "clip.mp4").rename(tmp_path / "videos" / "clip.mp4")
    assert [image.shape for image in images(read(tmp_path))] == 3 * [(48, 64, 3)]


def test_a_video_with_fewer_frames_is_an_error(tmp_path: Path) -> None:
    file = of_video(tmp_path)
    spots.film(tmp_path / "clip.mp4", pictures(tmp_path / "frames", 3))
    with pytest.raises(ImagesError, match=r"frame 3 of clip\.mp4: .* has only 3 frames; restore"):
        check_images(read(file))


def test_a_cut_out_video_is_an_error(tmp_path: Path) -> None:
    film = sleap_io.Video.from_filename([str(path) for path in pictures(tmp_path / "frames")])
    labels = sleap_io.Labels(labelled(film.crop((0, 0, 32, 32)), ONE_EACH))
    labels.save(str(tmp_path / "labels.slp"))
    with pytest.raises(DataError, match="it is cut out of a video; export a package"):
        read(tmp_path)


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "no HDF5": (lambda file: file.write_bytes(b"{}"), r"labels\.slp can't be read: .*; copy or"),
    "nothing": (lambda file: h5py.File(file, "w").close(), "can't be read"),
    "other data": (lambda file: h5py.File(file, "w").create_group("metadata"), "can't be read"),
    "link": (
        lambda file: h5py.File(file, "w").__setitem__("a", h5py.ExternalLink("b", "c")),
        "'a' is a link to another file",
    ),
}


@pytest.mark.parametrize(("change", "message"), DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_file_is_an_error(
    change: Callable[[Path], object], message: str, tmp_path: Path
) -> None:
    change(of_images(tmp_path))
    with pytest.raises(DataError, match=message):
        read(tmp_path)


def test_single_frames_are_those_of_the_whole_video(tmp_path: Path) -> None:
    """Seeking has to find frames that depend on later ones, between distant key frames."""
    path = tmp_path / "clip.mp4"
    numbers = 40
    with av.open(str(path), "w") as container:
        stream = container.add_stream("h264", rate=25)
        stream.width, stream.height, stream.pix_fmt = *spots.SIZE, "yuv420p"
        stream.options = {"x264-params": "bframes=3:b-adapt=0:keyint=12:min-keyint=12:scenecut=0"}
        for number in range(numbers):
            pixels = np.full((*spots.SIZE[::-1], 3), 6 * number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        container.mux(stream.encode())
    with av.open(str(path)) as container:
        kinds = {
            av.video.frame.PictureType(frame.pict_type).name for frame in container.decode(video=0)
        }
    assert kinds == {"I", "P", "B"}
    expected = [np.asarray(frame) for frame in Video(path).frames()]
    for number in np.random.default_rng(0).permutation(numbers).tolist():
        found = np.asarray(VideoFrame(path, number).read("labels"))
        np.testing.assert_array_equal(found, expected[number])
    with pytest.raises(DataError, match="has only 40 frames"):
        VideoFrame(path, numbers).read("labels")


def test_frames_of_a_turned_video_are_upright(tmp_path: Path) -> None:
    path = spots.film(tmp_path / "clip.mp4", pictures(tmp_path / "frames"))
    films.turn(path, (0, 1, -1, 0))
    expected = [np.asarray(frame) for frame in Video(path).frames()]
    assert {image.shape for image in expected} == {(64, 48, 3)}
    for number, image in enumerate(expected):
        frame = VideoFrame(path, number)
        assert frame.read_size("labels") == (48, 64)
        np.testing.assert_array_equal(np.asarray(frame.read("labels")), image)


def test_nothing_else_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """sleap-io itself opens all videos, wherever they are."""
    files = of_video(tmp_path / "video"), package(tmp_path / "package")
    opened: list[object] = []
    backend = sleap_io.io.video_reading.VideoBackend
    monkeypatch.setattr(backend, "from_filename", lambda name, **_: opened.append(name))
    for file in files:  # `read` would do it in another process.
        assert len(read_labels(file).frames) == 3
    assert not opened
    sleap_io.load_slp(str(files[0]))
    assert set(opened) == {str(tmp_path / "video" / "clip.mp4")}


def test_a_file_that_keeps_hdf5_busy_for_ever_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HDF5 1.14 steps over free space by its size, which is 0 here."""
    file = of_images(tmp_path)
    assert len(read(file)) == 3
    content = bytearray(file.read_bytes())
    heap = content.index(b"GCOL")
    assert struct.unpack_from("<H", content, heap + 16) == (1,)
    struct.pack_into("<HHIQ", content, heap + 16, 0, 0, 0, 0)
    file.write_bytes(content)
    monkeypatch.setattr(reader_process, "SECONDS", 3.0)
    with pytest.raises(DataError, match="can't be read: it crashed the reader, or took too long"):
        read(file)


def test_without_sleap_io_the_command_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = of_images(tmp_path)
    monkeypatch.setattr(hdf5, "find_spec", lambda _: None)
    done = CliRunner().invoke(app, ["localize", "train", str(file), "--out", str(tmp_path / "run")])
    assert done.exit_code == 1
    assert 'error: sleap_io is not installed: pip install "mapdrop[sleap]"' in done.output
