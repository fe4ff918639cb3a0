"""Local contrast normalisation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from mapdrop.localize.normalise import local_contrast


def noise(*shape: int, highest: float = 256) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)) * highest


@pytest.mark.parametrize("size", [(40, 50), (7, 90)], ids=str)
@pytest.mark.parametrize("sigma", [2.0, 6.0])
def test_it_is_what_scipys_gaussian_filter_makes_of_its_definition(
    size: tuple[int, int], sigma: float
) -> None:
    image = noise(1, 3, *size)
    planes = image[0].double().numpy()
    centred = planes - gaussian_filter(planes, sigma, axes=(1, 2), mode="nearest")
    power = gaussian_filter(np.square(centred).mean(axis=0), sigma, mode="nearest")
    expected = centred / np.maximum(np.sqrt(power), np.sqrt(power).mean())
    np.testing.assert_allclose(local_contrast(image, sigma)[0], expected, atol=1e-3)
    assert abs(local_contrast(image, 1.1 * sigma)[0].numpy() - expected).max() > 1e-2


def test_brightness_and_contrast_do_not_matter() -> None:
    image = noise(1, 3, 40, 50, highest=100)
    plain, brighter = local_contrast(image), local_contrast(2 * image + 30)
    assert plain.shape == (1, 3, 40, 50)
    torch.testing.assert_close(plain, brighter, atol=1e-4, rtol=0)
    assert plain.std() > 0.5


def test_a_flat_image_is_zero_and_finite() -> None:
    flat = local_contrast(torch.full((1, 3, 32, 32), 200.0))
    torch.testing.assert_close(flat, torch.zeros_like(flat), atol=1e-1, rtol=0)


def test_colours_keep_their_differences() -> None:
    image = torch.full((1, 3, 32, 32), 100.0)
    image[0, :, 16, 16] = torch.tensor([200.0, 100.0, 0.0])
    red, green, blue = local_contrast(image)[0, :, 16, 16]
    assert red > 1
    assert abs(green) < 1e-3
    assert blue < -1


def test_images_do_not_affect_each_other() -> None:
    images = noise(3, 3, 24, 24)
    torch.testing.assert_close(local_contrast(images)[1:2], local_contrast(images[1:2]))
