"""Every format but JPEG and PNG through Pillow, whose readers are made for hostile files.

OpenCV, where it decodes the same formats, crashes on some broken files, takes gigabytes for others
and tells neither orientation nor transparency. HEIF needs the extra ``heif`` (pillow-heif, which is
libheif).
"""

from __future__ import annotations

import struct
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import cv2
import imagesize
import numpy as np
from PIL import ImageFile

from fungi_onnx import jpeg2000
from fungi_onnx.errors import ImageDecodeError, ImageError
from fungi_onnx.formats import incomplete
from fungi_onnx.limits import Limits
from fungi_onnx.pixels import RGB, on_white, to_8_bits, to_rgb
from fungi_onnx.source import FrugalBytes

_READERS = {
    "AVIF": ("PIL.AvifImagePlugin", "AvifImageFile"),
    "BMP": ("PIL.BmpImagePlugin", "BmpImageFile"),
    "GIF": ("PIL.GifImagePlugin", "GifImageFile"),
    "HEIF": ("pillow_heif", "HeifImageFile"),
    "JPEG": ("PIL.JpegImagePlugin", "JpegImageFile"),
    "JPEG 2000": ("PIL.Jpeg2KImagePlugin", "Jpeg2KImageFile"),
    "PNM": ("PIL.PpmImagePlugin", "PpmImageFile"),
    "TIFF": ("PIL.TiffImagePlugin", "TiffImageFile"),
    "WebP": ("PIL.WebPImagePlugin", "WebPImageFile"),
}
_ORIENTATION = 0x0112  # of EXIF and TIFF
# TIFF 6.0
_IMAGE_WIDTH, _IMAGE_LENGTH, _BITS_PER_SAMPLE, _TILE_WIDTH, _TILE_LENGTH = 256, 257, 258, 322, 323
_TYPE_SIZES = {3: 2, 4: 4, 5: 8, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
# What makes the layout; all are SHORT, LONG or LONG8.
_LAYOUT = {256, 257, 258, 259, 262, 266, 277, 278, 284, 317, 322, 323, 338, 339}
# Reads of the file that Pillow, step by step in Python, may need: strips and run lengths take one
# each or two, the heads of the other formats hardly a hundred.
_MOST_READS = {"BMP": 500_000, "TIFF": 1_000_000}
_MOST_COMMENTS = 1_000
_MOST_TILES = 100  # phones cut 12 megapixels into 48


def decode(data: bytes, name: str, format_: str, limits: Limits) -> tuple[RGB, int]:
    """Decodes a picture; of several frames or pages the first.

    Args:
        data: the file.
        name: what errors call it.
        format_: what `formats.format_of` said.
        limits: checked before anything is decoded.

    Returns:
        RGB uint8 [height, width, 3] as stored, and the EXIF orientation that turns it upright.

    Raises:
        ImageTooLargeError: the picture is beyond a limit.
        ImageDecodeError: the file is damaged, cut short, or in a form that cannot be read here.
    """
    if format_ == "HEIF" and find_spec("pillow_heif") is None:
        raise ImageDecodeError(
            name, "is a HEIF picture (HEIC); for these: pip install 'fungi-onnx[heif]'"
        )
    if format_ == "JPEG 2000" and not jpeg2000.is_sane(data):
        raise ImageDecodeError(name, incomplete(format_))
    if format_ == "PNM" and data[1:2] in b"123" and data.count(b"#") > _MOST_COMMENTS:
        raise ImageDecodeError(name, incomplete(format_))  # each costs Pillow a copy
    if format_ == "AVIF" and data.count(b"av01") > _MOST_TILES:
        raise ImageDecodeError(name, incomplete(format_))  # each may be a large picture scaled down
    if format_ == "WebP":  # its reader makes room for all pixels at once
        width, height = imagesize.get(FrugalBytes(data, 10))
        limits.check_size(width, height, name)
    module, reader = _READERS[format_]
    try:
        if format_ == "TIFF":
            _check_directory(data)
        file = FrugalBytes(data, _MOST_READS.get(format_, 10_000))
        with getattr(import_module(module), reader)(file) as picture:
            limits.check_size(picture.width, picture.height, name)
            rgb = _rgb(picture, data, name, format_)
            turn = picture.getexif().get(_ORIENTATION)
            return rgb, turn if isinstance(turn, int) and 1 <= turn <= 8 else 1
    except ImageError:
        raise
    except Exception:  # the readers raise all sorts of things on broken files
        raise ImageDecodeError(name, f"{incomplete(format_)}, or of a rare kind") from None


def _rgb(picture: ImageFile.ImageFile, data: bytes, name: str, format_: str) -> RGB:
    if format_ == "TIFF":
        tags: Any = picture.tag_v2  # type: ignore[attr-defined]
        _check_tiles(tags)
        picture.load()
        if picture.mode in ("RGB", "RGBA") and set(tags[_BITS_PER_SAMPLE]) == {16}:
            return _tiff_of_16_bits(data, picture)
    picture.load()
    if picture.mode.startswith("I;16") or (picture.mode == "I" and format_ == "PNM"):
        return to_rgb(to_8_bits(np.asarray(picture).astype(np.uint16)))
    if picture.mode in ("I", "F"):
        try:
            return to_rgb(to_8_bits(np.asarray(picture)))
        except (TypeError, ValueError) as error:
            raise ImageDecodeError(name, f"cannot be used: {error}") from None
    return to_rgb(np.asarray(picture.convert("RGBA" if picture.has_transparency_data else "RGB")))


def _check_directory(data: bytes) -> None:
    """Raises ValueError or struct.error where Pillow and libtiff may read different things.

    That is where something of the layout is said twice or in an odd type. And where tags are cut
    off: Pillow only warns, and alpha and orientation may be among them.
    """
    order = "<" if data.startswith(b"II") else ">"
    big = struct.unpack_from(f"{order}H", data, 2) == (43,)
    word, short, head = ("Q", "Q", 8) if big else ("I", "H", 4)
    (start,) = struct.unpack_from(order + word, data, head)
    (count,) = struct.unpack_from(order + short, data, start)
    entry = struct.Struct(f"{order}HH{word}{word}")
    first = start + struct.calcsize(order + short)
    if count > 65_535 or first + count * entry.size > len(data):
        raise ValueError("a cut directory")
    seen = set()
    for at in range(first, first + count * entry.size, entry.size):
        tag, kind, number, offset = entry.unpack_from(data, at)
        length = number * _TYPE_SIZES.get(kind, 1)
        if length > struct.calcsize(order + word) and offset + length > len(data):
            raise ValueError("a tag's values are cut off")
        if tag in _LAYOUT and (tag in seen or kind not in (3, 4, 16)):
            raise ValueError("an ambiguous layout")
        seen.add(tag)


def _check_tiles(tags: Any) -> None:
    """libtiff decodes whole tiles, however small the picture."""
    width, height = tags[_IMAGE_WIDTH], tags[_IMAGE_LENGTH]
    wide, high = tags.get(_TILE_WIDTH, width), tags.get(_TILE_LENGTH, height)
    across, down = -(-width // wide), -(-height // high)
    if across * wide * down * high > max(16 * width * height, 1 << 22):
        raise ValueError("tiles out of all proportion")
    if across * down > 10_000 + width * height // 1024:
        raise ValueError("too many tiles")


def _tiff_of_16_bits(data: bytes, picture: ImageFile.ImageFile) -> RGB:
    """To eight bits, OpenCV lets libtiff convert, which rounds; and multiplies by alpha."""
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    rgb = np.asarray(decoded, np.uint8)
    if rgb.shape[1::-1] != picture.size:
        raise ValueError("two opinions on the size")
    if picture.mode == "RGB":
        return rgb
    return on_white(rgb, np.asarray(picture)[..., 3], premultiplied=True)
