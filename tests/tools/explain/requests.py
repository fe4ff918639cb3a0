"""Requests, in the words of the command line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mapdrop.spec.mask_spec import as_sizes, mask_spec
from mapdrop.tools.explain.request import Request


def request(
    pattern: str,
    p: float,
    seed: int = 0,
    block: Mapping[str, int] | None = None,
    sizes: Mapping[str, int] | None = None,
    **options: Any,
) -> Request:
    """Return the request that `mapdrop explain` makes of its options."""
    options |= {"block": as_sizes(block, "block"), "sizes": as_sizes(sizes, "sizes")}
    return Request(mask_spec(pattern, p, **options), seed)
