"""Bytes of a picture file → RGB pixels, 8 bits each.

libjpeg-turbo (simplejpeg) decodes JPEG: at full size bit for bit what
``tf.io.decode_jpeg(dct_method="INTEGER_ACCURATE")`` gives, at a reduced size in a fraction of the
time, and strict about damage. OpenCV decodes the other formats, libheif HEIF, and Pillow, where
it is installed, the rare forms that OpenCV does not know. What they leave to the caller is done
here: transparency on white, 16 bits to 8 by scaling, CMYK.
"""

from __future__ import annotations

import re
from typing import Any

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from fungi_onnx import rare
from fungi_onnx.errors import ImageDecodeError
from fungi_onnx.header import Header, incomplete, orientation_of
from fungi_onnx.pixels import RGB, on_white, to_8_bits, to_rgb

# libjpeg's warnings that mean lost data; others (an unknown JFIF revision, say) are harmless.
_JPEG_DAMAGE = re.compile(
    r"premature end|Huffman|found marker|before marker 0xd[0-9]", re.IGNORECASE
)


def decode(
    data: bytes, name: str, header: Header, *, reduction: int = 1, allow_truncated: bool = False
) -> tuple[RGB, int]:
    """Decodes a picture; of several frames or pages the first.

    Args:
        data: the file.
        name: what errors call it.
        header: what `header.read` found in ``data``.
        reduction: 1, 2, 4 or 8: a JPEG comes out that many times smaller, and sooner.
        allow_truncated: take a JPEG that is cut short or damaged as far as it goes; what is
            missing is grey.

    Returns:
        RGB uint8 [height, width, 3] as stored, and the EXIF orientation that turns it upright.

    Raises:
        ImageDecodeError: the file is damaged, cut short, or in a form that cannot be read here.
    """
    if header.format == "HEIF":
        return rare.decode_heif(data, name), 1
    if header.format == "JPEG":
        rgb = _decode_jpeg(data, name, header, reduction, strict=not allow_truncated)
        if rgb is not None:
            return rgb, header.orientation
    decoded = _decode_with_opencv(data, header)
    return decoded or (rare.decode_with_pillow(data, name, header), 1)


def _decode_jpeg(
    data: bytes, name: str, header: Header, reduction: int, *, strict: bool
) -> RGB | None:
    """None if libjpeg-turbo's API does not take this kind of JPEG."""
    # The smallest scale that it knows with at least this size is 1/reduction.
    height, width = -(-header.height // reduction), -(-header.width // reduction)
    try:
        cmyk = simplejpeg.decode_jpeg_header(data, strict=strict)[2] == "CMYK"
        pixels = simplejpeg.decode_jpeg(
            data,
            "CMYK" if cmyk else "RGB",
            min_height=height,
            min_width=width,
            strict=strict,
        )
    except (KeyError, ValueError) as error:
        if _JPEG_DAMAGE.search(str(error)):
            raise ImageDecodeError(name, incomplete("JPEG")) from None
        return _decode_jpeg(data, name, header, reduction, strict=False) if strict else None
    if cmyk:
        # Adobe's CMYK is stored inverted: 255 is no ink.
        ink = pixels[..., 3]
        return np.asarray(
            cv2.multiply(pixels[..., :3], cv2.merge((ink, ink, ink)), scale=1 / 255), np.uint8
        )
    return np.asarray(pixels, np.uint8)


def _decode_with_opencv(data: bytes, header: Header) -> tuple[RGB, int] | None:
    """None if OpenCV cannot read it, or would misread it."""
    if header.format == "BMP" and data[14] not in (40, 108, 124):
        return None  # the palettes and masks of OS/2 and the early extended headers
    if header.format == "PNG":
        data = _without_animation(data)
    # From memory and not by cv2.imread, which hands out the upper part of a file cut short.
    buffer = np.frombuffer(data, np.uint8)
    try:
        stored, kinds, blocks = cv2.imdecodeWithMetadata(buffer, cv2.IMREAD_UNCHANGED)
        if stored is None:
            return None
        if header.format == "TIFF" and stored.dtype != np.float32:
            rgb = _finish_tiff(buffer, stored)
            return None if rgb is None else (rgb, 1)
        pixels = to_8_bits(stored, header.depth if header.depth > 8 else 16)
    except (cv2.error, TypeError, ValueError):
        return None
    orientation = header.orientation
    for kind, block in zip(kinds, blocks, strict=False):
        if kind == cv2.IMAGE_METADATA_EXIF and header.format in ("PNG", "WebP"):
            orientation = orientation_of(block.tobytes())
    if pixels.ndim == 2:
        return to_rgb(pixels), orientation
    rgb = np.asarray(cv2.cvtColor(pixels[..., :3], cv2.COLOR_BGR2RGB), np.uint8)
    if pixels.shape[2] == 4 and not (header.format == "BMP" and _bmp_is_opaque(data)):
        rgb = on_white(rgb, pixels[..., 3])
    if header.format == "BMP" and data[28:30] == b"\x10\0":
        rgb = _widened(rgb)
    return rgb, orientation


def _finish_tiff(buffer: NDArray[np.uint8], stored: NDArray[Any]) -> RGB | None:
    # To eight bits, OpenCV has libtiff's own interpretation, which knows planes, bit depths and
    # photometrics that the raw samples do not tell; it multiplies the colours by alpha.
    decoded = cv2.imdecode(buffer, cv2.IMREAD_COLOR_RGB)
    if decoded is None:
        return None
    rgb = np.asarray(decoded, np.uint8)
    if stored.ndim == 2 or stored.shape[2] != 4:
        return rgb
    return on_white(rgb, to_8_bits(stored[..., 3]), premultiplied=True)


def _without_animation(data: bytes) -> bytes:
    """A PNG without its ``acTL`` chunk, which makes OpenCV skip a still image for a frame."""
    start = data.find(b"acTL", 33, data.find(b"IDAT"))
    return data if start < 0 else data[: start - 4] + data[start + 16 :]


def _bmp_is_opaque(data: bytes) -> bool:
    """Whether a BMP declares no mask for alpha; what lies in the fourth byte is then nothing."""
    return data[14] == 40 or data[66:70] == bytes(4)


def _widened(rgb: RGB) -> RGB:
    """Stretches 5 and 6 bits a sample, which OpenCV only shifts, to the full range."""
    green = 6 if np.any(rgb[..., 1] & 4) else 5
    return rgb | (rgb >> np.array([5, green, 5], np.uint8))
