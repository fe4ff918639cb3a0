"""Read SLEAP's labels (Pereira et al. 2022): *.slp, or *.pkg.slp with the images inside.

Only what a person labelled counts. Where a frame has several animals, each is cut out by a square
around its points, of one size for the whole file, as SLEAP's top-down networks do.

SLEAP counts pixels from their centres, like this package.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mapdrop.localize.data import paths
from mapdrop.localize.data.base import DataError
from mapdrop.localize.data.boxes import squares
from mapdrop.localize.data.dataset import (
    Dataset,
    Format,
    ImageSource,
    Joints,
    Sample,
)
from mapdrop.localize.data.hdf5 import read_hdf5
from mapdrop.localize.data.image_files import ImageFile
from mapdrop.localize.data.joints import select_joints
from mapdrop.localize.data.left_out import phrases
from mapdrop.localize.data.sleap.embedded_images import EmbeddedImage
from mapdrop.localize.data.sleap.labels import Labels, Video, read_labels

PACKAGE = "export a package with the images in SLEAP (File, Export Labels Package)"
SEVERAL = "Animals are cut out around their labels, which a user has not got; errors are in pixels."
FILMED = "Frames are split at random, so test frames come from the training frames' videos."


def read(path: Path, selected: Joints | None = None) -> Dataset:
    """Read a label file, or the only one in a folder.

    Raises:
        DataError: for anything missing or malformed; it names the file, the frame and the remedy.
    """
    file = _file(path)
    labels = read_hdf5(read_labels, "sleap_io", file)
    if labels.predicted and not labels.frames:
        raise DataError(f"{file} has only predictions; correct some in SLEAP, and save it")
    if len(labels.skeletons) > 1:
        raise DataError(
            f"{file} has {len(labels.skeletons)} kinds of skeletons; keep one kind in a file"
        )
    nodes = next(iter(labels.skeletons), ())
    joints, columns = select_joints(nodes, selected if nodes else (), str(file))
    samples = list(_samples(file, labels, columns))
    labelled = sum(len(animals) for *_, animals in labels.frames)
    images = {sample.image for sample in samples}
    several = len(images) < len(samples)
    if several:
        samples = squares(samples)
    return Dataset(
        name=file.parent.resolve().name if path.is_dir() else file.name.split(".")[0],
        joints=joints,
        samples=tuple(samples),
        limits=SEVERAL if several else FILMED,
        size=(128, 128) if several else Dataset.size,
        unit="pixels of the original frame",
        left_out=phrases(
            {
                "that SLEAP predicted": labels.predicted,
                "without a visible point": labelled - len(samples),
            },
            "instance",
        ),
    )


def _samples(file: Path, labels: Labels, columns: list[int]) -> Iterator[Sample]:
    find = paths.Finder(file.parent)
    for number, video, animals in labels.frames:
        where = f"{file}: frame {number} of {video.name}"
        image: ImageSource | None = None
        for points in animals:
            if not np.isnan(points[columns]).all():
                image = image or _image(file, find, video, number, where)
                yield Sample(image, where, points[columns])


def _image(file: Path, find: paths.Finder, video: Video, number: int, where: str) -> ImageSource:
    """Return the image of a frame.

    Raises:
        DataError: when it lies outside the labels' folder, or can't be read by this package.
    """
    # They need this package, too.
    from mapdrop.localize.clips.video import KINDS
    from mapdrop.localize.clips.video_frame import VideoFrame

    if video.is_cut_out:
        raise DataError(f"{where}: it is cut out of a video; {PACKAGE}")
    if video.array is not None:
        return EmbeddedImage(file.resolve(), video.array, number)
    if video.is_images and number >= len(video.files):
        raise DataError(f"{where}: there are only {len(video.files)} images; {PACKAGE}")
    path = find(video.files[number if video.is_images else 0], [""], where)
    if video.is_images:
        return ImageFile(path)
    if path.suffix.lower() not in KINDS:
        raise DataError(f"{where}: it is not a video that can be read; {PACKAGE}")
    return VideoFrame(path, number)


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
