"""Coordinates that are fractions, joints at an edge, and images that are gone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mapdrop.localize.data import DataError, LoadOptions, load, read
from mapdrop.localize.data.prepare import load_images
from tests.localize import spots

SIZE = (40, 30)


def write(folder: Path, points: list[tuple[float, float]]) -> Path:
    """Write an image for each point, and a table of them."""
    lines = ["image,joint,x,y"]
    for number, (x, y) in enumerate(points):
        Image.new("RGB", SIZE).save(folder / f"{number}.png")
        lines.append(f"{number}.png,nose,{x},{y}")
    (folder / "points.csv").write_text("\n".join(lines) + "\n")
    return folder


def test_coordinates_below_one_are_asked_about(tmp_path: Path) -> None:
    write(tmp_path, [(0.25, 0.5), (1, 0)])
    with pytest.raises(DataError, match=r"between 0 and 1\. Are they fractions .* --coordinates"):
        read(tmp_path)
    with pytest.raises(DataError, match="--coordinates fractions"):
        load(str(tmp_path))
    pixels = load_images(read(tmp_path, coordinates="pixels"), SIZE)
    np.testing.assert_allclose(pixels.points[:, 0], [(0.25, 0.5), (1, 0)])


def test_fractions_are_of_the_whole_image(tmp_path: Path) -> None:
    """The fraction 0 is the outer edge of the first pixel, whose centre has the coordinate 0."""
    write(tmp_path, [(0.25, 0.5), (0, 1), (0.5 / 40, 29.5 / 30)])
    found = load_images(read(tmp_path, coordinates="fractions"), SIZE)
    expected = [(9.5, 14.5), (-0.5, 29.5), (0, 29)]
    np.testing.assert_allclose(found.points[:, 0], expected, atol=1e-12)
    options = LoadOptions(train_size=1, test_size=2, coordinates="fractions", size=SIZE)
    np.testing.assert_allclose(sorted(load(str(tmp_path), options).points[:, 0, 0]), [-0.5, 0, 9.5])


def test_fractions_that_a_program_guessed_outside_are_asked_about(tmp_path: Path) -> None:
    write(tmp_path, [(0.25, 0.5), (0.5, 0.25), (-0.02, 0.5), (0.4, 1.01)])
    with pytest.raises(DataError, match=r"between 0 and 1\. Are they fractions"):
        read(tmp_path)
    found = load_images(read(tmp_path, coordinates="fractions"), SIZE)
    np.testing.assert_array_equal(np.isnan(found.points[:, 0, 0]), [False, False, True, False])


def test_one_coordinate_far_above_one_means_pixels(tmp_path: Path) -> None:
    write(tmp_path, [(0.25, 0.5), (1.75, 0.5)])
    np.testing.assert_allclose(load_images(read(tmp_path), SIZE).points[1, 0], (1.75, 0.5))
    with pytest.raises(DataError, match=r"\(1\.75, 0\.5\) lies outside"):
        load_images(read(tmp_path, coordinates="fractions"), SIZE)


def test_a_box_in_fractions_is_cut_out(tmp_path: Path) -> None:
    Image.new("RGB", SIZE).save(tmp_path / "a.png")
    document = {
        "images": [{"id": 1, "file_name": "a.png"}],
        "categories": [{"id": 1, "keypoints": ["nose"]}],
        "annotations": [
            {
                "id": 1,
                "image_id": 1,
                "category_id": 1,
                "keypoints": [0.5, 0.5, 2],
                "bbox": [0.25, 0.25, 0.5, 0.5],
            }
        ],
    }
    (tmp_path / "person_keypoints_a.json").write_text(json.dumps(document))
    image, points = read(tmp_path, coordinates="fractions")[0]
    # Enlarged by a quarter: from 7.5 to 32.5 of 40 pixels, and from 5.625 to 24.375 of 30.
    assert image.size == (33 - 7, 25 - 5)
    np.testing.assert_allclose(points, [(19.5 - 7, 14.5 - 5)])


def test_a_joint_a_little_outside_is_missing_and_one_far_outside_an_error(tmp_path: Path) -> None:
    write(tmp_path, [(20, 10), (-2.9, 10), (20, 31.4), (40, 30)])
    found = load_images(read(tmp_path), SIZE)
    assert found.left_out == ("2 joints labelled outside the image",)
    missing = (np.nan, np.nan)
    np.testing.assert_array_equal(found.points[:, 0], [(20, 10), missing, missing, (40, 30)])
    write(tmp_path, [(20, 10), (-3.1, 10)])
    with pytest.raises(DataError, match=r"points\.csv:3: \(-3\.1, 10\) lies outside 1\.png"):
        load_images(read(tmp_path), SIZE)


def test_images_that_are_gone_are_left_out_on_request(tmp_path: Path) -> None:
    spots.write(tmp_path, 4)
    (tmp_path / "001.png").unlink()
    (tmp_path / "003.png").unlink()
    with pytest.raises(DataError, match="there is no image"):
        load_images(read(tmp_path), spots.SIZE)
    kept = read(tmp_path, skip_missing=True)
    assert [sample.image.name for sample in kept.samples] == ["000.png", "002.png"]
    assert load_images(kept, spots.SIZE).left_out == ("2 images whose file is missing",)
    options = LoadOptions(train_size=1, test_size=1, skip_missing=True)
    assert load(str(tmp_path), options).left_out == kept.left_out
    for name in ("000.png", "002.png"):
        (tmp_path / name).unlink()
    with pytest.raises(DataError, match=r"none of its 4 images exists, the first is .*000\.png"):
        read(tmp_path, skip_missing=True)


def test_of_a_stack_only_the_first_page_is_labelled_and_that_is_said(tmp_path: Path) -> None:
    pages = [Image.new("RGB", SIZE, (shade, 0, 0)) for shade in (10, 20, 30)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    pages[0].save(tmp_path / "b.png")
    (tmp_path / "points.csv").write_text("image,joint,x,y\na.tif,nose,3,4\nb.png,nose,3,4\n")
    found = load_images(read(tmp_path), SIZE)
    assert found.images[..., 0].max() == 10
    assert found.left_out == ("2 pages of images after their first",)
