"""PNG through OpenCV, which is strict about damage and keeps all 16 bits.

It gets only the chunks that make the pixels: text bombs, animations and chunks that claim more
bytes than there are never reach it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fungi_onnx.errors import ImageDecodeError
from fungi_onnx.formats import incomplete
from fungi_onnx.limits import Limits
from fungi_onnx.orientation import orientation_of
from fungi_onnx.pixels import RGB, on_white, to_8_bits, to_rgb

_CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"eXIf")
_MOST_CHUNKS = 100_000


def decode(data: bytes, name: str, limits: Limits) -> tuple[RGB, int]:
    """Decodes a PNG; of an animated one the still image.

    Returns:
        RGB uint8 [height, width, 3] as stored, and the EXIF orientation that turns it upright.

    Raises:
        ImageTooLargeError: the picture is beyond a limit.
        ImageDecodeError: the file is damaged or cut short.
    """
    try:
        if data[12:16] != b"IHDR":
            raise ValueError("the size does not stand first")
        width, height = struct.unpack_from(">II", data, 16)
        limits.check_size(width, height, name)
        chunks = list(_chunks(data))
        picture = data[:8] + b"".join(raw for kind, raw in chunks if kind != b"eXIf")
        decoded = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_UNCHANGED)
        if decoded is None:
            raise ValueError("libpng found it damaged")
    except (cv2.error, struct.error, ValueError):
        raise ImageDecodeError(name, incomplete("PNG")) from None
    pixels = to_8_bits(_with_white_key(np.asarray(decoded), chunks))
    exif = next((raw[8:-4] for kind, raw in chunks if kind == b"eXIf"), b"")
    if pixels.ndim == 2:
        return to_rgb(pixels), orientation_of(exif)
    rgb = np.asarray(cv2.cvtColor(pixels[..., :3], cv2.COLOR_BGR2RGB), np.uint8)
    if pixels.shape[2] == 4:
        rgb = on_white(rgb, pixels[..., 3])
    return rgb, orientation_of(exif)


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(type, the chunk as it stands) of those that count, up to the end.

    Raises:
        ValueError, struct.error: a chunk ends behind the file, or there are too many.
    """
    at = 8
    for _ in range(_MOST_CHUNKS):
        size, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + size
        if end > len(data):
            raise ValueError("a chunk is cut short")
        if kind in _CHUNKS:
            yield kind, data[at:end]
        if kind == b"IEND":
            return
        at = end
    raise ValueError("too many chunks")


def _with_white_key(decoded: NDArray[Any], chunks: list[tuple[bytes, bytes]]) -> NDArray[Any]:
    """In grey, OpenCV leaves the level that tRNS declares transparent as it is."""
    key = next((raw for kind, raw in chunks if kind == b"tRNS"), None)
    if key is None or decoded.ndim > 2:
        return decoded
    depth = chunks[0][1][16]  # of IHDR; less than eight bits were stretched to eight
    level = int.from_bytes(key[8:10]) * (255 // (2**depth - 1) if depth < 8 else 1)
    return np.where(decoded == level, np.iinfo(decoded.dtype).max, decoded).astype(decoded.dtype)
