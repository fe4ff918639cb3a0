"""Whether a compressed MATLAB file is as it was written, by the checksums in it.

What MATLAB writes (-v7, its default) is compressed, with a checksum for each variable: damage is
found before SciPy sees it, which reads much of it without a word. Uncompressed files (-v6, and
scipy.io.savemat's default) have no checksum.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from struct import unpack_from

from mapdrop.system.files import content

HEADER, VERSION_5, COMPRESSED = 128, 0x0100, 15
CHUNK = 1 << 16


def check_sums(path: Path) -> None:
    """Passes when every compressed variable of `path` is whole.

    Raises:
        ValueError, zlib.error: otherwise.
    """
    data = memoryview(content(path))
    if len(data) < HEADER:
        raise ValueError("it is shorter than its header")
    order = "<" if bytes(data[126:128]) == b"IM" else ">"
    if unpack_from(f"{order}H", data, 124) != (VERSION_5,):
        return
    place = HEADER
    while place + 8 <= len(data):
        kind, size = unpack_from(f"{order}II", data, place)
        place += 8 + size
        if place > len(data):
            raise ValueError("it was cut short")
        if kind == COMPRESSED:
            _check(data[place - size : place])


def _check(compressed: memoryview) -> None:
    stream = zlib.decompressobj()
    for start in range(0, len(compressed), CHUNK):
        stream.decompress(compressed[start : start + CHUNK])
    if not stream.eof or stream.unused_data:
        raise ValueError("its compressed data is damaged")
