"""What decoders and callers hand over → RGB, 8 bits a sample, upright."""

from __future__ import annotations

import struct
from typing import Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

RGB = NDArray[np.uint8]
T = TypeVar("T", bound=np.generic)


def to_8_bits(pixels: NDArray[Any], depth: int = 16) -> NDArray[np.uint8]:
    """Scales samples to 0..255, rounded to the nearest.

    Args:
        pixels: uint8 as it is; uint16 in 0..2**depth - 1; floats in [0, 1].
        depth: the bits that are used of 16.

    Raises:
        TypeError: other types.
        ValueError: floats that are not in [0, 1].
    """
    if pixels.dtype == np.uint8:
        return pixels.view(np.uint8)
    if pixels.dtype == np.uint16:
        return np.asarray(cv2.convertScaleAbs(pixels, alpha=255 / (2**depth - 1)), np.uint8)
    if not np.issubdtype(pixels.dtype, np.floating):
        raise TypeError(f"pixels must be uint8, uint16 or float in [0, 1], not {pixels.dtype}")
    low, high = pixels.min(), pixels.max()
    if not (low >= 0 and high <= 1):  # NaN fails as well
        raise ValueError(f"float pixels must lie in [0, 1], these lie in [{low:g}, {high:g}]")
    return np.asarray(np.rint(pixels * 255), np.uint8)


def on_white(rgb: RGB, alpha: NDArray[np.uint8], *, premultiplied: bool = False) -> RGB:
    """Composes uint8 [height, width, 3] on white by its alpha uint8 [height, width]."""
    alpha = np.asarray(cv2.merge((alpha, alpha, alpha)), np.uint8)
    if not premultiplied:
        rgb = np.asarray(cv2.multiply(rgb, alpha, scale=1 / 255), np.uint8)
    return np.asarray(cv2.add(rgb, 255 - alpha), np.uint8)


def to_rgb(pixels: NDArray[np.uint8]) -> RGB:
    """Grey [height, width] or [height, width, 1], RGB and RGBA (composed on white) → RGB."""
    if pixels.ndim == 2 or pixels.shape[2] == 1:
        return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB), np.uint8)
    if pixels.shape[2] == 4:
        return on_white(pixels[..., :3], pixels[..., 3])
    return pixels


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
