"""Verify the checksums of a compressed MATLAB file.

MATLAB's default format (-v7) is compressed, with a checksum for each variable. Checking them finds
damage that SciPy would read silently. Uncompressed files (-v6, and scipy.io.savemat's default) have
no checksums.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from struct import unpack_from

from mapdrop.system.files import content

HEADER, VERSION_5, COMPRESSED = 128, 0x0100, 15
CHUNK = 1 << 16


def verify_checksums(path: Path) -> None:
    """Check every compressed variable of `path`.

    Raises:
        ValueError, zlib.error: when one is damaged or truncated.
    """
    data = memoryview(content(path))
    if len(data) < HEADER:
        raise ValueError("it is shorter than its header")
    order = "<" if bytes(data[126:128]) == b"IM" else ">"
    if unpack_from(f"{order}H", data, 124) != (VERSION_5,):
        return
    position = HEADER
    while position + 8 <= len(data):
        tag, size = unpack_from(f"{order}II", data, position)
        position += 8 + size
        if position > len(data):
            raise ValueError("it is truncated")
        if tag == COMPRESSED:
            _check(data[position - size : position])


def _check(compressed: memoryview) -> None:
    stream = zlib.decompressobj()
    for start in range(0, len(compressed), CHUNK):
        stream.decompress(compressed[start : start + CHUNK])
    if not stream.eof or stream.unused_data:
        raise ValueError("its compressed data is damaged")
