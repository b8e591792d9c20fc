"""Keeps TIFF files from libtiff that it and Pillow read differently, and bombs made of tiles.

libtiff decodes whole tiles however small the picture, as many as there are; and where a tag stands
twice or in an odd type, Pillow may see another picture than libtiff decodes, past every limit. The
layout is that of TIFF 6.0, section 2, and of BigTIFF.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

_WIDTH, _HEIGHT, _TILE_WIDTH, _TILE_HEIGHT = 256, 257, 322, 323
# Also: bits, compression, photometric, fill order, samples, rows a strip, planes, predictor, what
# the extra samples are, and their format.
_LAYOUT = {
    _WIDTH,
    _HEIGHT,
    _TILE_WIDTH,
    _TILE_HEIGHT,
    258,
    259,
    262,
    266,
    277,
    278,
    284,
    317,
    338,
    339,
}
_WHOLE = {3: "H", 4: "I", 16: "Q"}  # SHORT, LONG, LONG8
_SIZES = {3: 2, 4: 4, 5: 8, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_FREE_PIXELS = 1 << 22  # 16 MB of RGBA


def is_sane(data: bytes) -> bool:
    """Whether the first directory is complete, unambiguous, and its tiles are in proportion.

    Of tags that are cut off Pillow would only warn; alpha and orientation may be among them.
    """
    try:
        sizes = _sizes(data)
        width, height = sizes[_WIDTH], sizes[_HEIGHT]
        wide, high = sizes.get(_TILE_WIDTH, width), sizes.get(_TILE_HEIGHT, height)
        across, down = -(-width // wide), -(-height // high)
    except (KeyError, OverflowError, ValueError, ZeroDivisionError, struct.error):
        return False
    return (
        across * wide * down * high <= max(16 * width * height, _FREE_PIXELS)
        and across * down <= 10_000 + width * height // 1024
    )


def _sizes(data: bytes) -> dict[int, int]:
    """The picture's and its tiles' width and height."""
    order = "<" if data.startswith(b"II") else ">"
    sizes: dict[int, int] = {}
    seen: set[int] = set()
    for tag, kind, count, field in _entries(data, order):
        length = count * _SIZES.get(kind, 1)
        if length > len(field):
            (offset,) = struct.unpack(order + ("Q" if len(field) == 8 else "I"), field)
            if offset + length > len(data):
                raise ValueError("a tag's values are cut off")
        if tag in _LAYOUT:
            if tag in seen or kind not in _WHOLE:
                raise ValueError("an ambiguous layout")
            seen.add(tag)
        if tag in (_WIDTH, _HEIGHT, _TILE_WIDTH, _TILE_HEIGHT):
            if count != 1:
                raise ValueError("more than one size")
            (sizes[tag],) = struct.unpack_from(order + _WHOLE[kind], field)
    return sizes


def _entries(data: bytes, order: str) -> Iterator[tuple[int, int, int, bytes]]:
    """(tag, type, count, field of the value or its offset) of the first directory."""
    big = struct.unpack_from(f"{order}H", data, 2) == (43,)
    word, short, head = ("Q", "Q", 8) if big else ("I", "H", 4)
    (start,) = struct.unpack_from(order + word, data, head)
    (entries,) = struct.unpack_from(order + short, data, start)
    entry = struct.Struct(f"{order}HH{word}{struct.calcsize(order + word)}s")
    first = start + struct.calcsize(order + short)
    if entries > 65_535 or first + entries * entry.size > len(data):
        raise ValueError("a cut directory")
    for at in range(first, first + entries * entry.size, entry.size):
        yield entry.unpack_from(data, at)
