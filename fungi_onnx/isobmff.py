"""The boxes of an AVIF or HEIF file that say how large it is and how it is turned upright.

OpenCV decodes AVIF but leaves its rotation and mirror boxes to the caller. The structure is that
of ISO 14496-12 (boxes) and ISO 23008-12 (items and their properties).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

_MOST_BOXES = 10_000  # a hostile file may be nothing but boxes

# Quarter turns anticlockwise, then the mirror's axis (0 exchanges top and bottom, 1 left and
# right) → the EXIF orientation that does the same.
_ORIENTATIONS = {
    (0, None): 1,
    (0, 1): 2,
    (2, None): 3,
    (0, 0): 4,
    (1, 0): 5,
    (3, None): 6,
    (1, 1): 7,
    (1, None): 8,
    (2, 0): 2,
    (2, 1): 4,
    (3, 1): 5,
    (3, 0): 7,
}


class Box(NamedTuple):
    """A box's type and where its payload lies."""

    kind: bytes
    start: int
    end: int


def brands(data: bytes) -> frozenset[bytes]:
    """The brands of the ``ftyp`` box that starts an ISO media file; none for other data."""
    if data[4:8] != b"ftyp":
        return frozenset()
    end = min(int.from_bytes(data[:4]), 256)
    return frozenset(data[at : at + 4] for at in range(8, end, 4) if at != 12)


def read(data: bytes) -> tuple[int, int, int, int]:
    """Reads what is said of the primary picture.

    Returns:
        Width and height as stored, the orientation, 1 to 8 as in EXIF, and the bits a sample.

    Raises:
        ValueError: the boxes are damaged, or there is no primary picture.
    """
    width = height = turns = 0
    axis, depth = None, 8
    for kind, start, _ in _primary_properties(data):
        if kind == b"ispe":
            width, height = _number(data, start + 4, 4), _number(data, start + 8, 4)
        elif kind == b"irot":
            turns = _number(data, start, 1) & 3
        elif kind == b"imir":
            axis = _number(data, start, 1) & 1
        elif kind == b"pixi":
            depth = _number(data, start + 5, 1)
        elif kind == b"av1C":
            flags = _number(data, start + 2, 1)  # high_bitdepth, twelve_bit
            depth = 12 if flags & 0x20 else 10 if flags & 0x40 else 8
    return width, height, _ORIENTATIONS[turns, axis], depth


def _primary_properties(data: bytes) -> list[Box]:
    """The properties of the primary item, in their order."""
    meta = _child(data, Box(b"", 0, len(data)), b"meta")
    meta = meta._replace(start=meta.start + 4)  # after version and flags
    item = _child(data, meta, b"pitm").start
    primary = _number(data, item + 4, 2 if _number(data, item, 1) == 0 else 4)
    described = _child(data, meta, b"iprp")
    properties = list(_children(data, _child(data, described, b"ipco")))
    indices = _associations(data, _child(data, described, b"ipma"), primary)
    return [properties[index - 1] for index in indices if 1 <= index <= len(properties)]


def _associations(data: bytes, box: Box, wanted: int) -> list[int]:
    """From ``ipma``: the indices of one item's properties, counted from 1."""
    long_items = _number(data, box.start, 1) > 0
    long_indices = _number(data, box.start + 3, 1) & 1
    at = box.start + 8
    for _ in range(min(_number(data, box.start + 4, 4), _MOST_BOXES)):
        item = _number(data, at, 4 if long_items else 2)
        at += 4 if long_items else 2
        size = 2 if long_indices else 1
        values = [
            _number(data, at + 1 + size * entry, size) for entry in range(_number(data, at, 1))
        ]
        if item == wanted:
            # The highest bit marks a property as essential.
            return [value & (0x7FFF if long_indices else 0x7F) for value in values]
        at += 1 + size * len(values)
    return []


def _child(data: bytes, parent: Box, kind: bytes) -> Box:
    for box in _children(data, parent):
        if box.kind == kind:
            return box
    raise ValueError(f"there is no '{kind.decode()}' box")


def _children(data: bytes, parent: Box) -> Iterator[Box]:
    at = parent.start
    for _ in range(_MOST_BOXES):
        if at >= parent.end:
            return
        size, head = _number(data, at, 4), 8
        if size == 1:
            size, head = _number(data, at + 8, 8), 16
        elif size == 0:
            size = parent.end - at
        if size < head or at + size > parent.end:
            raise ValueError("a box ends outside its parent")
        yield Box(data[at + 4 : at + 8], at + head, at + size)
        at += size
    raise ValueError("too many boxes")


def _number(data: bytes, at: int, size: int) -> int:
    if at + size > len(data):
        raise ValueError("a box is cut short")
    return int.from_bytes(data[at : at + size])
