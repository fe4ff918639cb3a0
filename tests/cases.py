"""The cases that feed every test of masks: named patterns, shapes and options, once for all."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Case:
    """What `mapdrop.mask` and `mapdrop.drop` are called with."""

    name: str
    pattern: str
    shape: tuple[int, ...]
    p: float = 0.5
    given: dict[str, Any] = field(default_factory=dict, hash=False)

    @property
    def options(self) -> dict[str, Any]:
        """Keyword arguments; the seed differs from case to case where none is given."""
        return {"seed": sum(map(ord, self.name)), **self.given}

    def __str__(self) -> str:
        return self.name


def _case(name: str, pattern: str, shape: tuple[int, ...], p: float = 0.5, **given: Any) -> Case:
    return Case(name, pattern, shape, p, given)


INDEPENDENT = (
    _case("element", "b h w c -> b h w c", (3, 4, 5, 2)),
    _case("element-odd", "... -> ...", (7, 13), 0.1),
    _case("element-channels-first", "b c h w -> b c h w", (2, 3, 4, 5), 0.25),
    _case("maps-channels-last", "b h w c -> b c", (4, 3, 2, 12), seed=7),
    _case("maps-channels-first", "b c h w -> b c", (4, 12, 3, 2), seed=7),
    _case("maps-1d", "b t c -> b c", (5, 4, 9), 0.3),
    _case("maps-3d", "b c d h w -> b c", (3, 7, 2, 2, 2), 0.3),
    _case("pixels", "b h w c -> b h w", (2, 5, 7, 3), 0.2),
    _case("path", "b ... -> b", (24, 2, 3), 0.2),
    _case("groups", "b h w (g k) -> b g", (4, 2, 3, 24), k=4),
    _case("groups-literal", "b (g 4) h w -> b g", (4, 24, 2, 3)),
    _case("groups-interleaved", "b (k g) -> b g", (4, 24), k=4),
    _case("shared", "(m n) h w c -> m c", (6, 2, 2, 11), n=2),
    _case("both-split", "(m n) (g k) -> k m g", (6, 20), n=3, k=5),
    _case("order-turned", "b h w c -> c b", (4, 3, 2, 12), seed=7),
    _case("order-mixed", "a b c d -> c a d", (3, 2, 4, 5), 0.4),
    _case("placeholders", "b h w c -> b 1 1 c", (4, 3, 2, 12), seed=7),
    _case("ellipsis-kept", "b ... c -> ... c", (2, 3, 4, 5), 0.7),
    _case("ellipsis-empty", "... b -> b ...", (17,)),
    _case("literal-axis", "b 3 c -> b c", (4, 3, 10)),
    _case("one-coin", "b c -> ", (4, 5), seed=1),
    _case("scalar", " -> ", (), seed=3),
    _case("size-1-axes", "a b c d -> a b c d", (1, 9, 1, 3)),
    _case("thirty-axes", "... -> ...", (2, 1, 1, 1, 1, 3) * 2 + (1,) * 16 + (2, 1)),
    _case("empty", "b h w c -> b c", (4, 0, 3, 5)),
    _case("empty-coins", "b h w c -> b c", (0, 2, 3, 5)),
    _case("rate-0", "b c -> b c", (3, 5), 0.0),
    _case("rate-1", "b c -> b c", (3, 5), 1.0),
    _case("rate-1e-6", "b c -> b c", (9, 11), 1e-6),
    _case("rate-0.001", "b c -> b c", (20, 30), 0.001, seed=2),
    _case("rate-0.9", "b c -> b c", (9, 11), 0.9),
    _case("rate-0.999", "b c -> b c", (20, 30), 0.999, seed=2),
    _case("rate-below-threshold", "b c -> b c", (3, 5), 1e-12),
    _case("rate-above-threshold", "b c -> b c", (3, 5), 1 - 1e-12),
    _case("seed-0", "b c -> b c", (5, 7), seed=0),
    _case("seed-2**32", "b c -> b c", (5, 7), seed=2**32),
    _case("seed-2**63", "b c -> b c", (5, 7), seed=2**63),
    _case("seed-largest", "b c -> b c", (5, 7), seed=2**64 - 1),
    _case("step-1", "b c -> b c", (5, 7), seed=0, step=1),
    _case("step-2**32", "b c -> b c", (5, 7), seed=0, step=2**32),
    _case("step-largest", "b c -> b c", (5, 7), seed=0, step=2**64 - 1),
    _case("stream", "b c -> b c", (5, 7), seed=0, stream="encoder.block1.drop"),
    _case("stream-empty", "b c -> b c", (5, 7), seed=0, stream=""),
    _case("stream-not-ascii", "b c -> b c", (5, 7), seed=2**63, stream="Größe/滴", step=3),
    _case("axes-not-ascii", "größe 滴 -> 滴", (3, 40)),
)
EXACT = (
    _case("exact-last", "b h w c -> b c", (6, 2, 2, 10), 0.3, exact="c"),
    _case("exact-first", "b c -> b c", (10, 6), 0.5, exact="b"),
    _case("exact-middle", "a b c -> a b c", (3, 7, 4), 0.5, exact="b"),
    _case("exact-to-even", "b c -> b c", (4, 5), 0.3, exact="c"),
    _case("exact-below-half", "b c -> b c", (4, 5), 0.9, exact="c"),
    _case("exact-none-left", "b c -> b c", (3, 4), 0.9, exact="c"),
    _case("exact-one", "b c -> b c", (5, 1), 0.4, exact="c"),
    _case("exact-all-dropped", "b c -> b c", (3, 4), 1.0, exact="c"),
    _case("exact-groups", "b (g k) -> b g", (4, 24), 0.25, exact="g", k=3),
    _case("exact-empty", "b c -> b c", (3, 0), 0.5, exact="c"),
    _case("exact-stream", "b c -> c b", (6, 9), 0.4, exact="c", stream="s", step=5),
)
BALANCE = (
    _case("balance-shared", "(m n) h w c -> m c", (8, 2, 1, 11), 0.5, balance="m", n=2),
    _case("balance-first", "b c -> b c", (5, 13), 0.3, balance="b"),
    _case("balance-middle", "a b c -> a b c", (3, 7, 4), 0.2, balance="b"),
    _case("balance-last", "b c -> b c", (6, 9), 0.9, balance="c", stream="s", step=2**40),
    _case("balance-one", "b c -> b c", (1, 40), 0.4, balance="b"),
    _case("balance-tiny-rate", "b c -> b c", (4, 9), 1e-6, balance="b"),
    _case("balance-all-dropped", "b c -> b c", (4, 9), 1.0, balance="b"),
    _case("balance-empty", "b c -> b c", (0, 9), 0.5, balance="b"),
)
BLOCK = (
    _case("block-1d-odd", "b t c -> b t c", (2, 17, 3), 0.3, block={"t": 5}),
    _case("block-1d-even", "b t c -> b t c", (2, 17, 3), 0.3, block={"t": 4}),
    _case("block-1d-full", "b t c -> b t c", (2, 17, 3), 0.3, block={"t": 4}, region="full"),
    _case("block-1d-larger", "b t -> b t", (9, 6), 0.4, block={"t": 11}),
    _case("block-1d-larger-full", "b t -> b t", (9, 6), 0.4, block={"t": 11}, region="full"),
    _case("block-of-1", "b t -> b t", (9, 6), 0.4, block={"t": 1}),
    _case("block-2d-odd", "b h w c -> b h w c", (2, 9, 7, 2), 0.2, block={"h": 3, "w": 3}),
    _case("block-2d-even", "b c h w -> b c h w", (2, 2, 8, 7), 0.2, block={"h": 4, "w": 2}),
    _case(
        "block-2d-full", "b c h w -> b c h w", (2, 2, 6, 9), 0.25,
        block={"h": 3, "w": 4}, region="full",
    ),
    _case("block-2d-larger", "b h w -> b h w", (6, 3, 8), 0.5, block={"h": 7, "w": 7}),
    _case(
        "block-2d-larger-full", "b h w -> b h w", (6, 3, 8), 0.5,
        block={"h": 7, "w": 7}, region="full",
    ),
    _case("block-coupled", "b h w c -> b h w", (5, 6, 6, 3), 0.3, block={"h": 3, "w": 2}),
    _case("block-order-turned", "b h w c -> w c b h", (2, 5, 7, 2), 0.3, block={"w": 3, "h": 2}),
    _case("block-3d-odd", "b d h w -> b d h w", (2, 5, 4, 6), 0.3, block={"d": 3, "h": 3, "w": 3}),
    _case(
        "block-3d-full", "b d h w -> b d h w", (2, 3, 4, 5), 0.4,
        block={"d": 2, "h": 3, "w": 2}, region="full",
    ),
    _case("block-size-1-axis", "b h w -> b h w", (20, 1, 5), 0.3, block={"h": 3, "w": 3}),
    _case("block-on-channels", "b c h w -> b c", (4, 12, 2, 2), 0.3, block={"c": 3}),
    _case("block-tiny-rate", "b h w -> b h w", (4, 6, 6), 0.001, block={"h": 3, "w": 3}),
    _case("block-high-rate", "b h w -> b h w", (4, 6, 6), 0.99, block={"h": 3, "w": 3}),
    _case("block-all-dropped", "b h w -> b h w", (2, 6, 6), 1.0, block={"h": 3, "w": 3}),
    _case("block-empty", "b h w -> b h w", (2, 0, 6), 0.3, block={"h": 3, "w": 3}),
)  # fmt: skip
SCALE = (
    _case("scale-sample", "b h w c -> b c", (5, 2, 2, 7), 0.3, scale="sample"),
    _case("scale-sample-path", "b c -> b", (12, 3), 0.3, scale="sample"),
    _case("scale-sample-empties", "b c -> b c", (9, 2), 0.8, scale="sample"),
    _case("scale-sample-groups", "(m n) c -> m c", (6, 5), 0.3, scale="sample", n=2),
    _case("scale-sample-one-coin", "b c -> ", (4, 5), 0.5, scale="sample", seed=1),
    _case("scale-batch", "b h w c -> b c", (5, 2, 2, 7), 0.3, scale="batch"),
    _case("scale-batch-none-left", "b c -> b c", (2, 2), 1.0, scale="batch"),
    _case(
        "scale-batch-block", "b h w -> b h w", (3, 5, 6), 0.3, scale="batch", block={"h": 3, "w": 3}
    ),
    _case("scale-none", "b c -> b c", (5, 7), 0.3, scale=None),
    _case("scale-sample-exact", "b c -> b c", (5, 7), 0.3, scale="sample", exact="c"),
    _case("scale-none-exact", "b c -> b c", (5, 7), 0.3, scale=None, exact="c"),
    _case("scale-sample-empty", "b c -> b c", (0, 7), 0.3, scale="sample"),
)
ALL = INDEPENDENT + EXACT + BALANCE + BLOCK + SCALE
