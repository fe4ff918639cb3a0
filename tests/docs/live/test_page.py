"""The live page in a real browser: from a file, without a network, by mouse and by keyboard."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import mapdrop
from tests.docs.live.node import LIVE, spoil

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.subprocess

Open = Callable[..., "Page"]


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Open]:
    """Open the page offline; at the end it must have asked for nothing, and had no error."""
    with watched(browser) as opened:
        yield opened


@contextmanager
def watched(browser: Browser) -> Iterator[Open]:
    """Give a function that opens the page. Raises AssertionError at the end for any fault."""
    faults: list[str] = []
    contexts = []

    def opened(fragment: str = "", folder: Path = LIVE, **options: Any) -> Page:
        contexts.append(browser.new_context(offline=True, **{"device_scale_factor": 2, **options}))
        page = contexts[-1].new_page()
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda message: faults.extend(_complaints(message.text)))
        page.on("request", lambda request: faults.extend(_asked_for(request.url)))
        page.goto(f"{(folder / 'index.html').as_uri()}{fragment}")
        return page

    try:
        yield opened
    finally:
        for context in contexts:
            context.close()
    assert faults == []


def _complaints(text: str) -> list[str]:
    # The browser advises those who read a canvas often, as these tests do.
    return [] if "willReadFrequently" in text else [text]


def _asked_for(url: str) -> list[str]:
    return [] if url.startswith(("file:", "data:", "blob:")) else [url]


def drawn(page: Page) -> dict[tuple[int, ...], bool]:
    """Return which values the picture shows as kept, by pixels above and below the middle."""
    names = {"kept": True, "mate": True, "dropped": False}
    colours = {_rgb(page, name): kept for name, kept in names.items()}
    found = {}
    # The ring of the chosen value hides one of two places of its neighbours.
    for above, below in zip(pixels(page, 0.5, 0.2), pixels(page, 0.5, 0.8), strict=True):
        seen = {
            kept
            for colour, kept in colours.items()
            for _, pixel in (above, below)
            if max(abs(a - b) for a, b in zip(pixel, colour, strict=True)) <= 2  # Rounding.
        }
        assert len(seen) == 1, (above, below)
        found[above[0]] = seen.pop()
    return found


def pixels(page: Page, right: float, down: float) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Return each value's index, and the colour at a place within its square."""
    rows = page.evaluate(
        """([right, down]) => {
          const { view: seen, layout } = view.shown;
          const canvas = document.getElementById("picture"), ratio = window.devicePixelRatio;
          const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
          const found = [];
          for (let map = 0; map < seen.maps; map++)
            for (let row = 0; row < seen.rows; row++)
              for (let column = 0; column < seen.columns; column++) {
                const { x, y, side } = picture.squareOf(layout, map, row, column);
                const across = Math.floor((x + side * right) * ratio);
                const at = 4 * (Math.floor((y + side * down) * ratio) * canvas.width + across);
                found.push([
                  picture.indexAt(seen, map, row, column), [...data.slice(at, at + 3)]]);
              }
          return found;
        }""",
        [right, down],
    )
    return [(tuple(index), tuple(colour)) for index, colour in rows]


def _rgb(page: Page, name: str) -> tuple[int, ...]:
    text = page.evaluate(
        "name => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`)", name
    ).strip()
    return tuple(int(text[at : at + 2], 16) for at in (1, 3, 5))


def values(mask: mapdrop.Mask) -> Any:
    """Return for each value of the array whether it is kept."""
    return mask.apply(np.ones(mask.shape)) != 0


def compare(page: Page, mask: mapdrop.Mask, position: tuple[int | None, ...] = ()) -> int:
    """Raise unless the picture shows the mask, at fixed places of some axes; return how much."""
    kept = values(mask)
    found = drawn(page)
    wanted = {
        index
        for index in itertools.product(*map(range, mask.shape))
        if all(place in (None, at) for place, at in zip(position, index, strict=False))
    }
    assert set(found) == wanted
    assert found == {index: bool(kept[index]) for index in wanted}
    return len(found)


