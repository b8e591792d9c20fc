"""Pictures to tensors: a path, bytes, a file object or an array → RGB → float in [0, 1].

The recipe is the hub module's own: decode in full, honour the EXIF orientation, squeeze the whole
picture to the model's size with a bilinear resize in float, divide by 255. OpenCV's JPEG decode
equals ``tf.io.decode_jpeg(dct_method="INTEGER_ACCURATE")`` bit for bit, and its float resize
equals ``tf.image.resize`` to 0.001 of a level.
"""

from __future__ import annotations

import os
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from fungi_onnx.errors import ImageDecodeError, ImageFileError


class BinaryReader(Protocol):
    """Anything with a ``read()`` that gives bytes: an open file, an upload, a ``BytesIO``."""

    def read(self) -> bytes: ...


ImageInput = (
    str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryReader | NDArray[np.uint8]
)


def name_of(image: ImageInput) -> str | None:
    """The path as text if ``image`` is one, else None."""
    return os.fspath(image) if isinstance(image, str | os.PathLike) else None


def read_rgb(image: ImageInput) -> NDArray[np.uint8]:
    """Reads a picture from wherever it is.

    Args:
        image: a path, the bytes of a file, a binary file object, or an RGB array
            uint8 [height, width, 3], which is taken as it is.

    Returns:
        RGB, uint8 [height, width, 3], turned upright by its EXIF orientation.

    Raises:
        ImageFileError: the path cannot be read.
        ImageDecodeError: the bytes are not a complete picture.
        TypeError, ValueError: ``image`` is none of the above, or an array of another form.
    """
    if isinstance(image, np.ndarray):
        return _checked_array(image)
    name = name_of(image)
    if name is not None:
        return _decode(_read_file(name), name)
    if isinstance(image, bytes | bytearray | memoryview):
        return _decode(bytes(image), "(bytes)")
    if hasattr(image, "read"):
        data = image.read()
        if not isinstance(data, bytes):
            raise TypeError("a file object must be opened in binary mode: open(path, 'rb')")
        return _decode(data, str(getattr(image, "name", "(file object)")))
    raise TypeError(
        "an image is a path, bytes, a binary file object or a uint8 RGB array [height, width, 3],"
        f" not {type(image).__name__}"
    )


def to_tensor(rgb: NDArray[np.uint8], height: int, width: int) -> NDArray[np.float32]:
    """Squeezes the whole picture to the model's input size.

    Args:
        rgb: uint8 [any height, any width, 3].
        height, width: the model's input size in pixels.

    Returns:
        float32 [height, width, 3] in [0, 1], equal to ``tf.image.resize(rgb, (height, width)) /
        255`` (bilinear, half-pixel centres, no antialiasing) to 0.01 of a level.
    """
    # In float, because OpenCV's uint8 bilinear is off by up to 0.75 of a level.
    pixels = rgb.astype(np.float32)
    if rgb.shape[:2] != (height, width):
        pixels = np.asarray(
            cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR), np.float32
        )
    pixels /= 255
    return pixels


def _read_file(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        raise ImageFileError(path, "no such file") from None
    except IsADirectoryError:
        raise ImageFileError(path, "is a folder, not a picture") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ImageFileError(path, f"cannot be read: {reason}") from None


def _decode(data: bytes, name: str) -> NDArray[np.uint8]:
    if not data:
        raise ImageDecodeError(name, "is empty (0 bytes)")
    # From memory and not by cv2.imread, which hands out the upper part of a JPEG cut short.
    try:
        rgb = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    except cv2.error as error:
        raise ImageDecodeError(name, f"cannot be decoded: {error.err}") from None
    if rgb is None:
        raise ImageDecodeError(
            name, "is not a complete picture in a known format (JPEG, PNG, WebP, TIFF, ...)"
        )
    return np.asarray(rgb, np.uint8)


def _checked_array(array: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if array.dtype != np.uint8:
        raise TypeError(f"an image array must be uint8 RGB in 0..255, not {array.dtype}")
    if array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
        shape = "×".join(map(str, array.shape))
        raise ValueError(f"an image array must be height×width×3 RGB, not {shape}")
    return array
