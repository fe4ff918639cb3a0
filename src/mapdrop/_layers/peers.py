"""Settings by the names that other libraries' layers have for them: errors say ours."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

# The fraction to drop, and the fraction to keep.
_DROPPED = frozenset(
    {"p", "rate", "prob", "dropout", "dropout_p", "dropout_prob"}
    | {"drop_prob", "drop_rate", "dropout_rate", "drop_path", "drop_path_rate"}
)
_KEPT = frozenset({"keep_prob", "keep_rate", "survival_prob", "survival_rate"})
_OTHERS = {
    "scale_by_keep": "set scale=None to leave kept values as they are",
    "couple_channels": "a pattern without c on its right side, Drop('b c h w -> b h w', ...), has "
    "one mask for all maps",
    "gamma_scale": "the mean drop of blocks is the rate itself, so multiply that",
    "noise_shape": "the pattern of a Drop names the axes that have coins of their own",
    "broadcast_dims": "the pattern of a Drop names the axes that have coins of their own",
}
PEERS = _DROPPED | _KEPT | _OTHERS.keys()


def instead_of(name: str, rate_name: str) -> str:
    """Return what to do instead of setting something by another library's name; "" if it is none.

    Args:
        name: of the argument or attribute.
        rate_name: what the layer itself calls its rate.
    """
    if name == rate_name:
        return ""
    if name in _KEPT:
        return f"set {rate_name}, the fraction to drop, which is 1 - {name}"
    return f"set {rate_name}, the fraction to drop" if name in _DROPPED else _OTHERS.get(name, "")


def refusing_peers(init: Callable[..., None], rate_name: str) -> Callable[..., None]:
    """Return an `__init__` whose error for another library's argument says what ours is.

    An `__init__` that takes sizes of axes under any name checks those itself.
    """
    signature = inspect.signature(init)
    if "sizes" in signature.parameters:
        return init

    @functools.wraps(init)
    def checked(self: Any, *args: Any, **kwargs: Any) -> None:
        for name in kwargs:
            advice = name not in signature.parameters and instead_of(name, rate_name)
            if advice:
                raise TypeError(f"{type(self).__name__} has no argument {name}: {advice}")
        init(self, *args, **kwargs)

    # Keras looks for the arguments' names here, not in what is wrapped.
    setattr(checked, "__signature__", signature)  # noqa: B010 - a function has no such field.
    return checked
