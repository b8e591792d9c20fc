"""What decoders and callers hand over → RGB, 8 bits a sample."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

RGB = NDArray[np.uint8]


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
