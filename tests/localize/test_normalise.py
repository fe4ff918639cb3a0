"""Local contrast normalisation."""

from __future__ import annotations

import numpy as np

from mapdrop.localize.normalise import local_contrast


def test_brightness_and_contrast_do_not_matter() -> None:
    image = np.random.default_rng(0).integers(0, 100, (1, 40, 50, 3), dtype=np.uint8)
    plain, brighter = local_contrast(image), local_contrast(2 * image + 30)
    assert plain.shape == (1, 3, 40, 50)
    np.testing.assert_allclose(plain, brighter, atol=1e-4)
    assert plain.std() > 0.5


def test_a_flat_image_is_zero_and_finite() -> None:
    np.testing.assert_allclose(local_contrast(np.full((1, 32, 32, 3), 200, np.uint8)), 0, atol=1e-2)


def test_colours_keep_their_differences() -> None:
    image = np.full((1, 32, 32, 3), 100, np.uint8)
    image[0, 16, 16] = 200, 100, 0
    red, green, blue = local_contrast(image)[0, :, 16, 16]
    assert red > 1
    assert abs(green) < 1e-3
    assert blue < -1


def test_images_do_not_affect_each_other() -> None:
    images = np.random.default_rng(1).integers(0, 256, (3, 24, 24, 3), dtype=np.uint8)
    np.testing.assert_array_equal(local_contrast(images)[1:2], local_contrast(images[1:2]))