def fill(page: Page, **fields: str) -> None:
    for name, text in fields.items():
        page.fill(f"#{name}", text)


# --- What one types is what Python draws.


def test_first_look(open_page: Open) -> None:
    page = open_page()
    mask = mapdrop.mask("b h w c -> b c", (2, 8, 8, 12), 0.5, seed=7)
    assert compare(page, mask, (0,)) == 8 * 8 * 12
    page.click("text=+ >> nth=1")
    assert page.input_value("#at-0") == "1"
    compare(page, mask, (1,))
    dropped = mask.coins.size - mask.kept
    assert f"{dropped} dropped, {100 * mask.dropped:.4g} %" in page.inner_text("#numbers")


def test_typed_patterns(open_page: Open) -> None:
    page = open_page()
    fill(page, pattern="n k y x -> n y x", shape="(1, 3, 9, 7)", p="0.3", seed=str(2**64 - 1))
    mask = mapdrop.mask("n k y x -> n y x", (1, 3, 9, 7), 0.3, seed=2**64 - 1)
    assert compare(page, mask) == 3 * 9 * 7
    page.fill("#step", "18446744073709551615")
    mask = mapdrop.mask("n k y x -> n y x", (1, 3, 9, 7), 0.3, seed=2**64 - 1, step=2**64 - 1)
    compare(page, mask)
    page.click("#more summary")
    fill(page, pattern="i (g k) -> g", sizes="k=2", shape="5, 8", stream="größe", step="0")
    mask = mapdrop.mask(
        "i (g k) -> g", (5, 8), 0.3, seed=2**64 - 1, stream="größe", k=2
    )  # fmt: skip
    assert compare(page, mask) == 40
    fill(page, pattern="... -> ...", sizes="", stream="", shape="40")
    assert compare(page, mapdrop.mask("... -> ...", (40,), 0.3, seed=2**64 - 1)) == 40
    fill(page, shape="")
    assert compare(page, mapdrop.mask("... -> ...", (), 0.3, seed=2**64 - 1)) == 1


def test_the_slider_of_p(open_page: Open) -> None:
    page = open_page()
    page.focus("#p-slider")
    for _ in range(7):
        page.keyboard.press("ArrowRight")
    assert page.input_value("#p") == "0.57"
    mask = mapdrop.mask("b h w c -> b c", (2, 8, 8, 12), 0.57, seed=7)
    compare(page, mask, (0,))
    for key, p in (("Home", 0.0), ("End", 1.0)):
        page.focus("#p-slider")
        page.keyboard.press(key)
        compare(page, mapdrop.mask("b h w c -> b c", (2, 8, 8, 12), p, seed=7), (0,))


@pytest.mark.parametrize("law", ["exact", "balance", "block"])
def test_laws(open_page: Open, law: str) -> None:
    page = open_page()
    fill(page, pattern="c h w -> w c h", shape="5, 9, 7", p="0.4")
    page.select_option("#law", law)
    options: dict[str, Any] = {law: "h"}
    if law == "block":
        fill(page, block="h=3, w=2")
        page.select_option("#region", "full")
        options = {"block": {"h": 3, "w": 2}, "region": "full"}
    else:
        page.select_option("#axis", "h")
    mask = mapdrop.mask("c h w -> w c h", (5, 9, 7), 0.4, seed=7, **options)
    assert compare(page, mask) == 5 * 9 * 7


def test_an_empty_array(open_page: Open) -> None:
    page = open_page()
    fill(page, shape="2, 0, 8, 12")
    assert page.is_hidden("#frame")
    fill(page, shape="0, 8, 8, 12")
    assert "the array is empty" in page.inner_text("#numbers")
    fill(page, shape="2, 8, 8, 12")
    compare(page, mapdrop.mask("b h w c -> b c", (2, 8, 8, 12), 0.5, seed=7), (0,))


