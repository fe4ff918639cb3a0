"""COCO key points as labelling tools export them, in the folders that they make."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mapdrop.localize.data import DataError, LoadOptions, load, read
from mapdrop.localize.data.coco.files import find
from tests.localize.data.writers import coco_document, save_images, truth

JOINTS = ("left_ear", "right_ear", "nose", "tail")
NAN = (np.nan, np.nan)
Document = dict[str, Any]


def written(path: Path, content: Document) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def one_image(*annotations: dict[str, Any], categories: list[Any] | None = None) -> Document:
    """Makes a document of one image, 640x480."""
    records = [
        {"id": number, "image_id": 1, "category_id": 1} | annotation
        for number, annotation in enumerate(annotations, start=1)
    ]
    return {
        "images": [{"id": 1, "file_name": "a.png", "width": 640, "height": 480}],
        "annotations": records,
        "categories": categories or [{"id": 1, "name": "mouse", "keypoints": ["nose", "tail"]}],
    }


MISSING = {
    "NaN": [float("nan"), float("nan"), 0],
    "null": [None, None, 0],
    "zeros": [0, 0, 0],
    "outside the skeleton, as CVAT": [33.5, 700.25, 0],
}


@pytest.mark.parametrize("missing", MISSING.values(), ids=MISSING)
def test_a_point_with_v_0_is_missing_whatever_its_place(
    tmp_path: Path, missing: list[float | None]
) -> None:
    content = one_image({"keypoints": [*missing, 5, 6, 2]})
    (sample,) = read(written(tmp_path / "a.json", content)).samples
    np.testing.assert_array_equal(sample.points, [NAN, (5, 6)])


def test_v_may_be_a_confidence(tmp_path: Path) -> None:
    content = one_image({"keypoints": [1, 2, 0.03, 5, 6, 0.0]}, {"keypoints": [1, 2, 3, 5, 6, 1e3]})
    content["annotations"][1]["bbox"] = [0, 0, 9, 9]
    one, other = read(written(tmp_path / "a.json", content)).samples
    np.testing.assert_array_equal(one.points, [(1, 2), NAN])
    np.testing.assert_array_equal(other.points, [(1, 2), (5, 6)])


def test_a_size_of_zero_is_an_unknown_one(tmp_path: Path) -> None:
    # sleap-io writes it where the video isn't at hand.
    save_images(tmp_path, truth())
    content = coco_document(truth(), JOINTS)
    content["images"][0] |= {"width": 0, "height": 0}
    assert read(written(tmp_path / "a.json", content))[0][0].size == (64, 48)


class TestBoxesOfNoSize:
    """The box around the labelled points, as CVAT, Label Studio and SLEAP write it."""

    def boxes(self, path: Path, *annotations: tuple[list[float], list[float]]) -> list[Any]:
        records = [{"keypoints": points, "bbox": box} for points, box in annotations]
        samples = read(written(path / "a.json", one_image(*records))).samples
        return [sample.box for sample in samples]

    SIZED: tuple[tuple[list[float], list[float]], ...] = (
        ([100, 100, 2, 140, 180, 2], [100, 100, 40, 80]),
        ([300, 300, 2, 360, 320, 2], [300, 300, 60, 20]),
        ([200, 10, 2, 300, 20, 2], [200, 10, 100, 10]),
    )

    def test_one_point_gets_a_square_of_the_usual_size(self, tmp_path: Path) -> None:
        boxes = self.boxes(tmp_path, *self.SIZED, ([400, 200, 2, 0, 0, 0], [400, 200, 0, 0]))
        half = 80 * 1.25 / 2  # The median of 80, 60 and 100, and an eighth on each side.
        np.testing.assert_allclose(boxes[3], [400 - half, 200 - half, 400 + half, 200 + half])

    @pytest.mark.parametrize("flat", [[400, 31, 278, 0], [0, 0, 0, 0]], ids=["flat", "none"])
    def test_points_on_a_line_get_a_square_that_holds_them(
        self, tmp_path: Path, flat: list[float]
    ) -> None:
        # cvat-ai/cvat, issue 7193; [0, 0, 0, 0] is what coco-annotator writes without a polygon.
        boxes = self.boxes(tmp_path, *self.SIZED, ([400, 31, 2, 678, 31, 2], flat))
        half = 278 * 1.25 / 2
        np.testing.assert_allclose(boxes[3], [539 - half, 31 - half, 539 + half, 31 + half])

    def test_the_image_is_used_where_no_box_has_a_size(self, tmp_path: Path) -> None:
        one = ([400.0, 200.0, 2.0, 0.0, 0.0, 0.0], [400.0, 200.0, 0.0, 0.0])
        assert self.boxes(tmp_path, one) == [None]
        with pytest.raises(DataError, match=r"annotation 2: several .* without a bbox that has a"):
            self.boxes(tmp_path, one, one)

    def test_a_box_of_a_label_without_points_does_not_matter(self, tmp_path: Path) -> None:
        nothing = ([0.0] * 6, [float("nan")] * 4)
        assert len(self.boxes(tmp_path, self.SIZED[0], nothing)) == 1


SPLIT = {
    "named": [
        {"id": 1, "name": "nose", "keypoints": ["n"]},
        {"id": 2, "name": "tail", "keypoints": ["t"]},
    ],
    "unnamed": [{"id": 1, "name": "nose"}, {"id": 2, "name": "tail"}],
    "beside a box": [
        {"id": 1, "name": "nose", "keypoints": []},
        {"id": 3, "name": "mouse"},
        {"id": 2, "name": "tail", "keypoints": None},
    ],
}


@pytest.mark.parametrize("categories", SPLIT.values(), ids=SPLIT)
def test_a_category_of_each_key_point_makes_one_sample_of_an_image(
    tmp_path: Path, categories: list[Any]
) -> None:
    content = one_image(
        {"category_id": 2, "keypoints": [7, 8, 2], "bbox": [7, 8, 1, 1]},
        {"category_id": 1, "keypoints": [1.5, 2, 1], "bbox": [1, 2, 0, 0]},
        categories=categories,
    )
    content["images"].append({"id": 2, "file_name": "b.png"})
    other = {"image_id": 2, "category_id": 2, "id": 9}
    content["annotations"] += [
        other | {"keypoints": [3, 4, 2]},
        other | {"keypoints": [0, 0, 0], "category_id": 1, "id": 10},
    ]
    if len(categories) == 3:
        content["annotations"].append(other | {"category_id": 3, "bbox": [1, 2, 3, 4], "id": 11})
    data = read(written(tmp_path / "a.json", content))
    assert data.joints == ("nose", "tail")
    assert [sample.image.name for sample in data.samples] == ["a.png", "b.png"]
    points = [sample.points for sample in data.samples]
    np.testing.assert_array_equal(points, [[(1.5, 2), (7, 8)], [NAN, (3, 4)]])
    assert [sample.box for sample in data.samples] == [None, None]
    kept = read(tmp_path / "a.json", ("tail",))
    np.testing.assert_array_equal([sample.points for sample in kept.samples], [[(7, 8)], [(3, 4)]])


def test_a_key_point_that_is_twice_in_an_image_is_an_error(tmp_path: Path) -> None:
    points = [{"category_id": number, "keypoints": [7, 8, 2]} for number in (1, 2, 1)]
    content = one_image(*points, categories=SPLIT["named"])
    with pytest.raises(DataError, match=r"annotation 3: the image has 'nose' in an earlier annota"):
        read(written(tmp_path / "a.json", content))
    content["categories"][1]["name"] = "nose"
    with pytest.raises(
        DataError, match=r"category 1 is a key point, so it needs a name of its own"
    ):
        read(written(tmp_path / "a.json", content))


def test_a_cvat_export(tmp_path: Path) -> None:
    # Each point of the skeleton is also a category, and subsets have capitals.
    content = coco_document(truth(), JOINTS)
    content["categories"] += [
        {"id": 2 + k, "name": name, "supercategory": "person", "keypoints": [], "skeleton": []}
        for k, name in enumerate(JOINTS)
    ]
    validation = content | {"annotations": content["annotations"][6:]}
    content["annotations"] = content["annotations"][:6]
    save_images(tmp_path / "images" / "Train", truth())
    save_images(tmp_path / "images" / "Validation", truth())
    written(tmp_path / "annotations" / "person_keypoints_Train.json", content)
    path = written(tmp_path / "annotations" / "person_keypoints_Validation.json", validation)
    assert [sample.image.path.parent.name for sample in read(path).samples] == ["Validation"] * 2
    data = load(str(tmp_path), LoadOptions(size=(32, 32)))
    assert (len(data.train) + len(data.validation), len(data.test)) == (6, 2)


def test_a_label_studio_export(tmp_path: Path) -> None:
    # HumanSignal/label-studio, issue 7294: version 1.16 on Windows.
    content = coco_document(truth(), JOINTS)
    content["categories"] = [{"id": 0, "name": "rectangle"}, content["categories"][0] | {"id": 7}]
    for annotation in content["annotations"]:
        annotation["category_id"] = 7
    content["annotations"].append(
        {"id": 50, "image_id": 100, "category_id": 0, "bbox": [1, 1, 9, 9]}
    )
    for image in content["images"]:
        image["file_name"] = f"..\\..\\label-studio\\media\\upload\\4\\{image['file_name']}"
    save_images(tmp_path / "images", truth())
    written(tmp_path / "result.json", content)
    data = read(tmp_path)
    assert len(data) == 8
    np.testing.assert_array_equal(np.asarray(data[1][0]), truth().images[1])
    assert data.left_out == ("1 annotation of categories without key points",)


def roboflow(root: Path, **parts: slice) -> None:
    """Writes a download; a macOS archive has twins of all its files."""
    save_images(root, truth())
    for folder, part in parts.items():
        content = coco_document(truth(), JOINTS)
        content["annotations"] = content["annotations"][part]
        content["categories"].insert(0, {"id": 0, "name": "mice-Qg7R", "supercategory": "none"})
        (root / folder).mkdir()
        for name in truth().files[part]:
            (root / name).rename(root / folder / name)
        written(root / folder / "_annotations.coco.json", content)
        (root / folder / "._annotations.coco.json").write_bytes(b'\0\5\26\7 "keypoints"')
    (root / "README.roboflow.txt").write_text("Exported from roboflow.com")


def test_a_roboflow_download(tmp_path: Path) -> None:
    roboflow(tmp_path, train=slice(0, 4), valid=slice(4, 6), test=slice(6, 8))
    data = read(tmp_path)
    assert [(sample.image.path.parent.name, sample.part) for sample in data.samples] == [
        *[("test", "test")] * 2,
        *[("train", "train")] * 4,
        *[("valid", "train")] * 2,
    ]
    loaded = load(str(tmp_path), LoadOptions(size=(32, 32)))
    assert (len(loaded.train) + len(loaded.validation), loaded.test.tolist()) == (6, [0, 1])
    for folder, count in (("train", 4), ("valid", 2), ("test", 2)):
        assert [s.part for s in read(tmp_path / folder).samples] == [None] * count


PARTS: list[dict[str, str | None]] = [
    {"train.json": "train", "val.json": "test"},
    {"train.json": "train", "test.json": "test"},
    {"train/a.json": "train", "valid/a.json": "test"},
    {"train/a.json": "train", "Validation/a.json": "train", "Test/a.json": "test"},
    {"valid/a.json": "train", "test/a.json": "test"},
    {"annotations/train.json": "train", "annotations/test.json": "test"},
    {"a_train.json": "train", "a_val.json": "train", "a_test.json": "test"},
    {"test/a.json": None},
]


@pytest.mark.parametrize("parts", PARTS, ids=", ".join)
@pytest.mark.parametrize("folder", ["data", "train"])
def test_the_test_part_never_trains(
    tmp_path: Path, folder: str, parts: dict[str, str | None]
) -> None:
    root = tmp_path.resolve() / folder
    for file in parts:
        written(root / file, coco_document(truth(), JOINTS))
    assert find(root)[0] == root
    assert {str(file.relative_to(root)): part for file, part in find(root)[1]} == parts


@pytest.mark.parametrize("file", ["train/b.json", "a.json", "annotations/train_val.json"])
def test_files_of_unclear_parts_are_an_error(tmp_path: Path, file: str) -> None:
    for name in ("train/a.json", "test/a.json", file):
        written(tmp_path / name, coco_document(truth(), JOINTS))
    with pytest.raises(DataError, match=rf"several files with key points: .*{file}.*; pass one"):
        read(tmp_path)


def test_two_names_of_another_computer_are_not_one_file(tmp_path: Path) -> None:
    save_images(tmp_path, truth())
    content = coco_document(truth(), JOINTS)
    content["images"][0]["file_name"] = "C:\\cam1\\000.png"
    path = written(tmp_path / "a.json", content)
    assert read(path).samples[0].image.path == tmp_path.resolve() / "000.png"
    content["images"][2]["file_name"] = "C:\\cam2\\000.png"
    with pytest.raises(DataError, match=r"cam2\\000\.png and C:/cam1/000\.png are both taken"):
        read(written(path, content))


def test_the_export_of_sleap_io(tmp_path: Path) -> None:
    sio = pytest.importorskip("sleap_io")
    data = truth()
    save_images(tmp_path / "frames", data)
    files = [str(tmp_path / "frames" / name) for name in data.files]
    skeleton = sio.Skeleton(list(JOINTS), name="mouse")
    video = sio.Video.from_filename(files)
    one = deepcopy(data.points)
    one[3, 1:] = np.nan  # Only one point is labelled, so its box has no size.
    frames = [
        sio.LabeledFrame(video, number, [sio.Instance.from_numpy(points, skeleton)])
        for number, points in enumerate(one)
    ]
    labels = sio.Labels(frames)
    sio.save_file(labels, str(tmp_path / "labels.json"), format="coco")
    found = read(tmp_path, JOINTS)
    for sample, points in zip(found.samples, one, strict=True):
        np.testing.assert_array_equal(sample.points, points)
