"""Write one small data set in every format."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.io import savemat

from mapdrop.localize.data.flic import JOINTS as FLIC
from mapdrop.localize.data.mpii import JOINTS as MPII

EMPTY = np.zeros((0, 0))
"""MATLAB's []."""


@dataclass(frozen=True)
class Truth:
    """The contents that every reader should find: names, images (H, W, 3) and points (N, 4, 2)."""

    files: list[str]
    images: list[npt.NDArray[np.uint8]]
    points: npt.NDArray[np.float64]


def truth() -> Truth:
    """Make eight images of two shapes; the first joint is missing in every other image."""
    rng = np.random.default_rng(7)
    shapes = [(48, 64), (60, 40)] * 4
    images = [rng.integers(0, 256, (*shape, 3), np.uint8) for shape in shapes]
    points = rng.integers(0, 160, (8, 4, 2)) / 4
    points[::2, 0] = np.nan
    return Truth([f"{i:03}.png" for i in range(8)], images, points)


def save_images(folder: Path, data: Truth) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for file, image in zip(data.files, data.images, strict=True):
        Image.fromarray(image).save(folder / file)


def structs(rows: Sequence[dict[str, Any]]) -> npt.NDArray[Any]:
    """Make a MATLAB struct array, 1 x N; savemat would make a cell array of a plain list."""
    array = np.empty((1, len(rows)), [(name, object) for name in rows[0]])
    for place, row in enumerate(rows):
        for name, value in row.items():
            array[0, place][name] = value
    return array


def deeplabcut(root: Path, data: Truth, joints: Sequence[str]) -> None:
    folder = root / "labeled-data" / "v"
    save_images(folder, data)
    (root / "config.yaml").write_text(json.dumps({"scorer": "A", "bodyparts": list(joints)}))
    with (folder / "CollectedData_A.csv").open("w", newline="") as file:
        write = csv.writer(file).writerow
        write(["scorer", *("A" for _ in joints for _ in "xy")])
        write(["bodyparts", *(joint for joint in joints for _ in "xy")])
        write(["coords", *("xy" * len(joints))])
        for name, points in zip(data.files, data.points, strict=True):
            write([f"labeled-data/v/{name}", *("" if np.isnan(c) else c for c in points.flat)])


def deeplabcut_h5(root: Path, data: Truth, joints: Sequence[str]) -> None:
    """Write the project as above, with its labels in HDF5 only."""
    import pandas as pd

    deeplabcut(root, data, joints)
    folder = root / "labeled-data" / "v"
    (folder / "CollectedData_A.csv").unlink()
    columns = pd.MultiIndex.from_product(
        [["A"], joints, ["x", "y"]], names=["scorer", "bodyparts", "coords"]
    )
    rows = pd.MultiIndex.from_tuples([("labeled-data", "v", name) for name in data.files])
    values = data.points.reshape(len(data.files), -1)
    labels = pd.DataFrame(values, rows, columns)
    labels.to_hdf(folder / "CollectedData_A.h5", key="df_with_missing")


def sleap(root: Path, data: Truth, joints: Sequence[str]) -> None:
    import sleap_io

    save_images(root / "frames", data)
    film = sleap_io.Video.from_filename([str(root / "frames" / name) for name in data.files])
    film.filename = film.backend.filename = [f"frames/{name}" for name in data.files]
    skeleton = sleap_io.Skeleton(list(joints))
    frames = [
        sleap_io.LabeledFrame(film, number, [sleap_io.Instance.from_numpy(points, skeleton)])
        for number, points in enumerate(data.points)
    ]
    sleap_io.Labels(frames).save(str(root / "labels.slp"))


def table(root: Path, data: Truth, joints: Sequence[str]) -> None:
    save_images(root / "frames", data)
    with (root / "points.csv").open("w", newline="") as file:
        write = csv.writer(file).writerow
        write(["image", "joint", "x", "y"])
        for name, points in zip(data.files, data.points, strict=True):
            for joint, (x, y) in zip(joints, points.tolist(), strict=True):
                write([f"frames/{name}", joint, *(["", ""] if np.isnan(x) else [x, y])])


def coco_document(data: Truth, joints: Sequence[str]) -> dict[str, Any]:
    """Write visible and hidden joints alternately, with boxes of the full image."""
    document: dict[str, Any] = {"info": {}, "images": [], "annotations": []}
    document["categories"] = [{"id": 1, "name": "person", "keypoints": list(joints)}]
    for number, name in enumerate(data.files):
        height, width = data.images[number].shape[:2]
        keypoints: list[float] = []
        for k, (x, y) in enumerate(data.points[number].tolist()):
            keypoints += [0, 0, 0] if np.isnan(x) else [x, y, 1 + k % 2]
        image = {"id": 100 + number, "file_name": name, "width": width, "height": height}
        document["images"].append(image)
        document["annotations"].append(
            {
                "id": number,
                "image_id": 100 + number,
                "category_id": 1,
                "keypoints": keypoints,
                "num_keypoints": 4,
                "bbox": [0, 0, width, height],
                "iscrowd": 0,
            }
        )
    return document


