"""A spec as text, for PyTorch's dispatcher.

An operation takes strings and numbers, and each argument adds to the cost of a call, so all
options are one string.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

from torch import Tensor

from mapdrop.spec.local_spec import LocalSpec, bound_locally
from mapdrop.spec.mask_spec import OPTIONS, BoundSpec, MaskSpec, mask_spec
from mapdrop.spec.sharding import Shard, read, written

Rate = float | Tensor
"""p; of a scheduled layer in compiled code a tensor, whose value is known when that runs."""


class TextSpec(NamedTuple):
    """A spec under torch.compile. The operation checks it; nothing is looked up in a cache."""

    pattern: str
    p: Rate
    options: str


Arguments = tuple[str | None, str, Any, str]
"""The operation's arguments after x and the words of the seed: stream, pattern, p and options.

p is a `Rate`.
"""


def option_text(values: tuple[Any, ...]) -> str:
    """Return the options of a spec that are not the defaults as one string."""
    texts = []
    for (name, default), value in zip(OPTIONS[: len(values)], values, strict=True):
        if value == default:
            continue
        if isinstance(value, tuple):
            value = ",".join([f"{axis}:{size}" for axis, size in value])
        texts.append(f"{name}={value}")
    return " ".join(texts)


def text_spec(spec: MaskSpec) -> TextSpec:
    """Return a spec as text."""
    made: TextSpec | None = spec.memo.get(TextSpec)
    if made is None:
        made = TextSpec(spec.pattern.text, spec.p, option_text(spec.options))
        spec.remember(spec.memo, TextSpec, made)
    return made


def arguments(
    spec: MaskSpec | TextSpec, stream: str | None, shards: tuple[Shard, ...]
) -> Arguments:
    """Return the operation's arguments."""
    text = text_spec(spec) if isinstance(spec, MaskSpec) else spec
    given = text.options
    if shards:
        given = f"{given} shards={written(shards)}".lstrip()
    return stream, text.pattern, text.p, given


def bound_to(shape: tuple[int, ...], pattern: str, p: Rate, options: str) -> BoundSpec | LocalSpec:
    """Return the spec of such text, bound to a shape or, with shards, to a part of that shape."""
    return _bound_to(shape, pattern, float(p), options)


def bound_at_any_rate(
    shape: tuple[int, ...], pattern: str, p: Rate, options: str
) -> BoundSpec | LocalSpec:
    """Return the same where a rate without a value yet counts as a half: for all but the rate."""
    if isinstance(p, Tensor):
        return _bound_to(shape, pattern, 0.5, options, warn=False)
    return bound_to(shape, pattern, p, options)


@lru_cache(maxsize=4096)
def _bound_to(
    shape: tuple[int, ...], pattern: str, p: float, options: str, warn: bool = True
) -> BoundSpec | LocalSpec:
    spec, shards = read_spec(pattern, p, options)
    return bound_locally(spec, shape, shards, warn=warn)


def read_spec(pattern: str, p: float, options: str) -> tuple[MaskSpec, tuple[Shard, ...]]:
    """Return the spec of such text, and its shards."""
    given: dict[str, Any] = dict(option.split("=") for option in options.split())
    for name, default in OPTIONS:
        if name in given and default == ():
            pairs = (pair.split(":") for pair in given[name].split(","))
            given[name] = tuple((axis, int(size)) for axis, size in pairs)
    if given.get("scale") == "None":
        given["scale"] = None
    given["ragged"] = "ragged" in given
    shards = read(given.pop("shards")) if "shards" in given else ()
    return mask_spec(pattern, p, **given), shards
