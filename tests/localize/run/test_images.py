"""The choice of images that train, validate and test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mapdrop.localize.data import DataError
from mapdrop.localize.evaluation import unseen
from mapdrop.localize.run.folder import RunError
from mapdrop.localize.run.images import LabelledImages, load_test, load_training
from mapdrop.localize.run.record import Record
from mapdrop.localize.run.settings import DataSettings, Settings
from mapdrop.localize.run.trained import TrainedModel
from tests.localize import spots


def settings(data: Path | str, **values: Any) -> DataSettings:
    return DataSettings(str(data), size=spots.SIZE, **values)


def test_validation_is_a_share_and_apart(data: Path) -> None:
    train, validation = load_training(settings(data, validation=0.25))
    assert (len(train), len(validation)) == (9, 3)
    assert not set(train.image_names) & set(validation.image_names)
    assert train.joints == spots.JOINTS
    again, _ = load_training(settings(data, validation=0.25))
    other, _ = load_training(settings(data, validation=0.25, seed=1))
    assert train.image_names == again.image_names
    assert set(train.image_names) != set(other.image_names)


def test_the_training_size_includes_the_images_that_validate(data: Path) -> None:
    train, validation = load_training(settings(data, train_size=5, validation=0.1))
    assert (len(train), len(validation)) == (4, 1)


@pytest.mark.parametrize("size", [13, 1000])
def test_more_images_than_there_are_is_an_error(data: Path, size: int) -> None:
    with pytest.raises(DataError, match=f"has 12 images to train and validate on, not {size}"):
        load_training(settings(data, train_size=size))


def test_points_and_images_belong_together(data: Path) -> None:
    train, _ = load_training(settings(data))
    images, points = train.tensors
    assert images.shape == (len(train), 3, 48, 64)
    for image, (left, right) in zip(images, points.round().long(), strict=True):
        assert image[0, left[1], left[0]] > 180
        assert image[1, right[1], right[0]] > 180
    assert images.float().mean() < 60


def two_in_one(folder: Path) -> Path:
    """Write COCO key points: six images with two people in each."""
    rng = np.random.default_rng(0)
    people, images = [], []
    for number in range(6):
        pixels = rng.integers(0, 255, (40, 80, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "width": 80, "height": 40})
        for left in (0, 40):
            people.append(
                {
                    "id": 2 * number + left // 40 + 1,
                    "image_id": number,
                    "category_id": 1,
                    "bbox": [left, 0, 40, 40],
                    "iscrowd": 0,
                    "num_keypoints": 1,
                    "area": 1600,
                    "keypoints": [left + 20, 20, 2],
                }
            )
    path = folder / "people.json"
    category = {"id": 1, "name": "person", "keypoints": ["nose"], "skeleton": []}
    whole = {"images": images, "annotations": people, "categories": [category]}
    path.write_text(json.dumps(whole), encoding="utf-8")
    return path


def test_people_in_one_image_stay_together(tmp_path: Path) -> None:
    train, validation = load_training(DataSettings(str(two_in_one(tmp_path)), validation=0.34))
    assert (len(train), len(validation)) == (8, 4)
    assert not set(train.image_names) & set(validation.image_names)


def test_scenes_keep_their_test_part() -> None:
    train, validation = load_training(DataSettings("scenes"))
    assert (len(train), len(validation)) == (29, 3)
    every = load_test("scenes", train.joints, train.size)
    assert len(every) == 32 + 128
    new = unseen(_trained(train, validation), every)
    assert len(new) == 128


def test_what_was_seen_is_known_again_anywhere(data: Path, tmp_path: Path) -> None:
    train, validation = load_training(settings(data, train_size=8))
    trained = _trained(train, validation)
    copied = tmp_path / "copy"
    copied.mkdir()
    for path in data.iterdir():
        (copied / path.name).write_bytes(path.read_bytes())
    new = unseen(trained, load_test(str(copied), spots.JOINTS, spots.SIZE))
    assert len(new) == 4
    names = {Path(owner).name for owner in (*train.image_names, *validation.image_names)}
    assert not names & {Path(owner).name for owner in new.image_names}
    with pytest.raises(RunError, match=r"all 7 labelled images of .* were used for training"):
        unseen(trained, train)


def _trained(train: LabelledImages, validation: LabelledImages) -> TrainedModel:
    cpu = torch.device("cpu")
    record = Record.of(Settings(DataSettings("x")), train, validation, cpu)
    return TrainedModel(record, record.model(), cpu)


def test_a_joint_that_no_training_image_has_is_an_error(tmp_path: Path) -> None:
    folder = spots.write(tmp_path, 4)
    lines = (folder / "points.csv").read_text().splitlines()
    kept = [line for line in lines if "right" not in line]
    (folder / "points.csv").write_text("\n".join([*kept, "000.png,right,,"]) + "\n")
    with pytest.raises(DataError, match="none of the 3 training images has 'right' labelled"):
        load_training(settings(folder))


def test_validation_images_without_a_label_are_an_error(tmp_path: Path) -> None:
    """A joint labelled just outside its image is missing."""
    folder = spots.write(tmp_path, 4)
    _, validation = load_training(settings(folder))
    (name,) = {Path(image).name for image in validation.image_names}
    lines = (folder / "points.csv").read_text().splitlines()
    for number, line in enumerate(lines):
        if line.startswith(name):
            lines[number] = ",".join([*line.split(",")[:2], "10", "49.5"])
    (folder / "points.csv").write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match="none of the 1 validation images has a label inside"):
        load_training(settings(folder))
