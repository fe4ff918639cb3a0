"""COCO key points: crops of people, and everything that can be wrong with a file."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mapdrop.localize.data import DataError, LoadOptions, load, read
from tests.localize.data.writers import coco_document, save_images, truth

JOINTS = ("left_ear", "right_ear", "nose", "tail")
Document = dict[str, Any]


def document() -> Document:
    return coco_document(truth(), JOINTS)


def written(root: Path, content: Any, name: str = "person_keypoints_val.json") -> Path:
    path = root / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_hidden_joints_are_kept_and_unlabelled_ones_are_missing(tmp_path: Path) -> None:
    content = document()
    content["annotations"][0]["keypoints"] = [1, 2, 0, 3, 4, 1, 5, 6, 2, 0, 0, 0]
    points = read(written(tmp_path, content)).samples[0].points
    nan = [np.nan, np.nan]
    np.testing.assert_array_equal(points, [nan, [3, 4], [5, 6], nan])


def test_each_person_is_a_sample_cut_to_its_widened_box(tmp_path: Path) -> None:
    save_images(tmp_path, truth())
    content = document()
    first, second = deepcopy(content["annotations"][0]), deepcopy(content["annotations"][0])
    first |= {"bbox": [20, 16, 16, 8], "keypoints": [25, 20, 2, 50, 40, 2, 0, 0, 0, 0, 0, 0]}
    second |= {"id": "b", "bbox": [-4, 30, 20, 40]}
    content["annotations"] = [first, second]
    data = read(written(tmp_path, content))
    image = truth().images[0]
    # Each box grows by an eighth of its size on each side, to whole pixels inside the image.
    picture, points = data[0]
    np.testing.assert_array_equal(np.asarray(picture), image[15:25, 18:38])
    # A joint that the box cuts off keeps its position, and so counts as a miss.
    np.testing.assert_array_equal(points[:2], [[25 - 18, 20 - 15], [50 - 18, 40 - 15]])
    picture, points = data[1]
    np.testing.assert_array_equal(np.asarray(picture), image[25:48, 0:19])
    np.testing.assert_allclose(points[3], truth().points[0, 3] - (0, 25))
    assert data.samples[0].image == data.samples[1].image


def test_people_in_one_image_stay_on_one_side_of_the_split(tmp_path: Path) -> None:
    save_images(tmp_path, truth())
    content = document()
    for number, annotation in enumerate(deepcopy(content["annotations"])):
        content["annotations"].append(annotation | {"id": 50 + number, "bbox": [1, 1, 30, 30]})
    sides = set()
    for seed in range(5):
        request = LoadOptions(train_size=3, test_size=4, size=(64, 64), seed=seed)
        data = load(str(written(tmp_path, content)), request)
        assert (len(data.train), len(data.test)) == (6, 8)  # Two people in each image.
        images = [data.points[index][3] - data.points[index][2] for index in data.train]
        sides.add(tuple(data.train.tolist()))
        # Two people of one image have the same points, up to their scale.
        ratios = [data.scale[i] * step for i, step in zip(data.train, images, strict=True)]
        assert len({tuple(np.round(ratio, 6)) for ratio in ratios}) == 3
    assert len(sides) > 1


def test_crowds_the_unlabelled_and_other_categories_are_left_out(tmp_path: Path) -> None:
    content = document()
    content["categories"].append({"id": 9, "name": "chair"})
    content["annotations"][0]["iscrowd"] = 1
    content["annotations"][1]["keypoints"] = [0] * 12
    content["annotations"][2] |= {"category_id": 9, "keypoints": None}
    content["annotations"][3]["keypoints"] = []
    data = read(written(tmp_path, content))
    assert [sample.image.name for sample in data.samples] == truth().files[4:]
    assert set(data.left_out) == {
        "1 annotation of crowds",
        "1 annotation of categories without key points",
        "1 annotation without key points",
        "1 annotation without a labelled key point",
    }


def test_a_training_and_a_validation_file_are_the_split(tmp_path: Path) -> None:
    save_images(tmp_path / "images", truth())
    train, val = document(), document()
    train["annotations"], val["annotations"] = train["annotations"][:5], val["annotations"][5:]
    (tmp_path / "annotations").mkdir()
    written(tmp_path / "annotations", train, "person_keypoints_train2017.json")
    written(tmp_path / "annotations", val, "person_keypoints_val2017.json")
    written(tmp_path / "annotations", {"images": [], "annotations": []}, "captions_val2017.json")
    data = load(str(tmp_path))
    assert (len(data.train), len(data.test)) == (5, 3)
    assert sorted(data.train) == [0, 1, 2, 3, 4]
    with pytest.raises(DataError, match="has 5 training and 3 test images, not enough for 6 to"):
        load(str(tmp_path), LoadOptions(train_size=6))
    val["annotations"].append(deepcopy(train["annotations"][1]))
    written(tmp_path / "annotations", val, "person_keypoints_val2017.json")
    with pytest.raises(DataError, match=r"001\.png is both a training and a test image"):
        load(str(tmp_path))
    written(tmp_path, val, "more_keypoints.json")
    with pytest.raises(DataError, match=r"several files with key points: .*; pass one of them"):
        read(tmp_path)


def test_files_of_one_folder_need_the_same_joints(tmp_path: Path) -> None:
    other = document()
    other["categories"][0]["keypoints"][0] = "paw"
    written(tmp_path, document(), "person_keypoints_train.json")
    written(tmp_path, other, "person_keypoints_val.json")
    with pytest.raises(DataError, match="the files have different key points"):
        read(tmp_path)


def test_a_box_is_needed_where_several_are_labelled(tmp_path: Path) -> None:
    content = document()
    del content["annotations"][0]["bbox"]
    assert read(written(tmp_path, content)).samples[0].box is None
    content["annotations"].append(content["annotations"][0] | {"id": 99})
    with pytest.raises(
        DataError, match=r"annotation 99: several people are .* \(see .* annotation 0\)"
    ):
        read(written(tmp_path, content))


FILES = {
    "nothing": ("", r"val\.json is empty; copy or export it again"),
    "cut short": (
        json.dumps(document())[:900],
        r"val\.json is not complete JSON: .*copy or export",
    ),
    "deep": ("[" * 200_000, r"val\.json is not complete JSON"),
    "detections": ("[]", r"val\.json: expected COCO key points .*, found a list; pass"),
    "other": ('{"info": 1, "images": []}', r"val\.json: expected .*, found info, images; pass"),
    "odd lists": (
        '{"images": [], "annotations": [1], "categories": []}',
        r"val\.json: annotations should be a list of objects",
    ),
}


@pytest.mark.parametrize(("content", "message"), FILES.values(), ids=FILES)
def test_a_file_that_is_no_key_point_json_is_an_error(
    tmp_path: Path, content: str, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read(written(tmp_path, content))


def test_another_encoding_is_an_error(tmp_path: Path) -> None:
    path = written(tmp_path, "")
    path.write_bytes(json.dumps(document()).encode("utf-16"))
    with pytest.raises(DataError, match=r"val\.json is not JSON in UTF-8: .*; save it as UTF-8"):
        read(path)
    path.write_bytes(json.dumps(document()).encode("utf-8-sig"))
    assert len(read(path)) == 8


def annotation(**fields: Any) -> Callable[[Document], None]:
    return lambda content: content["annotations"][2].update(fields)


def image(**fields: Any) -> Callable[[Document], None]:
    return lambda content: content["images"][2].update(fields)


def category(**fields: Any) -> Callable[[Document], None]:
    return lambda content: content["categories"].append({"id": 2, **fields})


def unnamed(content: Document) -> None:
    del content["categories"][0]["keypoints"]


def instances(content: Document) -> None:
    unnamed(content)
    for each in content["annotations"]:
        del each["keypoints"]


def unlabelled(content: Document) -> None:
    content["annotations"] = []


POINTS = [1, 1, 2] * 3
PARTS = {
    "instances": (instances, r"val\.json: no category has key points, .*instances\?"),
    "no annotation": (unlabelled, r"val\.json: no image has a label"),
    "names": (unnamed, r"val\.json: no category has key points, though .*; give the category a"),
    "points": (annotation(keypoints="1 1 2"), r"annotation 2: .* 12 numbers, found none"),
    "too few": (annotation(keypoints=POINTS), r"annotation 2: .* 12 numbers, found 9 values"),
    "word": (annotation(keypoints=[*POINTS, "1", 1, 1]), r"annotation 2: keypoints should be 12"),
    "true": (annotation(keypoints=[*POINTS, True, 1, 1]), r"annotation 2: keypoints should be 12"),
    "NaN": (annotation(keypoints=[*POINTS, float("nan"), 1, 1]), r"annotation 2: .*isn't finite"),
    "huge": (annotation(keypoints=[*POINTS, 10**400, 1, 1]), r"annotation 2: .*isn't finite"),
    "null": (annotation(keypoints=[*POINTS, None, 1, 1]), r"annotation 2: .*isn't finite"),
    "v": (annotation(keypoints=[*POINTS, 1, 1, -1]), r"annotation 2: v should be 0 .* not -1;"),
    "null v": (annotation(keypoints=[*POINTS, 1, 1, None]), r"annotation 2: v should be 0"),
    "id twice": (annotation(id=1), r"annotation 1 occurs twice; keep one"),
    "odd id": (annotation(id=[1]), r"annotations\[2\]: id should be a number, not \[1\]"),
    "image": (annotation(image_id=7), r"annotation 2: image_id is 7, which the file doesn't def"),
    "odd image": (annotation(image_id={}), r"annotation 2: image_id is \{\}, which the file"),
    "category": (annotation(category_id=None), r"annotation 2: category_id is None, which the"),
    "bbox": (annotation(bbox=[1, 2, 3]), r"annotation 2: bbox should be 4 numbers, found 3"),
    "endless bbox": (
        annotation(bbox=[0, 0, 1.7e308, 9]),
        r"annotation 2: the box's edges \(.*inf.*\) should be pixels",
    ),
    "huge bbox": (annotation(bbox=[-1e300, 0, 1e301, 9]), r"annotation 2: the box's edges"),
    "negative bbox": (annotation(bbox=[1, 2, -1, 3]), r"annotation 2: bbox should have no neg"),
    "NaN bbox": (annotation(bbox=[1, 2, float("nan"), 3]), r"annotation 2: bbox .* isn't finite"),
    "image twice": (image(id=101), r"image 101 occurs twice"),
    "no file name": (image(file_name=None), r"image 102: file_name should be text, not None"),
    "empty file name": (image(file_name=""), r"annotation 2: the image's name is empty"),
    "outside": (image(file_name="../../a.png"), r"annotation 2: .*a\.png lies outside the data"),
    "absolute": (image(file_name=__file__), r"annotation 2: .*\.py lies outside the data"),
    "zero byte": (image(file_name="a\0.png"), r"annotation 2: .* is not a path: .*; correct it"),
    "other joints": (
        category(keypoints=["a"]),
        r"val\.json: categories have different key points \(left_ear, .* and a\); keep one kind",
    ),
    "odd joints": (category(keypoints=[1]), r"category 2: keypoints should be a list of names"),
}


@pytest.mark.parametrize(("spoil", "message"), PARTS.values(), ids=PARTS)
def test_a_broken_part_is_named(
    tmp_path: Path, spoil: Callable[[Document], None], message: str
) -> None:
    content = document()
    assert len(read(written(tmp_path, content))) == 8
    spoil(content)
    with pytest.raises(DataError, match=message):
        read(written(tmp_path, content))


PICTURES = {
    "long name": (image(file_name="a" * 999), r"annotation 2: there is no image .*aaa; restore it"),
    "point": (
        annotation(keypoints=[90, 40, 2, *POINTS]),
        r"annotation 2: \(90, 40\) lies outside 002\.png, which is 64x48; correct the label, or",
    ),
    "box": (annotation(bbox=[100, 0, 9, 9]), r"annotation 2: the box .* lies outside 002\.png"),
    "size": (
        image(width=640, height=480),
        r"annotation 2: 002\.png, which is 64x48, was labelled as 640x480; restore",
    ),
}


@pytest.mark.parametrize(("spoil", "message"), PICTURES.values(), ids=PICTURES)
def test_labels_that_do_not_fit_their_image_are_errors(
    tmp_path: Path, spoil: Callable[[Document], None], message: str
) -> None:
    save_images(tmp_path, truth())
    content = document()
    spoil(content)
    path = written(tmp_path, content)
    with pytest.raises(DataError, match=message):
        load(str(path))
    with pytest.raises(DataError, match=message):
        read(path)[2]
