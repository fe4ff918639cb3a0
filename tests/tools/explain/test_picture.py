"""The picture and the terminal: what is drawn as dropped is what the mask drops."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

import mapdrop
from mapdrop.tools.explain.cases import Case, cases
from mapdrop.tools.explain.colours import DROPPED, NEGATIVE, POSITIVE, ZERO, paint
from mapdrop.tools.explain.filters import NAMES, FeatureMaps, feature_maps, kernel
from mapdrop.tools.explain.layout import read_layout
from mapdrop.tools.explain.photographs import LARGE, photographs, pixels
from mapdrop.tools.explain.picture import GAP, MARGIN, WIDTH, ZOOM, picture, strip
from mapdrop.tools.explain.request import Request
from mapdrop.tools.explain.sheet import ACCENT, Sheet, rgb
from mapdrop.tools.explain.terminal import pictures
from tests.tools.explain.requests import request

RNG = np.random.default_rng(0)
IMAGES = [Image.fromarray(RNG.integers(0, 256, (*LARGE[::-1], 3), np.uint8)) for _ in range(2)]


def prepare(given: Request) -> tuple[FeatureMaps, list[Case]]:
    layout = read_layout(mapdrop.Pattern.parse(given.pattern))
    array = layout.arrange(feature_maps(pixels(IMAGES)))
    return layout.restore(array), cases(given, layout, array.shape)


def draw(given: Request, file: Path) -> np.ndarray:
    maps, shown = prepare(given)
    picture(IMAGES, maps, shown).save(file)
    with Image.open(file) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB")).astype(int)


def near(drawn: np.ndarray, colour: tuple[int, ...], by: int = 8) -> np.ndarray:
    """Where a picture has a colour, up to what 256 colours do to it."""
    return np.asarray((np.abs(drawn - np.array(colour)) <= by).all(axis=-1))


def test_the_picture_shows_the_mask_in_the_frame(tmp_path: Path) -> None:
    given = request("b h w c -> b c", 0.5, seed=3)
    drawn = draw(given, tmp_path / "a.png")
    assert drawn.shape[1] == WIDTH
    rows = np.flatnonzero(near(drawn[:, MARGIN - 4], rgb(ACCENT)))
    top, height = rows[0] + 6, 24 * ZOOM
    coins = mapdrop.mask(given.pattern, (2, 24, 36, 12), 0.5, seed=3).coins
    assert 0 < coins.sum() < coins.size
    for sample, kept in enumerate(coins):
        for number, keep in enumerate(kept):
            x = MARGIN + number * (36 * ZOOM + GAP)
            y = top + sample * (height + GAP)
            inside = drawn[y : y + height, x : x + 36 * ZOOM]
            assert near(inside, DROPPED).mean() == (0 if keep else 1), (sample, number)


@pytest.mark.parametrize("p", [0.0, 0.5])
def test_as_much_is_dark_as_is_dropped(tmp_path: Path, p: float) -> None:
    given = request("b h w c -> b c", p, seed=3)
    _, shown = prepare(given)
    dark = near(draw(given, tmp_path / "a.png"), DROPPED).sum()
    dropped = sum(case.dropped.sum() for case in shown) * ZOOM**2
    total = sum(case.dropped.size for case in shown) * ZOOM**2
    assert abs(dark - dropped) < 0.02 * total  # The words are dark as well.


def test_a_strip_has_every_map_of_every_sample() -> None:
    maps = RNG.uniform(-1, 1, (2, 24, 36, 12)).astype(np.float32)
    dropped = RNG.random(maps.shape) < 0.5
    drawn = strip(maps, dropped)
    assert drawn.shape == (2 * 24 * ZOOM + GAP, WIDTH - 2 * MARGIN, 3)
    colours = paint(maps, dropped)
    for sample, number in ((0, 0), (0, 11), (1, 5)):
        y, x = sample * (24 * ZOOM + GAP), number * (36 * ZOOM + GAP)
        cell = drawn[y : y + 24 * ZOOM, x : x + 36 * ZOOM]
        np.testing.assert_array_equal(cell[::ZOOM, ::ZOOM], colours[sample, :, :, number])
        np.testing.assert_array_equal(cell[ZOOM - 1 :: ZOOM, 1::ZOOM], cell[::ZOOM, ::ZOOM])


def test_dropped_differs_from_every_value() -> None:
    values = np.linspace(-2, 2, 401, dtype=np.float32)
    kept = paint(values, np.zeros(401, bool)).astype(int)
    assert tuple(kept[0]) == NEGATIVE
    assert tuple(kept[200]) == ZERO
    assert tuple(kept[-1]) == POSITIVE
    assert np.abs(kept - np.array(DROPPED)).sum(axis=-1).min() > 60
    assert (paint(values, np.ones(401, bool)) == DROPPED).all()


def test_a_sequence_is_drawn_as_bands(tmp_path: Path) -> None:
    drawn = draw(request("b t c -> b c", 1.0), tmp_path / "a.png")
    rows = np.flatnonzero(near(drawn[:, MARGIN - 4], rgb(ACCENT)))
    bands = drawn[rows[0] + 6 : rows[-1] - 5, MARGIN : MARGIN + 36 * ZOOM]
    assert near(bands, DROPPED).all(axis=1).sum() == len(bands) - GAP


def test_a_long_pattern_is_made_to_fit() -> None:
    sheet = Sheet(400, 100)
    sheet.code(10, 50, "x" * 60, room=380)
    sheet._figure.canvas.draw()
    (words,) = sheet._figure.texts
    assert 300 < words.get_window_extent().x1 <= 390


def test_nothing_is_left_where_the_picture_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "a.png").mkdir()
    with pytest.raises(OSError, match="directory"):
        Sheet(10, 10).save(tmp_path / "a.png")
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]


# --- The terminal.


def render(given: Request, width: int, coloured: bool) -> list[str]:
    maps, shown = prepare(given)
    console = Console(width=width, color_system="truecolor" if coloured else None)
    lines = console.render_lines(pictures(console, maps, shown))
    return ["".join(segment.text for segment in line) for line in lines]


@pytest.mark.parametrize("coloured", [True, False], ids=["coloured", "plain"])
@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("pattern", ["b h w c -> b c", "b (g 4) h w -> b g", "b t c -> b c"])
def test_the_terminal_is_wide_enough(pattern: str, width: int, coloured: bool) -> None:
    lines = render(request(pattern, 0.5), width, coloured)
    assert max(map(len, lines)) <= width
    assert lines[0].split()[0] == "before"


@pytest.mark.parametrize("p", [0.0, 0.5, 1.0])
def test_plain_text_has_a_dot_for_each_dropped_value(p: float) -> None:
    given = request("b h w c -> b c", p, seed=3)
    lines = render(given, 80, coloured=False)
    at = next(i for i, line in enumerate(lines) if line.startswith("photograph 2, map 2"))
    coins = mapdrop.mask(given.pattern, (2, 24, 36, 12), p, seed=3).coins
    for line in lines[at + 1 : at + 6]:
        before, maps = line[:15], line[16:31]
        assert "·" not in before
        assert maps == (before if coins[1, 1] else "·" * 15)


def test_half_blocks_have_the_colours_of_two_values() -> None:
    maps, shown = prepare(request("b h w c -> b c", 1.0))
    console = Console(width=80, color_system="truecolor", force_terminal=True)
    lines = console.render_lines(pictures(console, maps, shown))
    dark = "#{:02x}{:02x}{:02x}".format(*DROPPED)
    blocks = [s for line in lines for s in line if "▀" in s.text and s.style]
    dropped = [s for s in blocks if s.style and s.style.color and s.style.color.name == dark]
    # Four of five columns are dropped whole, above and below.
    assert sum(len(s.text) for s in dropped) == sum(len(s.text) for s in blocks) * 4 // 5
    assert all(s.style and s.style.bgcolor and s.style.bgcolor.name == dark for s in dropped)


# --- Photographs and filters.


def test_the_filters_answer_to_contrast_alone() -> None:
    for name in NAMES:
        if "–" not in name:
            weights = kernel(name)
            assert abs(float(weights.sum())) < 1e-4
            assert float(np.abs(weights).sum()) > 0.1
    even = feature_maps(np.full((2, 24, 36, 3), 77, np.uint8))
    assert np.abs(even).max() < 1e-3
    assert np.isfinite(even).all()


def test_maps_have_both_signs_and_follow_the_photograph() -> None:
    small = pixels(photographs())
    maps = feature_maps(small)
    assert maps.shape == (2, 24, 36, len(NAMES)) == (2, 24, 36, 12)
    assert ((maps < -0.5).any(axis=(1, 2)) & (maps > 0.5).any(axis=(1, 2))).mean() > 0.9
    np.testing.assert_allclose(feature_maps(255 - small), -maps, atol=1e-4)  # The negative.


def test_an_edge_is_found_where_it_is() -> None:
    photograph = np.zeros((1, 24, 36, 3), np.uint8)
    photograph[:, :, 18:] = 255
    upright = feature_maps(photograph)[0, 12, :, NAMES.index("edge │")]
    assert 16 <= np.abs(upright).argmax() <= 19
    level = feature_maps(photograph)[0, :, :, NAMES.index("edge ─")]
    assert np.abs(level).max() < 1e-3


def test_one_image_is_joined_by_its_mirror_image(tmp_path: Path) -> None:
    IMAGES[0].save(tmp_path / "a.png")
    first, second = photographs([tmp_path / "a.png"])
    np.testing.assert_array_equal(np.asarray(first), np.asarray(second)[:, ::-1])
    assert len(photographs([tmp_path / "a.png"] * 4)) == 4


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "CMYK"])
def test_any_kind_of_image_is_read(tmp_path: Path, mode: str) -> None:
    file = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    Image.new(mode, (1, 7), 1).save(file)
    assert pixels(photographs([file])).shape == (2, 24, 36, 3)


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "not an image"), (b"no image", "not an image"), (None, "No such file"), ("cut", "cut")],
)
def test_an_unreadable_image_is_named(
    tmp_path: Path, content: bytes | str | None, reason: str
) -> None:
    file = tmp_path / "cut.png"
    if content == "cut":
        IMAGES[0].save(file)
        file.write_bytes(file.read_bytes()[:1000])
    elif isinstance(content, bytes):
        file.write_bytes(content)
    with pytest.raises(ValueError, match=reason) as caught:
        photographs([file])
    assert str(file) in str(caught.value)


def test_too_many_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="room for 4"):
        photographs([tmp_path / "a.png"] * 5)
