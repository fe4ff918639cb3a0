"""All images are checked before training, and their problems are reported together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mapdrop.localize.data import (
    DataError,
    Dataset,
    ImagesError,
    LoadOptions,
    Sample,
    check_images,
    load,
)
from mapdrop.localize.data.check import SHOWN
from mapdrop.localize.data.image_files import ImageFile


def dataset(root: Path, count: int) -> Dataset:
    """Make images of 6x5 with two samples each."""
    samples = []
    for index in range(count):
        path = root / f"{index}.png"
        noise = np.random.default_rng(index).integers(0, 256, (5, 6, 3), np.uint8)
        Image.fromarray(noise).save(path)
        samples += [
            Sample(ImageFile(path), f"t:{index}{x}", np.array([[float(x), 1.0]])) for x in range(2)
        ]
    return Dataset("some", ("nose",), tuple(samples), "none")


def test_each_image_is_read_once_and_counted(tmp_path: Path) -> None:
    calls: list[tuple[str, int, int]] = []
    check_images(dataset(tmp_path, 3), lambda *step: calls.append(step))
    assert calls == [("checking the images", done, 3) for done in (1, 2, 3)]


def test_all_problems_are_reported_however_many_are_shown(tmp_path: Path) -> None:
    data = dataset(tmp_path, SHOWN + 5)
    for index in range(1, SHOWN + 5):
        (tmp_path / f"{index}.png").unlink()
    with pytest.raises(ImagesError) as error:
        check_images(data)
    assert len(error.value.problems) == SHOWN + 4
    assert str(error.value).count("there is no image") == SHOWN
    assert str(error.value).startswith(f"{SHOWN + 4} problems with {SHOWN + 5} images:\n")
    assert str(error.value).endswith("\n... and 4 more")


def test_only_the_beginning_of_an_image_is_read(tmp_path: Path) -> None:
    data = dataset(tmp_path, 1)
    path = tmp_path / "0.png"
    whole = path.read_bytes()
    path.write_bytes(whole[:60])
    check_images(data)
    path.write_bytes(whole[:20])
    with pytest.raises(ImagesError, match=r"t:00: .*0\.png can't be read as an image"):
        check_images(data)


@pytest.mark.parametrize("size", [0, 1, 20, 60, 150])
@pytest.mark.parametrize("kind", ["png", "jpg", "gif", "bmp", "tif", "webp", "ppm"])
def test_a_image_cut_short_anywhere_is_named(tmp_path: Path, kind: str, size: int) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (40, 40, 3), np.uint8)
    path = tmp_path / f"a.{kind}"
    Image.fromarray(noise).save(path)
    data = Dataset("some", ("nose",), (Sample(ImageFile(path), "t:1", np.ones((1, 2))),), "none")
    assert data[0][0].size == (40, 40)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(DataError, match=rf"t:1: .*a\.{kind} can't be read as an image"):
        data[0]


def test_postscript_is_no_image(tmp_path: Path) -> None:
    """Pillow would start another program for it."""
    path = tmp_path / "a.png"
    Image.new("RGB", (6, 5)).save(path, "EPS")
    with Image.open(path) as picture:
        assert picture.format == "EPS"
    data = Dataset("some", ("nose",), (Sample(ImageFile(path), "t:1", np.ones((1, 2))),), "none")
    with pytest.raises(ImagesError, match=r"t:1: .*a\.png can't be read as an image"):
        check_images(data)


def test_images_that_break_when_decoded_are_reported_at_once_too(tmp_path: Path) -> None:
    rows = ["image,joint,x,y"]
    noise = np.random.default_rng(0).integers(0, 256, (50, 60, 3), np.uint8)
    for index in range(6):
        path = tmp_path / f"{index}.png"
        Image.fromarray(noise).save(path)
        rows.append(f"{path.name},nose,1,2")
        if index in (1, 4):
            path.write_bytes(path.read_bytes()[:500])
    table = tmp_path / "t.csv"
    table.write_text("\n".join(rows))
    calls: list[tuple[str, int, int]] = []
    with pytest.raises(ImagesError, match=r"^2 problems with 6 images:\n.*t\.csv:3: ") as error:
        load(str(table), LoadOptions(), lambda *step: calls.append(step))
    assert "t.csv:6: " in error.value.problems[1]
    assert calls[-1] == ("reading the images", 6, 6)


def test_unselected_images_are_not_opened(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("image,joint,x,y\n" + "".join(f"{i}.png,nose,1,2\n" for i in range(6)))
    wanted = np.random.default_rng(0).permutation(6)[:3]
    for index in wanted:
        Image.new("RGB", (6, 5)).save(tmp_path / f"{index}.png")
    data = load(str(table), LoadOptions(train_size=2, test_size=1, size=(16, 16)))
    assert data.images.shape == (3, 16, 16, 3)
    with pytest.raises(ImagesError, match=r"^3 problems with 6 images"):
        load(str(table))
