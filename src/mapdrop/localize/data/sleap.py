"""Read SLEAP's labels (Pereira et al. 2022): *.slp, or *.pkg.slp with the images inside.

Only what a person labelled counts. Where a frame has several animals, each is cut out by a square
around its points, of one size for the whole file, as SLEAP's top-down networks do.

sleap-io reads the tables, but neither its images nor `Labels` are used: they would open every file
and address that the labels name. SLEAP counts pixels from their centres, like this package.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mapdrop.localize.data import paths
from mapdrop.localize.data.base import DataError
from mapdrop.localize.data.boxes import squares
from mapdrop.localize.data.dataset import (
    Dataset,
    Format,
    ImageSource,
    Joints,
    Points,
    Sample,
    keep_labelled,
)
from mapdrop.localize.data.embedded_images import EmbeddedImage
from mapdrop.localize.data.hdf5 import opened_hdf5
from mapdrop.localize.data.image_files import ImageFile
from mapdrop.localize.data.joints import select_joints
from mapdrop.localize.data.left_out import phrases
from mapdrop.localize.data.video_frames import VideoFrame

if TYPE_CHECKING:
    from sleap_io import Instance, Video

PACKAGE = "export a package with the images in SLEAP (File, Export Labels Package)"
SEVERAL = "Animals are cut out around their labels, which a user has not got; errors are in pixels."
FILMED = "Frames are split at random, so test frames come from the training frames' videos."


def read(path: Path, selected: Joints | None = None) -> Dataset:
    """Read a label file, or the only one in a folder.

    Raises:
        DataError: for anything missing or malformed; it names the file, the frame and the remedy.
    """
    file = _file(path)
    frames, predicted = _frames(file)
    if predicted and not frames:
        raise DataError(f"{file} has only predictions; correct some in SLEAP, and save it")
    skeletons = {tuple(animal.skeleton.node_names) for frame in frames for animal in frame.animals}
    if len(skeletons) > 1:
        raise DataError(f"{file} has {len(skeletons)} kinds of skeletons; keep one kind in a file")
    nodes = next(iter(skeletons), ())
    joints, columns = select_joints(nodes, selected if nodes else (), str(file))
    samples = list(_samples(file, frames, columns))
    images = {sample.image for sample in samples}
    several = len(images) < len(samples)
    if several:
        samples = squares(samples)
    return Dataset(
        name=file.parent.resolve().name if path.is_dir() else file.name.split(".")[0],
        joints=joints,
        samples=keep_labelled(samples, file),
        limits=SEVERAL if several else FILMED,
        size=(128, 128) if several else Dataset.size,
        unit="pixels of the original frame",
        left_out=phrases({"that SLEAP predicted": predicted}, "instance"),
    )


class _Frame(NamedTuple):
    """A labelled frame: its video, its number in it, and the instances that a person labelled."""

    video: Video
    number: int
    animals: list[Instance]


def _frames(file: Path) -> tuple[list[_Frame], int]:
    """Return the frames that a person labelled, video by video, and the number of predictions."""
    import sleap_io
    from sleap_io.io import slp, utils

    frames, predicted, name = [], 0, str(file)
    with opened_hdf5(file):
        videos = slp.read_videos(name, open_backend=False)
        instances = _instances(name)
        rows = utils.read_hdf5_dataset(name, "frames")
        position = _positions(videos, {int(row["video"]) for row in rows})
        for row in sorted(rows, key=lambda row: (row["video"], row["frame_idx"])):
            found = instances[int(row["instance_id_start"]) : int(row["instance_id_end"])]
            animals = [one for one in found if not isinstance(one, sleap_io.PredictedInstance)]
            predicted += len(found) - len(animals)
            if animals:
                at = videos[position[int(row["video"])]]
                frames.append(_Frame(at, int(row["frame_idx"]), animals))
    return frames, predicted


def _instances(name: str) -> list[Any]:
    """Return all instances, in the order to which frames refer."""
    from sleap_io.io import slp, utils

    found: list[Any] = slp.read_instances(
        name,
        slp.read_skeletons(name),
        slp.read_tracks(name),
        slp.read_points(name),
        slp.read_pred_points(name),
        utils.read_hdf5_attrs(name, "metadata", "format_id"),
    )
    return found


def _positions(videos: list[Video], numbers: set[int]) -> dict[int, int]:
    """Return which video each number means.

    It is the video's position or, in packages that SLEAP wrote, the number in its group's name:
    video15/video.
    """
    position = {number: number for number in range(len(videos))}
    if numbers != set(position):
        for place, found in enumerate(videos):
            group = re.match(r"video(\d+)/", str(found.backend_metadata.get("dataset")))
            if group:
                position[int(group[1])] = place
    return position


def _samples(file: Path, frames: list[_Frame], columns: list[int]) -> Iterator[Sample]:
    for frame in frames:
        where = f"{file}: frame {frame.number} of {_video_name(frame.video)}"
        image: ImageSource | None = None
        for animal in frame.animals:
            points: Points = animal.numpy()[columns]  # NaN where invisible.
            if not np.isnan(points).all():
                image = image or _image(file, frame, where)
                yield Sample(image, where, points)


def _image(file: Path, frame: _Frame, where: str) -> ImageSource:
    """Return the image of a frame.

    Raises:
        DataError: when it lies outside the labels' folder, or can't be read by this package.
    """
    from mapdrop.localize import video  # It needs this package.

    about, root = frame.video.backend_metadata, file.parent
    if about.get("crop"):
        raise DataError(f"{where}: it is cut out of a video; {PACKAGE}")
    if about.get("filename") == ".":
        return EmbeddedImage(file.resolve(), str(about["dataset"]), frame.number)
    name = frame.video.filename
    if not isinstance(name, str):
        if frame.number >= len(name):
            raise DataError(f"{where}: there are only {len(name)} images; {PACKAGE}")
        return ImageFile(paths.find(root, name[frame.number], [""], where))
    path = paths.find(root, name, [""], where)
    if path.suffix.lower() not in video.KINDS:
        raise DataError(f"{where}: it is no video that can be read; {PACKAGE}")
    return VideoFrame(path, frame.number)


def _video_name(found: Video) -> str:
    """Return a video's name, for messages."""
    about = found.backend_metadata
    if about.get("filename") == ".":
        return str(about.get("dataset"))
    name = found.filename if isinstance(found.filename, str) else found.filename[0]
    return re.split(r"[\\/]", name)[-1]


def _file(path: Path) -> Path:
    if path.is_file():
        return path
    files = _files(path)
    if len(files) != 1:
        names = ", ".join(file.name for file in files)
        raise DataError(f"{path} has {len(files)} files of SLEAP: {names}; pass one of them")
    return paths.resolve_inside(path, files[0], str(path))


def _files(folder: Path) -> list[Path]:
    return [file for file in sorted(folder.glob("*.slp")) if not paths.is_hidden(file)]


def _recognises(path: Path) -> bool:
    return bool(_files(path)) if path.is_dir() else path.suffix.lower() == ".slp"


FORMAT = Format("SLEAP's labels (*.slp, *.pkg.slp), or a folder with them", _recognises, read)
