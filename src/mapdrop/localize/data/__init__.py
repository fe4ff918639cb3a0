"""Key-point data in any known format, behind one function."""

from __future__ import annotations

from mapdrop.localize.data import deeplabcut, scenes
from mapdrop.localize.data.base import DataError as DataError
from mapdrop.localize.data.base import KeypointData as KeypointData
from mapdrop.localize.data.base import Request as Request

FORMATS = (scenes.FORMAT, deeplabcut.FORMAT)
"""Every format, in the order in which they are asked. A new one is a module and a line here."""


def load(data: str, request: Request | None = None) -> KeypointData:
    """Labelled pictures from `data`, which names a format's built-in data or a path.

    Raises:
        DataError: when no format recognises `data`, or the one that does can't use it.
    """
    for known in FORMATS:
        if known.recognises(data):
            return known.load(data, request or Request())
    choices = "; ".join(known.looks_like for known in FORMATS)
    raise DataError(f"{data!r} is no data that I know. DATA can be: {choices}")
