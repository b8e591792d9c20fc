"""EXIF orientation: how a stored picture is turned upright."""

from __future__ import annotations

import struct
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T", bound=np.generic)


def orientation_of(exif: bytes) -> int:
    """The orientation in an EXIF block, 1 to 8; 1 if it holds none.

    Args:
        exif: a TIFF structure (EXIF 2.32, 4.5.2); tag 0x0112 of its first directory counts.
    """
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(f"{order}I", exif, 4)
        (count,) = struct.unpack_from(f"{order}H", exif, start)
        for entry in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind, _, value = struct.unpack_from(f"{order}HHIH", exif, entry)
            if (tag, kind) == (0x0112, 3):
                return value if 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1


def turned(pixels: NDArray[T], orientation: int) -> NDArray[T]:
    """A view of [height, width, ...] turned upright by its EXIF orientation, 1 to 8.

    The eight cases are those of EXIF 2.32, 4.6.4 A: above 4 the axes are exchanged.
    """
    if orientation > 4:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels


def turned_back(pixels: NDArray[T], orientation: int) -> NDArray[T]:
    """A view that undoes `turned`."""
    return turned(pixels, {6: 8, 8: 6}.get(orientation, orientation))
