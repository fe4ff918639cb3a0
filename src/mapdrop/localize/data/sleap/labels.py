"""Read the tables of SLEAP's labels through sleap-io.

Its `Labels` are not used: they would open every file and address that the labels name.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mapdrop.localize.data.dataset import Joints, Points
from mapdrop.localize.data.hdf5 import opened_hdf5

if TYPE_CHECKING:
    import sleap_io


class Video(NamedTuple):
    """Where frames come from.

    Attributes:
        files: the video, or the images.
        is_images: which of them.
        array: the array in the labels' file that has the frames; None if they are elsewhere.
        is_cut_out: whether frames are only a part of the video's.
    """

    files: tuple[str, ...]
    is_images: bool
    array: str | None
    is_cut_out: bool

    @property
    def name(self) -> str:
        """Return a short name, for messages."""
        return self.array or re.split(r"[\\/]", next(iter(self.files), ""))[-1]


class Frame(NamedTuple):
    """A frame with the animals that a person labelled, each (K, 2); NaN where invisible."""

    number: int
    video: Video
    animals: list[Points]


class Labels(NamedTuple):
    """What a file has.

    Attributes:
        frames: those that a person labelled, video by video.
        skeletons: the nodes of their skeletons.
        predicted: the number of instances that a network found.
    """

    frames: list[Frame]
    skeletons: set[Joints]
    predicted: int


def read_labels(path: Path) -> Labels:
    """Read a file; for `read_hdf5`."""
    import sleap_io
    from sleap_io.io import slp, utils

    with opened_hdf5(path):
        videos = slp.read_videos(str(path), open_backend=False)
        instances = _instances(str(path))
        rows = utils.read_hdf5_dataset(str(path), "frames")
    places = _places(videos, {int(row["video"]) for row in rows})
    labels = Labels([], set(), sum(type(one) is sleap_io.PredictedInstance for one in instances))
    for row in sorted(rows, key=lambda row: (row["video"], row["frame_idx"])):
        found = instances[int(row["instance_id_start"]) : int(row["instance_id_end"])]
        animals = [one for one in found if type(one) is sleap_io.Instance]
        if animals:
            video = _video(videos[places[int(row["video"])]])
            points = [animal.numpy() for animal in animals]
            labels.frames.append(Frame(int(row["frame_idx"]), video, points))
        labels.skeletons.update(tuple(animal.skeleton.node_names) for animal in animals)
    return labels


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


def _places(videos: list[sleap_io.Video], numbers: set[int]) -> dict[int, int]:
    """Return which video each number means.

    It is the video's position or, in packages that SLEAP wrote, the number in its array's name:
    video15/video.
    """
    places = {number: number for number in range(len(videos))}
    if numbers != set(places):
        for place, video in enumerate(videos):
            array = re.match(r"video(\d+)/", str(video.backend_metadata.get("dataset")))
            if array:
                places[int(array[1])] = place
    return places


def _video(video: sleap_io.Video) -> Video:
    about, name = video.backend_metadata, video.filename
    is_images = not isinstance(name, str)
    array = str(about["dataset"]) if about.get("filename") == "." else None
    files = tuple(map(str, name)) if is_images else (str(name),)
    return Video(files, is_images, array, bool(about.get("crop")))
