"""Calls of other frameworks that mean the same as a pattern, or why there is none.

"The same" is the same law: the same values share coins, and the coins fall independently with
probability p. The bits differ in every framework. A call is Python that runs, given x and what
the framework's users import: `nn` and `F`, `layers`, `nnx`, `tf`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from mapdrop.backends.registry import FRAMEWORKS
from mapdrop.tools.explain.structure import Structure


class Call(NamedTuple):
    """What to write in a framework; without `call`, `note` says why nothing does.

    `near` marks a call that drops the same shapes at another rate.
    """

    call: str = ""
    note: str = ""
    near: bool = False


@dataclass(frozen=True)
class Equivalent:
    """A call in one framework, by the name that its users know."""

    framework: str
    call: str = ""
    note: str = ""
    near: bool = False


@dataclass(frozen=True)
class _Question:
    structure: Structure
    shape: tuple[int, ...]
    p: str

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def ordinary(self) -> bool:
        return all(self.structure.own)


def equivalents(law: Structure, shape: tuple[int, ...], p: float) -> list[Equivalent]:
    """Return for each framework the calls that mean the same for an array of this shape."""
    question = _Question(law, shape, repr(p))
    return [
        Equivalent(framework, *found)
        for framework, answer in _FRAMEWORKS.items()
        for found in answer(question)
    ]


def _torch(ask: _Question) -> list[Call]:
    if reason := _obstacle(ask.structure):
        return [Call(note=reason)]
    if ask.ordinary:
        return [Call(f"nn.Dropout({ask.p})(x)")]
    own = ask.structure.independent
    if len(own) != 2 or not 3 <= ask.rank <= 5:
        return [Call(note="no layer takes a mask shape")]
    layer = f"nn.Dropout{ask.rank - 2}d({ask.p})"
    if own == (0, 1):
        return [Call(f"{layer}(x)")]
    # It drops along axes 0 and 1 only, so the two with coins of their own are moved there.
    here, there = (own[1], 1) if own[0] == 0 else (own, (0, 1))
    return [Call(f"{layer}(x.movedim({here}, {there})).movedim({there}, {here})")]


def _torchvision(ask: _Question) -> list[Call]:
    if side := _block_side(ask):
        if ask.ordinary:
            call = f"drop_block{ask.rank - 2}d(x, {ask.p}, block_size={side})"
            return [Call(call, _OTHER_RATE, near=True)]
        return [Call(note="blocks have coins of their own in every map")]
    if ask.structure.plain and ask.structure.independent in ((), (0,)):
        mode = "row" if ask.structure.independent else "batch"
        return [Call(f'stochastic_depth(x, {ask.p}, mode="{mode}")')]
    return [Call(note=_obstacle(ask.structure, blocks=True) or _PATHS)]


def _timm(ask: _Question) -> list[Call]:
    own = ask.structure.own
    side = _block_side(ask)
    if side and ask.rank == 4 and (ask.ordinary or own == (True, False, True, True)):
        call = f"DropBlock2d({ask.p}, {side}, couple_channels={not ask.ordinary})(x)"
        return [Call(call, _OTHER_RATE, near=True)]
    if ask.structure.plain and ask.structure.independent == (0,):
        return [Call(f"DropPath({ask.p})(x)")]
    return [Call(note=_obstacle(ask.structure, blocks=True) or _PATHS)]


def _keras(ask: _Question) -> list[Call]:
    if reason := _obstacle(ask.structure):
        return [Call(note=reason)]
    if ask.ordinary:
        return [Call(f"layers.Dropout({ask.p})(x)")]
    shape = tuple(None if own else 1 for own in ask.structure.own)
    found = [Call(f"layers.Dropout({ask.p}, noise_shape={shape})(x)")]
    formats: dict[tuple[int, ...], str] = {
        (0, 1): "channels_first",
        (0, ask.rank - 1): "channels_last",
    }
    data_format = formats.get(ask.structure.independent)
    if data_format and 3 <= ask.rank <= 5:
        layer = f"layers.SpatialDropout{ask.rank - 2}D"
        if ask.rank > 3:
            found.insert(0, Call(f'{layer}({ask.p}, data_format="{data_format}")(x)'))
        elif data_format == "channels_last":  # The only one that SpatialDropout1D knows.
            found.insert(0, Call(f"{layer}({ask.p})(x)"))
    return found


def _tensorflow(ask: _Question) -> list[Call]:
    if reason := _obstacle(ask.structure):
        return [Call(note=reason)]
    if ask.ordinary:
        return [Call(f"tf.nn.dropout(x, {ask.p})")]
    shape = tuple(n if own else 1 for n, own in zip(ask.shape, ask.structure.own, strict=True))
    return [Call(f"tf.nn.dropout(x, {ask.p}, noise_shape={shape})")]


def _flax(ask: _Question) -> list[Call]:
    if reason := _obstacle(ask.structure):
        return [Call(note=reason)]
    # The axes that share a coin.
    dims = f", broadcast_dims={ask.structure.shared}" if ask.structure.shared else ""
    return [Call(f"nnx.Dropout({ask.p}{dims}, rngs=rngs)(x)")]


def _paddle(ask: _Question) -> list[Call]:
    if reason := _obstacle(ask.structure):
        return [Call(note=reason)]
    if ask.ordinary:
        return [Call(f"F.dropout(x, {ask.p})")]
    if not ask.structure.independent:
        return [Call(note="its axis= cannot be empty")]
    # The axes that have coins of their own: the opposite of Flax's argument.
    return [Call(f"F.dropout(x, {ask.p}, axis={list(ask.structure.independent)})")]


_FRAMEWORKS: dict[str, Callable[[_Question], list[Call]]] = {
    FRAMEWORKS["torch"].title: _torch,
    "torchvision": _torchvision,
    "timm": _timm,
    FRAMEWORKS["keras"].title: _keras,
    FRAMEWORKS["tensorflow"].title: _tensorflow,
    "Flax": _flax,
    "Paddle": _paddle,
}
_OTHER_RATE = "only near: it drops another rate than p, and scales by the batch's count"
_PATHS = "only paths and blocks"


def _obstacle(structure: Structure, blocks: bool = False) -> str:
    """Say why no mask that broadcasts, of independent coins, has this law; empty where one has."""
    if structure.tied:
        return f"coins fall independently, so there is no {structure.tied}="
    if None in structure.own:
        axis = structure.own.index(None)
        return f"axis {axis} is split, and masks have one coin along it or one for each place"
    if max(structure.block, default=1) > 1:
        return "only square blocks of an odd size, on the last axes" if blocks else "no blocks"
    return ""


def _block_side(ask: _Question) -> int:
    """Return the side of blocks as others know them, odd and on all axes from the third, or 0."""
    structure = ask.structure
    side, *others = set(structure.block[2:]) or {1}
    fits = 4 <= ask.rank <= 5 and not others and set(structure.block[:2]) == {1} and side % 2 == 1
    if not fits or side == 1 or structure.tied or None in structure.own:
        return 0
    return side if side <= min(ask.shape[2:]) else 0
