"""A drop, called like `mapdrop.drop`, whose rate compiled code reads when it runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mapdrop.spec.mask_spec import OPTIONS, as_sizes
from mapdrop.spec.variable_rate import RateWords, rate_words

CALL = ("seed", "stream", "step")
Given = tuple[str, tuple[Any, ...], tuple[tuple[str, Any], ...]]
"""A pattern, the options of a spec, and the rest of a call: all but x and the rate."""


def given(pattern: str, options: dict[str, Any]) -> Given:
    """Split the keyword arguments of `mapdrop.drop`."""
    call = tuple((name, value) for name, value in options.items() if name in CALL)
    named = dict(OPTIONS) | {n: v for n, v in options.items() if n in dict(OPTIONS)}
    rest = {n: v for n, v in options.items() if n not in (*CALL, *named)}
    named |= {"block": as_sizes(named["block"] or None, "block"), "sizes": tuple(rest.items())}
    return pattern, tuple(named[name] for name, _ in OPTIONS), call


def at_run_time(backend: Any, words: Callable[[tuple[int, int]], Any], compile_: Any) -> Any:
    """Return a drop that is compiled once for all rates.

    Args:
        backend: a module of `mapdrop.backends`.
        words: makes the framework's array of a rate's two words.
        compile_: compiles a function of x and such an array, for an x.
    """
    known: dict[Any, Any] = {}

    def drop(x: Any, pattern: str, p: float, **options: Any) -> Any:
        held = given(pattern, options)
        key = (held, x.dtype, tuple(x.shape))
        if key not in known:

            def function(x: Any, rate: Any, held: Given = held) -> Any:
                pattern, of_spec, call = held
                spec = backend.mask_spec(pattern, RateWords(rate), *of_spec)
                return backend.drop(x, spec, **dict(call))

            known[key] = compile_(function, x)
        return known[key](x, words(rate_words(p)))

    return drop
