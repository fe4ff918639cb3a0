"""Which axis of a pattern is which axis of the photographs' feature maps."""

from __future__ import annotations

import numpy as np
import pytest

from mapdrop import Pattern, PatternError
from mapdrop.tools.explain.cases import cases
from mapdrop.tools.explain.layout import read_layout
from tests.tools.explain.requests import request

MAPS = np.arange(2 * 6 * 8 * 12, dtype=np.float32).reshape(2, 6, 8, 12)


@pytest.mark.parametrize(
    ("pattern", "roles"),
    [
        ("b h w c -> b c", "bhwc"),
        ("b c h w -> b c", "bchw"),
        ("batch channels height width -> batch", "bchw"),
        ("n y x ch -> n", "bhwc"),
        ("(m n) (g k) h w -> m g", "bchw"),  # No channel has its name, but all others have.
        ("b (g c) h w -> b g", "bchw"),
        ("b h w (g k) -> b g", "bhwc"),
        ("p q r s -> p", "bhwc"),  # No name says anything: channels last.
        ("w h c b -> b", "whcb"),
        ("b ... -> b", "bhwc"),
        ("... -> ...", "bhwc"),
        ("... c -> c", "bhwc"),
        ("b c ... -> b c", "bchw"),
        ("b t c -> b c", "btc"),
        ("b c t -> b c", "bct"),
        ("t b c -> b c", "tbc"),
        ("n length features -> n", "btc"),
        ("h w c -> c", "hwc"),
        ("c h w -> c", "chw"),
    ],
)
def test_roles(pattern: str, roles: str) -> None:
    assert "".join(read_layout(Pattern.parse(pattern)).roles) == roles


@pytest.mark.parametrize(
    ("pattern", "array"),
    [
        ("b h w c -> b", MAPS),
        ("b c h w -> b", MAPS.transpose(0, 3, 1, 2)),
        ("w h c b -> b", MAPS.transpose(2, 1, 3, 0)),
        ("b t c -> b", MAPS[:, 3]),
        ("c t b -> b", MAPS[:, 3].transpose(2, 1, 0)),
        ("h w c -> c", MAPS[0]),
        ("c h w -> c", MAPS[0].transpose(2, 0, 1)),
    ],
)
def test_arrange_and_restore(pattern: str, array: np.ndarray) -> None:
    layout = read_layout(Pattern.parse(pattern))
    arranged = layout.arrange(MAPS)
    np.testing.assert_array_equal(arranged, array)
    restored = layout.restore(arranged)
    assert restored.ndim == 4
    expected = MAPS[:, 3:4] if layout.sequence else MAPS[: restored.shape[0]]
    np.testing.assert_array_equal(restored, expected)


@pytest.mark.parametrize("pattern", ["b -> b", "b c -> b", "a b c d e -> a", "a b c d e ... -> a"])
def test_too_few_or_many_axes_are_refused_with_advice(pattern: str) -> None:
    with pytest.raises(PatternError, match="3 or 4 axes") as caught:
        read_layout(Pattern.parse(pattern))
    assert "--shape" in str(caught.value)


def test_the_same_right_side_drops_the_same_maps_in_every_layout() -> None:
    dropped = []
    for pattern in ("b h w c -> b c", "b c h w -> b c", "w h c b -> b c"):
        layout = read_layout(Pattern.parse(pattern))
        shape = layout.arrange(MAPS).shape
        shown = cases(request(pattern, 0.5, 3), layout, shape)
        assert [case.name for case in shown] == [
            "whole maps",
            "single values",
            "whole pixels",
            "blocks",
        ]
        dropped.append([case.dropped for case in shown])
    for mine, other in zip(dropped[0] * 2, dropped[1] + dropped[2], strict=True):
        np.testing.assert_array_equal(mine, other)


def test_each_case_drops_what_its_name_says() -> None:
    layout = read_layout(Pattern.parse("b h w c -> c"))
    given = request("b h w c -> c", 0.5, 1)
    yours, values, pixels, maps, blocks = cases(given, layout, (2, 24, 36, 12))
    assert yours.yours
    assert yours.name == "your pattern"
    assert yours.brief == ("1", "1", "1", "c")
    for case, shared in ((yours, (0, 1, 2)), (pixels, (3,)), (maps, (1, 2))):
        same = case.dropped.all(axis=shared) | (~case.dropped).all(axis=shared)
        assert same.all(), case.name
        assert 0 < case.dropped.mean() < 1
    for case in (values, blocks):
        for axis in range(4):
            same = case.dropped.all(axis=axis) | (~case.dropped).all(axis=axis)
            assert not same.all(), case.name
    for other in (yours, values, maps, blocks):
        assert not (pixels.dropped == other.dropped).all()


def test_a_sequence_is_compared_with_sequences() -> None:
    layout = read_layout(Pattern.parse("b c t -> b"))
    shown = cases(request("b c t -> b", 0.5), layout, (2, 12, 8))
    assert [(case.name, case.request.pattern) for case in shown] == [
        ("your pattern", "b c t -> b"),
        ("single values", "b c t -> b t c"),
        ("whole time steps", "b c t -> b t"),
        ("whole channels", "b c t -> b c"),
        ("blocks", "b c t -> b t c"),
    ]
    assert all(case.dropped.shape == (2, 1, 8, 12) for case in shown)
