"""The built-in scenes."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits, load_sample_images

from mapdrop.localize.data import DataError, LoadOptions, load
from mapdrop.localize.data.scenes import _photographs, _scans

SMALL = LoadOptions(train_size=6, test_size=10)


def test_the_shapes_and_the_split_follow_the_options() -> None:
    data = load("scenes", SMALL)
    assert data.images.shape == (16, 96, 96, 3)
    assert data.images.dtype == np.uint8
    assert data.points.shape == (16, 3, 2)
    assert data.joints == ("0", "1", "2")
    np.testing.assert_array_equal(data.train, np.arange(6))
    np.testing.assert_array_equal(data.test, np.arange(6, 16))


def test_the_seed_decides_everything() -> None:
    first, again = load("scenes", SMALL), load("scenes", SMALL)
    other = load("scenes", LoadOptions(train_size=6, test_size=10, seed=1))
    np.testing.assert_array_equal(first.images, again.images)
    np.testing.assert_array_equal(first.points, again.points)
    assert (first.images != other.images).any(axis=(1, 2, 3)).all()


def test_more_training_scenes_leave_the_others_as_they_were() -> None:
    few = load("scenes", SMALL)
    many = load("scenes", LoadOptions(train_size=9, test_size=10, validation_size=3))
    np.testing.assert_array_equal(few.images[few.train], many.images[many.training_subset(6)])
    np.testing.assert_array_equal(few.images[few.test], many.images[many.test])
    assert (len(few.validation), len(many.validation)) == (0, 3)
    assert (
        len(load("scenes", LoadOptions(train_size=2, test_size=2, validation_size=None)).images)
        == 68
    )


def test_the_parts_divide_the_scans_between_them() -> None:
    parts = [scan for part in (0, 1, 2) for scans in _scans(part).values() for scan in scans]
    everything = list(load_digits().images / 16.0)
    assert len(parts) == 1797
    assert sorted(scan.tobytes() for scan in parts) == sorted(scan.tobytes() for scan in everything)


def test_the_parts_divide_each_photograph_between_them() -> None:
    parts = zip(*(_photographs(part, (96, 96)) for part in (0, 1, 2)), strict=True)
    for (left, lower, upper), whole in zip(parts, load_sample_images().images, strict=True):
        right = np.concatenate([upper, lower], axis=0)
        np.testing.assert_array_equal(np.concatenate([left, right], axis=1), whole)


def test_a_digit_is_where_its_point_says() -> None:
    """The ink around a point is darker than the slip's rim."""
    data = load("scenes", LoadOptions(train_size=20, test_size=1))
    darker = []
    for image, points in zip(data.images[:20], data.points[:20], strict=True):
        for x, y in points.round().astype(int):
            slip = image[y - 9 : y + 10, x - 9 : x + 10].mean(axis=2)
            inner = slip[3:-3, 3:-3].min()
            darker.append(inner < np.median([slip[0], slip[-1]]) - 40)
    assert np.mean(darker) > 0.95


def test_other_digits_can_be_selected() -> None:
    data = load("scenes", LoadOptions(train_size=2, test_size=2, bodyparts=("7", "3")))
    assert data.joints == ("7", "3")
    assert data.points.shape == (4, 2, 2)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (LoadOptions(bodyparts=("0", "nose")), "digits 0 to 9, not 'nose'"),
        (LoadOptions(bodyparts=("1", "1")), "'1' is selected twice"),
        (LoadOptions(size=(32, 96)), "at least 64x64"),
        (LoadOptions(size=(400, 400)), "at most 320x213"),
        (LoadOptions(size=(64, 64), bodyparts=tuple("0123456789")), "larger --size"),
    ],
    ids=["joint", "twice", "small", "large", "crowded"],
)
def test_what_cannot_be_made_is_an_error(request_: LoadOptions, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load("scenes", request_)
