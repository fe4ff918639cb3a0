"""Pictures and tables of the pages are made from figures that hold today."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from benchmarks.pictures import drop_block, sixteen_bits, style
from benchmarks.pictures.__main__ import FOLDER, PAGES, PICTURES, committed, filled
from tests import reference
from tests.conftest import framework

FIGURES = committed()
SAMPLED = "sixteen-bits"  # Of whose figures only some are computed again.
names = pytest.mark.parametrize("name", PICTURES)


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield all numbers and texts, each with where it stands."""
    if isinstance(value, (dict, list)):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, of in items:
            yield from leaves(of, f"{path}/{key}")
    else:
        yield path, value


def check_same(found: Any, wanted: Any) -> None:
    """Raise AssertionError where figures differ by more than rounding on another machine."""
    one, other = dict(leaves(found)), dict(leaves(wanted))
    assert one.keys() == other.keys()
    for path, value in one.items():
        text = isinstance(value, str)
        assert value == (other[path] if text else pytest.approx(other[path], 0.01, 0.011)), path


@pytest.mark.parametrize("name", [name for name in PICTURES if name != SAMPLED])
def test_figures_hold_today(name: str) -> None:
    check_same(PICTURES[name].figures(), FIGURES[name])


@pytest.mark.parametrize("call", sixteen_bits.CALLS)
def test_rates_in_16_bits_hold_today(call: str) -> None:
    for needed in ("tensorflow", "jax", "flax"):
        framework(needed)
    for p in (0.001, 0.009, 0.02):
        # Six standard deviations, for random numbers of another version.
        near = pytest.approx(FIGURES[SAMPLED][call][sixteen_bits.RATES.index(p)], abs=0.002)
        assert sixteen_bits.fraction(call, p) == near, f"p = {p}"


@names
def test_a_changed_figure_is_noticed_twin(name: str) -> None:
    path, value = list(leaves(FIGURES[name]))[-1]
    changed = copy.deepcopy(FIGURES[name])
    *way, last = path.split("/")[1:]
    inner = changed
    for key in way:
        inner = inner[int(key) if isinstance(inner, list) else key]
    inner[int(last) if isinstance(inner, list) else last] = (
        value + "0" if isinstance(value, str) else value + 0.2
    )
    with pytest.raises(AssertionError):
        check_same(changed, FIGURES[name])
    assert style.digest(changed) not in (FOLDER / f"{name}.svg").read_text("utf-8")


@names
def test_pictures_are_drawn_from_the_figures(name: str) -> None:
    picture = FOLDER / f"{name}.svg"
    assert style.digest(FIGURES[name]) in picture.read_text("utf-8"), (
        "run: benchmarks.pictures draw"
    )
    assert picture.stat().st_size < 150_000


def test_drawing_again_gives_the_same_bytes(tmp_path: Any) -> None:
    once, twice = tmp_path / "once.svg", tmp_path / "twice.svg"
    for path in (once, twice):
        style.draw(PICTURES["ramps"], FIGURES["ramps"], path)
    assert once.read_bytes() == twice.read_bytes()


def test_tables_are_those_of_the_figures() -> None:
    for page in PAGES:
        text = page.read_text("utf-8")
        assert filled(text, FIGURES) == text, "run: python -m benchmarks.pictures draw"
        changed = re.sub(r"(<!-- [a-z-]+ -->\n.*?)\d", r"\g<1>x", text, flags=re.DOTALL)
        assert changed != text
        assert filled(changed, FIGURES) == text


@names
def test_each_picture_is_shown_with_words_for_those_who_do_not_see_it(name: str) -> None:
    shown = [
        words
        for page in PAGES
        for words in re.findall(rf"!\[([^]]+)\]\(pictures/{name}\.svg\)", page.read_text("utf-8"))
    ]
    assert len(shown) == 1
    assert len(shown[0]) > 40


@pytest.mark.parametrize("region", ["valid", "full"])
@pytest.mark.parametrize(("n", "block"), [(7, 7), (14, 7), (9, 3)])
def test_centres_are_counted_as_the_specification_does(n: int, block: int, region: str) -> None:
    windows = reference.windows((n, n), (block, block), region)
    wanted = np.array([len(windows[place]) for place in sorted(windows)]).reshape(n, n)
    assert (drop_block.covering(n, block, region) == wanted).all()


def test_mapdrop_drops_p_and_the_others_do_not() -> None:
    assert drop_block.dropped("mapdrop", 14, 0.1) == pytest.approx(0.1, abs=1e-8)
    for name in ("paper", "timm", "pypi"):
        assert drop_block.dropped(name, 14, 0.1) != pytest.approx(0.1, rel=0.05)
