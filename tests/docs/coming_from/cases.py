"""The page's entries: in which framework each block runs, and which law its two calls have.

Every block of the page has a case here, in the page's order: test_page.py sees to it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import pytest

from tests.conftest import framework
from tests.docs.coming_from import page
from tests.docs.coming_from.frameworks import Equinox, Flax, Framework, Keras, TensorFlow, Torch
from tests.docs.coming_from.law import Law

Adapt = Callable[[Any, float], None]


@dataclass(frozen=True, kw_only=True)
class Case:
    """How one block is run.

    Attributes:
        on: the framework that calls its functions.
        peer: what in peers.py stands in for a package that cannot be installed.
        adapt: gives its functions what they need beside x.
    """

    on: type[Framework] = Torch
    peer: str = ""
    adapt: Adapt = lambda made, p: None


@dataclass(frozen=True, kw_only=True)
class Coins(Case):
    """A block whose calls toss a coin for each place along some axes.

    Attributes:
        own: these axes.
        many: a shape of many coins, and in how many calls there are enough of them.
        few: a shape in which it is seen which values share a coin.
        p: the fraction to drop; not a half, so that p and 1 - p differ.
        scaled: whether what is kept is multiplied by 1 / (1 - p).
    """

    own: tuple[int, ...]
    many: tuple[int, ...]
    few: tuple[int, ...]
    draws: int = 4
    p: float = 0.3
    scaled: bool = True

    def law(self) -> Law:
        return Law(self.own, self.p, 1 / (1 - self.p) if self.scaled else 1.0)


@dataclass(frozen=True, kw_only=True)
class Blocks(Case):
    """A block whose calls drop blocks of 7 x 7 from maps, with the batch's own scale.

    Attributes:
        region: "valid" where centres lie only where the block fits, else "full".
        coupled: whether all maps of a sample fall together.
    """

    region: str = "valid"
    coupled: bool = False


def defined(heading: str, number: int = 0, p: float = 0.3) -> Any:
    """What a block of the page defines; its functions take x alone (Equinox's, and a key)."""
    case = CASES[heading][number]
    case.on().seed()
    with _standing_in(case.peer):
        made = page.run(page.entries()[heading][number], p)
    case.adapt(made, p)
    return made


def turned(heading: str, number: int = 0, p: float = 0.3, dtype: str = "float32") -> Any:
    """The same, of NumPy's arrays."""
    made, on = defined(heading, number, p), CASES[heading][number].on()
    on.seed()
    for name in {"old", "new", "meant"} & vars(made).keys():
        setattr(made, name, on.turned(getattr(made, name), dtype))
    return made


def _standing_in(peer: str) -> Any:
    if not peer:
        return nullcontext()
    framework("torch")
    peers = import_module("tests.docs.coming_from.peers")
    return peers.standing_in(getattr(peers, peer))


def _with_keep_prob_and_seed(made: Any, p: float) -> None:
    old, new, steps = made.old, made.new, itertools.count()
    made.old = lambda x: old(x, keep_prob=1 - p, seed=3)
    made.new = lambda x: new(x, keep_prob=1 - p, seed=3, step=next(steps))


def _in_training(made: Any, p: float) -> None:
    old, new = made.old, made.new
    made.old = lambda x, train=True, **options: old(x, train, **options)
    made.new = lambda x, train=True, **options: new(x, train, **options)


def _with_its_warning(made: Any, p: float) -> None:
    old = made.old

    def warns(x: Any) -> Any:
        with pytest.warns(UserWarning, match="Received a 3D input to dropout2d"):
            return old(x)

    made.old = warns


SPATIAL_DROPOUT = "The `spatial_dropout` that people copied"
TF_DROPOUT = "`tf.nn.dropout(noise_shape=)`"
KERAS = "`SpatialDropout1D`, `SpatialDropout2D`, `SpatialDropout3D`"
DROPOUT = "`nn.Dropout`"
DROPOUTS = "`nn.Dropout1d`, `nn.Dropout2d`, `nn.Dropout3d`"
ONE_SAMPLE = "`nn.Dropout2d` on one sample, (c, h, w)"
TORCHVISION_BLOCK = "`drop_block2d`, `DropBlock2d`"
STOCHASTIC_DEPTH = "`stochastic_depth`, `StochasticDepth`"
TIMM_BLOCK = "`drop_block_2d`, `DropBlock2d` from 1.0.23 on"
OLD_TIMM_BLOCK = "`drop_block_2d` before 1.0.23"
OLD_TIMM_FAST = "`drop_block_fast_2d` before 1.0.23"
DROP_PATH = "`DropPath`"
COPIED_PATH = "The `drop_path` that people copied"
FLOOR = "`drop_add_residual_stochastic_depth`"
FLAX = "`nnx.Dropout(broadcast_dims=)`"
EQUINOX = "`equinox.nn.Dropout`"
TORCH7 = "`nn.SpatialDropout`, the original"

_LAST: dict[str, Any] = {"own": (0, 3), "many": (256, 2, 1, 1024), "few": (4, 2, 3, 6)}
_FIRST: dict[str, Any] = {"own": (0, 1), "many": (256, 1024, 2, 1), "few": (4, 6, 2, 3)}
_PATH: dict[str, Any] = {"own": (0,), "many": (1 << 18, 2), "few": (24, 2, 3)}
CASES: dict[str, list[Case]] = {
    SPATIAL_DROPOUT: [Coins(on=TensorFlow, adapt=_with_keep_prob_and_seed, **_LAST)],
    TF_DROPOUT: [Coins(on=TensorFlow, **_LAST)],
    KERAS: [
        Coins(on=Keras, own=(0, 2), many=(256, 2, 1024), few=(4, 3, 6)),
        Coins(on=Keras, **_LAST),
        Coins(on=Keras, own=(0, 1), many=(256, 1024, 1, 1, 2), few=(4, 6, 2, 1, 3)),
    ],
    DROPOUT: [Coins(own=(0, 1, 2), many=(64, 64, 64), few=(3, 2, 4))],
    DROPOUTS: [
        Coins(own=(0, 1), many=(256, 1024, 2), few=(4, 6, 3)),
        Coins(**_FIRST),
        Coins(own=(0, 1), many=(256, 1024, 1, 1, 2), few=(4, 6, 2, 1, 3)),
    ],
    ONE_SAMPLE: [Coins(adapt=_with_its_warning, own=(0, 1), many=(256, 1024, 2), few=(4, 6, 3))],
    TORCHVISION_BLOCK: [Blocks(peer="TORCHVISION"), Blocks(peer="TORCHVISION")],
    STOCHASTIC_DEPTH: [
        Coins(peer="TORCHVISION", **_PATH),
        Coins(peer="TORCHVISION", own=(), many=(2, 2), few=(3, 2, 4), draws=6_000),
    ],
    TIMM_BLOCK: [
        Blocks(peer="TIMM", region="full", coupled=True),
        Blocks(peer="TIMM", region="full"),
    ],
    OLD_TIMM_BLOCK: [Blocks(peer="OLD_TIMM")],
    OLD_TIMM_FAST: [Blocks(peer="OLD_TIMM", region="full")],
    DROP_PATH: [Coins(peer="TIMM", **_PATH)],
    COPIED_PATH: [Coins(**_PATH)],
    FLOOR: [Case(peer="DINOV2")],
    FLAX: [Coins(on=Flax, **_LAST)],
    EQUINOX: [Coins(on=Equinox, own=(0, 1), many=(512, 512), few=(4, 6))],
    TORCH7: [Coins(adapt=_in_training, scaled=False, **_FIRST)],
}


def named(kind: type[Case]) -> dict[str, tuple[str, int]]:
    """The heading and number of each block of a kind, under an id for pytest."""
    return {
        f"{heading.replace('`', '')} {number}": (heading, number)
        for heading, cases in CASES.items()
        for number, case in enumerate(cases)
        if isinstance(case, kind)
    }
