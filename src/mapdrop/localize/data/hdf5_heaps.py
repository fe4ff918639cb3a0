"""Check the heaps in which an HDF5 file keeps its texts: a damaged one keeps the library busy.

A heap is GCOL, a version, its size, and objects: their index, their size, and content. Objects end
with the free space, whose index is 0 and whose size includes these 16 bytes. HDF5 steps from object
to object by their sizes, and for ever where the free space has none (seen in 1.14.6).
"""

from __future__ import annotations

import struct
from mmap import ACCESS_READ, mmap
from typing import BinaryIO

_HEAP, _OBJECT = struct.Struct("<8xQ"), struct.Struct("<H6xQ")
_BEGIN = b"GCOL\x01\0\0\0"


def verify_heaps(file: BinaryIO) -> None:
    """Check every heap of a file that isn't empty.

    Raises:
        ValueError: when a heap has no end.
    """
    with mmap(file.fileno(), 0, access=ACCESS_READ) as content:
        start = content.find(_BEGIN)
        while start >= 0:
            if _is_endless(content, start):
                raise ValueError(f"its heap at byte {start} is damaged")
            start = content.find(_BEGIN, start + 1)


def _is_endless(content: mmap, start: int) -> bool:
    position = start + _HEAP.size
    if position > len(content):
        return False
    end = min(start + _HEAP.unpack_from(content, start)[0], len(content))
    while position + _OBJECT.size <= end:
        index, size = _OBJECT.unpack_from(content, position)
        if index == 0:
            return bool(size == 0)
        position += _OBJECT.size + -(-size // 8) * 8
    return False