def test_large_arrays(open_page: Open) -> None:
    page = open_page(device_scale_factor=3)
    fill(page, pattern="b h w c -> b c", shape="2, 500, 600, 70")
    assert "the first 96 of 500 rows, 96 of 600 columns, 1 of 70 maps" in page.inner_text("#cut")
    mask = mapdrop.mask("b c -> b c", (2, 70), 0.5, seed=7)
    found = drawn(page)
    assert {index[3] for index in found} == {0}
    assert len(found) == 96 * 96
    assert set(found.values()) == {bool(mask.coins[0, 0])}
    fill(page, pattern="b h w c -> b h w c")
    assert page.inner_text("#error").startswith("This page draws up to 1,048,576 coins")
    assert "(2, 500, 600, 70)" in page.inner_text("#functions")


def test_presets(open_page: Open) -> None:
    page = open_page()
    page.select_option("#preset", "groups")
    page.check("input[value=channels_first]")
    assert page.input_value("#pattern") == "b (g k) h w -> b g"
    mask = mapdrop.mask("b (g k) h w -> b g", (2, 12, 8, 8), 0.5, seed=7, k=4)
    compare(page, mask, (0,))
    page.fill("#pattern", "b (g k) h w -> b k")
    assert page.input_value("#preset") == ""
    compare(page, mapdrop.mask("b (g k) h w -> b k", (2, 12, 8, 8), 0.5, seed=7, k=4), (0,))


def test_steps(open_page: Open) -> None:
    page = open_page()
    for step in (1, 2):
        page.click("#next")
        mask = mapdrop.mask("b h w c -> b c", (2, 8, 8, 12), 0.5, seed=7, step=step)
        compare(page, mask, (0,))
    page.click("#play")
    page.wait_for_function("document.getElementById('step').value === '4'")
    page.click("#play")
    assert page.get_attribute("#play", "aria-pressed") == "false"


# --- One value.


def details(page: Page) -> dict[str, str]:
    terms = zip(
        page.locator("#details dt").all_inner_texts(),
        page.locator("#details dd").all_inner_texts(),
        strict=True,
    )
    return dict(terms)


