"""Images as phones, scanners and microscopes write them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from mapdrop.localize.data import (
    DataError,
    Dataset,
    LoadOptions,
    Sample,
    check_images,
    image_files,
    load,
)
from tests.localize import spots

ORIENTATION = 0x0112
FORMATS = ["JPEG", "PNG", "TIFF", "WEBP"]


def photograph(path: Path, kind: str, orientation: int, width: int = 64) -> Path:
    """Write an image of noise, four by three, that is to be turned."""
    pixels = np.random.default_rng(0).integers(0, 256, (width * 3 // 4, width, 3), np.uint8)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    Image.fromarray(pixels).save(path, kind, exif=exif)
    return path


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_turned_as_exif_says(tmp_path: Path, kind: str, orientation: int) -> None:
    path = photograph(tmp_path / "a", kind, orientation)
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    found = image_files.read(path, "here")
    np.testing.assert_array_equal(np.asarray(found), expected)
    assert found.size == image_files.read_size(path, "here") == expected.shape[1::-1]
    assert (found.width < found.height) == (orientation > 4)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_the_size_takes_the_beginning_of_a_file(tmp_path: Path, kind: str) -> None:
    path = photograph(tmp_path / "a", kind, 6, width=640)
    path.write_bytes(path.read_bytes()[:2000])
    assert image_files.read_size(path, "here") == (480, 640)
    with pytest.raises(DataError, match="can't be read as an image"):
        image_files.read(path, "here")


@pytest.mark.parametrize("value", [0, 9, 77], ids=str)
def test_an_orientation_that_there_is_not_turns_nothing(tmp_path: Path, value: int) -> None:
    path = photograph(tmp_path / "a.jpg", "JPEG", value)
    assert image_files.read(path, "here").size == image_files.read_size(path, "here") == (64, 48)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_damaged_exif_loses_no_image(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a"
    Image.new("RGB", (64, 48)).save(path, kind, exif=b"Exif\0\0XXXXXXXXXXXX")
    with Image.open(path) as image, pytest.raises(SyntaxError):
        Image.Image.getexif(image)
    assert image_files.read(path, "here").size == image_files.read_size(path, "here") == (64, 48)


def test_labels_of_the_turned_image_train(tmp_path: Path) -> None:
    """What a phone stores turned is the same data set as what is stored upright."""
    upright = spots.write(tmp_path / "upright", 6)
    turned = spots.write(tmp_path / "turned", 6)
    for path in turned.glob("*.png"):
        exif = Image.Exif()
        exif[ORIENTATION] = 6
        with Image.open(upright / path.name) as image:
            image.transpose(Image.Transpose.ROTATE_90).save(path, exif=exif)
        with Image.open(path) as image:
            assert image.size == spots.SIZE[::-1]
    options = LoadOptions(train_size=4, size=spots.SIZE)
    expected, found = load(str(upright), options), load(str(turned), options)
    np.testing.assert_array_equal(found.images, expected.images)
    np.testing.assert_array_equal(found.points, expected.points)


def test_labels_of_the_image_as_it_is_stored_are_refused(tmp_path: Path) -> None:
    path = photograph(tmp_path / "a.jpg", "JPEG", 6)

    def labelled(size: tuple[int, int]) -> Dataset:
        image = image_files.ImageFile(path)
        sample = Sample(image, "here", np.array([[1.0, 1.0]]), size=size)
        return Dataset("some", ("nose",), (sample,), "none")

    check_images(labelled((48, 64)))
    with pytest.raises(DataError, match="which is 48x64, was labelled as 64x48"):
        check_images(labelled((64, 48)))


# --- Pages.


@pytest.mark.parametrize("kind", ["GIF", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("count", [1, 3])
def test_pages_are_counted(tmp_path: Path, kind: str, count: int) -> None:
    pages = [Image.new("RGB", (64, 48), (50 * number, 0, 0)) for number in range(count)]
    pages[0].save(tmp_path / "a", kind, save_all=True, append_images=pages[1:])
    assert image_files.pages(tmp_path / "a", "here") == count


def test_the_preview_in_a_photograph_is_no_page(tmp_path: Path) -> None:
    """Phones put smaller versions, or maps of depths, behind a JPEG."""
    photo, preview = Image.new("RGB", (64, 48)), Image.new("RGB", (16, 12))
    photo.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[preview])
    with Image.open(tmp_path / "a.jpg") as image:
        assert getattr(image, "n_frames", 1) == 2
    assert image_files.pages(tmp_path / "a.jpg", "here") == 1
    assert image_files.read(tmp_path / "a.jpg", "here").size == (64, 48)


# --- Size.


def test_a_large_scan_is_read_and_a_bomb_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pillow warns of the first, and warnings are errors in tests."""
    Image.new("RGB", (1500, 1000)).save(tmp_path / "scan.png")
    Image.new("1", (3000, 1000)).save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1_000_000)
    assert image_files.read(tmp_path / "scan.png", "here").size == (1500, 1000)
    assert image_files.read_size(tmp_path / "scan.png", "here") == (1500, 1000)
    told = "here: .*bomb.png has more than 2 million pixels; reduce it, or cut it into tiles"
    for act in (image_files.read, image_files.read_size):
        with pytest.raises(DataError, match=told):
            act(tmp_path / "bomb.png", "here")