def coco(root: Path, data: Truth, joints: Sequence[str]) -> None:
    save_images(root / "val2017", data)
    (root / "annotations").mkdir()
    path = root / "annotations" / "person_keypoints_val2017.json"
    path.write_text(json.dumps(coco_document(data, joints)))


def flic_rows(data: Truth, joints: Sequence[str]) -> list[dict[str, Any]]:
    """Write all but the last two for training, with fields in the published order."""
    rows = []
    for number, name in enumerate(data.files):
        coords = np.full((2, 29), np.nan)
        coords[:, [FLIC.index(joint) for joint in joints]] = data.points[number].T + 1
        row = {
            "poselet_hit_idx": np.array([[3, 5]], np.uint16),
            "moviename": "a film",
            "coords": coords,
            "filepath": name,
            "imgdims": np.array([[*data.images[number].shape]], float),
            "currframe": float(number),
            "torsobox": np.array([[1, 2, 30, 40]], np.float32),
            "istrain": np.bool_(number < 6),
            "istest": np.bool_(number >= 6),
        }
        rows.append(row)
    return rows


def flic(root: Path, data: Truth, joints: Sequence[str]) -> None:
    save_images(root / "images", data)
    savemat(
        root / "examples.mat", {"examples": structs(flic_rows(data, joints))}, do_compression=True
    )


def mpii_person(points: npt.NDArray[np.float64], ids: Sequence[int], **fields: Any) -> Any:
    """Make one annorect: the points that aren't NaN, and a square larger than all images."""
    visible = ["1", np.uint8(0), EMPTY]
    rows = [
        {"x": x + 1, "y": y + 1, "id": float(i), "is_visible": visible[i % 3]}
        for i, (x, y) in zip(ids, points.tolist(), strict=True)
        if not np.isnan(x)
    ]
    person: dict[str, Any] = {"x1": 1.0, "y1": 1.0, "x2": 9.0, "y2": 9.0, "scale": 1.0}
    person |= {"objpos": {"x": 30.0, "y": 20.0}, "annopoints": {"point": structs(rows)}}
    return person | fields


def mpii_release(images: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Make RELEASE of (file name, annorect) pairs, and a test image without points."""
    annolist = [
        {"image": {"name": name}, "annorect": people, "frame_sec": EMPTY, "vidx": EMPTY}
        for name, people in (*images, ("test.jpg", {"scale": 2.0, "objpos": {"x": 5.0, "y": 5.0}}))
    ]
    flags = np.array([[1] * len(images) + [0]], np.uint8)
    return {"RELEASE": {"annolist": structs(annolist), "img_train": flags, "version": "12"}}


def mpii(root: Path, data: Truth, joints: Sequence[str]) -> None:
    save_images(root / "images", data)
    ids = [MPII.index(joint) for joint in joints]
    people = [structs([mpii_person(points, ids)]) for points in data.points]
    (root / "mpii_human_pose_v1_u12_2").mkdir()
    savemat(
        root / "mpii_human_pose_v1_u12_2" / "mpii_human_pose_v1_u12_1.mat",
        mpii_release(list(zip(data.files, people, strict=True))),
        do_compression=True,
    )


Writer = Callable[[Path, Truth, Sequence[str]], None]

FORMATS: dict[str, tuple[Writer, tuple[str, ...], str]] = {
    "deeplabcut": (deeplabcut, ("left ear", "right ear", "nose", "tail"), "config.yaml"),
    "deeplabcut-h5": (deeplabcut_h5, ("left ear", "right ear", "nose", "tail"), "config.yaml"),
    "coco": (
        coco,
        ("left_ear", "right_ear", "nose", "tail"),
        "annotations/person_keypoints_val2017.json",
    ),
    "flic": (flic, ("lsho", "rsho", "nose", "mtorso"), "examples.mat"),
    "mpii": (mpii, ("l hip", "r hip", "pelvis", "head top"), ""),
    "sleap": (sleap, ("left ear", "right ear", "nose", "tail"), "labels.slp"),
    "table": (table, ("left, ear", "right, ear", 'the "nose"', "queue é"), "points.csv"),
}
"""Each format's writer, names of the four joints, and the file accepted for the folder."""