def test_click_a_value(open_page: Open) -> None:
    from mapdrop.spec.words import words

    page = open_page("#pattern=b+h+w+(g+k)+->+b+g&shape=2,8,8,12&p=0.5&seed=7&sizes=k=4")
    square = page.evaluate("picture.squareOf(view.shown.layout, 9, 5, 2)")
    half = square["side"] / 2
    page.click("#picture", position={"x": square["x"] + half, "y": square["y"] + half})
    said = details(page)
    assert said["Value"] == "b = 0, h = 5, w = 2, g = 2, k = 1, which is x[0, 5, 2, 9]"
    assert said["Its coin"] == "b = 0, g = 2, number 2 of 6 coins"
    word = int(words(np.array([2], np.uint64), 7, 0)[0])
    assert said["Word"] == f"0x{word:08x}"
    assert said["T"].startswith("0x80000000")
    mask = mapdrop.mask("b h w (g k) -> b g", (2, 8, 8, 12), 0.5, seed=7, k=4)
    assert said["Result"].startswith("Kept" if mask.coins[0, 2] else "Dropped")
    assert said["Multiplied by"].startswith("2.0" if mask.coins[0, 2] else "0:")
    assert said["Shares its coin"] == "with 255 other values: 256 fall together"
    # All values of the coin, and no others, are in the colour of its company.
    mate = _rgb(page, "mate")
    coloured = [index for index, colour in pixels(page, 0.05, 0.5) if colour == mate]
    assert {index[3] // 4 for index in coloured} == {2}
    assert 254 <= len(coloured) <= 256  # The ring hides some of its neighbours' rims.


REASONS: dict[str, tuple[str, tuple[int, int], dict[str, Any]]] = {
    "independent": ("", (4, 9), {}),
    "exact": ("&law=exact&axis=c", (4, 9), {"exact": "c"}),
    "balance": ("&law=balance&axis=b", (5, 9), {"balance": "b"}),
    "block": ("&law=block&block=c=3", (3, 9), {"block": {"c": 3}}),
}


@pytest.mark.parametrize(("fragment", "shape", "given"), REASONS.values(), ids=REASONS)
def test_reasons_agree_with_the_mask(
    open_page: Open, fragment: str, shape: tuple[int, int], given: dict[str, Any]
) -> None:
    page = open_page(f"#pattern=b+c+->+b+c&shape={shape[0]},{shape[1]}&p=0.4&seed=7{fragment}")
    mask = mapdrop.mask("b c -> b c", shape, 0.4, seed=7, **given)
    texts = page.evaluate("""() => {
      const { mask } = view.shown;
      return [...mask.coins].map((_, n) => {
        const at = [Math.floor(n / mask.sizes[1]), n % mask.sizes[1]];
        return reasons.reasonOf(mask, n, at);
      });
    }""")
    for text, kept in zip(texts, mask.coins.ravel(), strict=True):
        if "number" in text:
            rank = int(text.split("number ")[1].split()[0])
            quota = int(text.split(" = ")[1].split()[0])
            assert (rank <= quota) == kept
        elif "cover it" in text:
            assert ("no word of theirs" in text) == kept
        else:
            assert text == ("Its word is T or more." if kept else "Its word is below T.")


# --- By keyboard alone.


def test_keyboard_alone(open_page: Open) -> None:
    page = open_page()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    reached = []
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id"))
        if reached[-1] == "pattern":
            page.keyboard.press("Control+a")
            page.keyboard.type("b h w c -> b h w")
        if reached[-1] == "picture":
            break
    assert {"preset", "pattern", "shape", "p-slider", "p", "seed", "step", "law", "copy-link",
            "at-0", "picture"} <= set(reached)  # fmt: skip
    for key in ("ArrowDown", "ArrowDown", "ArrowRight", "PageDown", "+", "End", "ArrowRight"):
        page.keyboard.press(key)
    assert details(page)["Value"].endswith("x[1, 2, 0, 2]")
    for key in ("ArrowLeft", "ArrowUp", "Home", "PageUp", "-", "ArrowLeft", "PageUp"):
        page.keyboard.press(key)
    assert details(page)["Value"].endswith("x[0, 1, 0, 0]")
    compare(page, mapdrop.mask("b h w c -> b h w", (2, 8, 8, 12), 0.5, seed=7), (0,))
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"


def test_every_field_has_a_name(open_page: Open) -> None:
    page = open_page()
    nameless = page.evaluate("""() =>
      [...document.querySelectorAll("input, select, button, canvas")]
      .filter((one) => !(one.labels?.length || one.ariaLabel || one.textContent.trim()))
      .map((one) => one.outerHTML)""")
    assert nameless == []


# --- Links.


def test_a_link_restores_everything(open_page: Open) -> None:
    page = open_page()
    page.select_option("#preset", "block")
    fill(page, block="h=5, w=4", seed="123456789012345678901"[:19], step="3", p="0.25")
    page.select_option("#region", "full")
    page.click("#more summary")
    fill(page, stream="a+b & größe")
    page.select_option("#scale", "batch")
    page.click("#axes summary")
    page.select_option("#rows", "2")
    page.focus("#picture")
    for key in ("ArrowRight", "ArrowDown", "ArrowDown", "+"):
        page.keyboard.press(key)
    page.wait_for_function("location.hash.includes('at=1,1,2,0')")
    texts = ("numbers", "functions", "layers", "elsewhere", "details", "sentences")
    before = {name: page.inner_text(f"#{name}") for name in texts}
    other = open_page(page.evaluate("location.hash"))
    assert {name: other.inner_text(f"#{name}") for name in texts} == before
    assert (other.input_value("#rows"), other.input_value("#columns")) == ("2", "1")
    mask = mapdrop.mask(
        "b h w c -> b h w c", (2, 24, 24, 6), 0.25, seed=1234567890123456789, step=3,
        stream="a+b & größe", block={"h": 5, "w": 4}, region="full", scale="batch",
    )  # fmt: skip
    compare(other, mask, (1,))


def test_an_address_that_changes(open_page: Open) -> None:
    page = open_page()
    page.evaluate("location.hash = '#pattern=c+->+c&shape=9&p=0.25&seed=3'")
    page.wait_for_function("document.getElementById('pattern').value === 'c -> c'")
    compare(page, mapdrop.mask("c -> c", (9,), 0.25, seed=3))


def test_copy_and_save(open_page: Open) -> None:
    page = open_page(permissions=["clipboard-read", "clipboard-write"])
    page.fill("#p", "0.25")
    page.click("#copy-link")
    page.wait_for_selector("text=The link is copied.")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == page.url
    assert "p=0.25" in copied
    page.click("#functions button >> nth=1")
    page.wait_for_selector("text=Copied.")
    call = page.evaluate("navigator.clipboard.readText()")
    with page.expect_download() as download:
        page.click("#download")
    saved = json.loads(Path(download.value.path()).read_text("utf-8"))
    mask = eval(call, {"mapdrop": mapdrop})
    assert saved["call"] == call
    assert saved["coins"] == mask.coins.ravel().astype(int).tolist()
    assert (saved["sizes"], saved["scale"]) == (list(mask.coins.shape), mask.scale)


# --- What is wrong.

WRONG: dict[str, tuple[dict[str, str], Callable[[], Any]]] = {
    "pattern": ({"pattern": "b h w c -> b k"},
                lambda: mapdrop.mask("b h w c -> b k", (2, 8, 8, 12), 0.5, seed=7)),
    "rank": ({"shape": "2, 8"}, lambda: mapdrop.mask("b h w c -> b c", (2, 8), 0.5, seed=7)),
    "shape": ({"shape": "2, x"},
              lambda: mapdrop.mask("b h w c -> b c", (2, "x"), 0.5, seed=7)),  # type: ignore[arg-type]
    "p": ({"p": "1.5"}, lambda: mapdrop.mask("b h w c -> b c", (2, 8, 8, 12), 1.5, seed=7)),
    "seed": ({"seed": "-1"}, lambda: mapdrop.mask("b h w c -> b c", (2, 8, 8, 12), 0.5, seed=-1)),
}  # fmt: skip


@pytest.mark.parametrize(("fields", "call"), WRONG.values(), ids=WRONG)
def test_a_wrong_field_shows_pythons_message(
    open_page: Open, fields: dict[str, str], call: Callable[[], Any]
) -> None:
    page = open_page()
    before = drawn(page)
    fill(page, **fields)
    with pytest.raises((TypeError, ValueError)) as caught:
        call()
    said = page.text_content("#error[role=alert]")
    assert said == f"{type(caught.value).__name__}: {caught.value}"
    assert page.is_visible("#error")
    page.wait_for_function("getComputedStyle(document.getElementById('result')).opacity < 0.5")
    assert drawn(page) == before
    page.select_option("#preset", "spatial")
    fill(page, seed="7")
    assert page.is_hidden("#error")
    assert page.evaluate("document.body.className") == ""


def test_pythons_warning(open_page: Open) -> None:
    page = open_page("#pattern=b+c+->+b+c&shape=2,5&p=0.3&seed=7&law=exact&axis=c")
    with pytest.warns(UserWarning, match="always drops") as warned:
        mapdrop.mask("b c -> b c", (2, 5), 0.3, seed=7, exact="c")
    assert page.inner_text("#warning") == f"Python warns: {warned[0].message}"


# --- How it looks.


def contrast(one: tuple[int, ...], other: tuple[int, ...]) -> float:
    """Return the ratio of two colours' luminances, as WCAG has it."""

    def luminance(colour: tuple[int, ...]) -> float:
        linear = [
            c / 3294.6 if c <= 10.31475 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour
        ]
        return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_are_told_apart(open_page: Open, scheme: str) -> None:
    page = open_page(color_scheme=scheme)
    names = ("page", "surface", "text", "quiet", "accent", "on-accent", "kept", "dropped", "cross",
             "mate", "field", "wrong", "wrong-surface", "ring", "code-surface")  # fmt: skip
    colour = {name: _rgb(page, name) for name in names}
    for ink, paper in (
        *(("text", "page"), ("text", "surface"), ("quiet", "surface"), ("quiet", "page")),
        *(("accent", "page"), ("accent", "surface"), ("on-accent", "accent")),
        *(("wrong", "wrong-surface"), ("text", "code-surface")),
    ):
        assert contrast(colour[ink], colour[paper]) >= 4.5, (ink, paper)
    for ink, paper in (
        *(("kept", "dropped"), ("cross", "dropped"), ("mate", "dropped"), ("kept", "surface")),
        *(("field", "surface"), ("ring", "dropped")),
    ):
        assert contrast(colour[ink], colour[paper]) >= 3, (ink, paper)
    body = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert body == f"rgb{colour['page']}"
    assert (sum(colour["page"]) < 3 * 128) == (scheme == "dark")
    compare(page, mapdrop.mask("b h w c -> b c", (2, 8, 8, 12), 0.5, seed=7), (0,))


def test_contrast_is_that_of_the_standard() -> None:
    assert contrast((0, 0, 0), (255, 255, 255)) == pytest.approx(21)
    assert contrast((118, 118, 118), (255, 255, 255)) == pytest.approx(4.54, abs=0.01)


def test_dark_follows_the_system_at_once(open_page: Open) -> None:
    page = open_page(color_scheme="light")
    light = _rgb(page, "kept")
    page.emulate_media(color_scheme="dark")
    assert _rgb(page, "kept") != light
    compare(page, mapdrop.mask("b h w c -> b c", (2, 8, 8, 12), 0.5, seed=7), (0,))


@pytest.mark.parametrize("preset", ["spatial", "block"])
def test_a_phone_scrolls_one_way(open_page: Open, preset: str) -> None:
    page = open_page(viewport={"width": 360, "height": 740}, device_scale_factor=3)
    page.select_option("#preset", preset)
    page.click("#axes summary")
    page.click("#more summary")
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    assert page.evaluate("document.getElementById('picture').getBoundingClientRect().right") <= 360
    if preset == "spatial":
        compare(page, mapdrop.mask("b h w c -> b c", (2, 8, 8, 12), 0.5, seed=7), (0,))


# --- The comparisons can fail.

SPOILED = {
    "the mask": ("mask-v1.js", "0xd251_1f53", "0xd251_1f51"),
    "the picture": ("picture.js", "row * layout.cell, side", "(row ? 0 : 1) * layout.cell, side"),
    "the coins": ("picture.js", "% n) * stride", "% n) * 2 * stride"),
    "the look": ("picture.js", 'fill(context, squares.dropped, rim, colours.dropped);',
                 'fill(context, squares.dropped, rim, colours.kept);'),
}  # fmt: skip


@pytest.mark.parametrize(("script", "text", "instead"), SPOILED.values(), ids=SPOILED)
def test_faults_are_noticed(
    open_page: Open, tmp_path: Path, script: str, text: str, instead: str
) -> None:
    spoil(tmp_path, script, text, instead)
    page = open_page("#pattern=b+h+w+c+->+b+h+w+c&shape=2,8,8,12&p=0.5&seed=7", folder=tmp_path)
    with pytest.raises(AssertionError):
        compare(page, mapdrop.mask("b h w c -> b h w c", (2, 8, 8, 12), 0.5, seed=7), (0,))


FAULTS = {
    "a request": ('<img src="https://example.org/a.png" alt="">', "example.org"),
    "an error": ("<script>throw new Error('oh')</script>", "oh"),
}


@pytest.mark.parametrize(("element", "said"), FAULTS.values(), ids=FAULTS)
def test_faults_of_a_page_are_noticed(
    browser: Browser, tmp_path: Path, element: str, said: str
) -> None:
    spoil(tmp_path, "index.html", "<main>", f"<main>{element}")
    with pytest.raises(AssertionError, match=said), watched(browser) as opened:
        opened(folder=tmp_path)
