"""Every format but JPEG and PNG through Pillow, whose readers are made for hostile files.

OpenCV, where it decodes the same formats, crashes on some broken files, takes gigabytes for others
and tells neither orientation nor transparency. HEIF needs the extra ``heif`` (pillow-heif, which is
libheif).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import cv2
import imagesize
import numpy as np
from PIL import ImageFile

from fungi_onnx import avif, jpeg2000, tiff
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
_BITS_PER_SAMPLE = 258  # of TIFF
# Reads of the file that Pillow, step by step in Python, may need: strips and run lengths take one
# each or two, the heads of the other formats hardly a hundred.
_MOST_READS = {"BMP": 500_000, "TIFF": 1_000_000}
_MOST_COMMENTS = 1_000  # of a PNM in text; each costs Pillow a copy
_OVERLAY = re.compile(rb"infe.{8,10}iovl", re.DOTALL)  # an item's head and type: ISO 23008-12
_MOST_LAYERS = 6  # coded pixels for one shown: alpha, a gain map, a thumbnail, progressive layers
# What the readers and the C libraries behind them do not guard against themselves.
_GUARDS: dict[str, Callable[[bytes], bool]] = {
    "HEIF": lambda data: not _OVERLAY.search(data),  # a canvas of any size
    "JPEG 2000": jpeg2000.is_sane,
    "PNM": lambda data: data[1:2] not in b"123" or data.count(b"#") <= _MOST_COMMENTS,
    "TIFF": tiff.is_sane,
}


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
            name,
            "is a HEIF picture (HEIC), which cannot be read here",
            "; for these: pip install 'fungi-onnx[heif]'",
        )
    guard = _GUARDS.get(format_)
    if guard is not None and not guard(data):
        raise ImageDecodeError(name, incomplete(format_))
    module, reader = _READERS[format_]
    try:
        if format_ == "WebP":  # its reader makes room for all pixels at once
            width, height = imagesize.get(FrugalBytes(data, 10))
            limits.check_size(width, height, name)
        elif format_ == "AVIF":  # and this one decodes frames that are larger than they are shown
            limits.check_pixels(avif.coded_pixels(data) // _MOST_LAYERS, name)
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
    picture.load()
    tags: Any = getattr(picture, "tag_v2", {})
    if picture.mode in ("RGB", "RGBA") and set(tags.get(_BITS_PER_SAMPLE, ())) == {16}:
        return _tiff_of_16_bits(data, picture)
    if picture.mode.startswith("I;16") or (picture.mode == "I" and format_ == "PNM"):
        return to_rgb(to_8_bits(np.asarray(picture).astype(np.uint16)))
    if picture.mode in ("I", "F"):
        try:
            return to_rgb(to_8_bits(np.asarray(picture)))
        except (TypeError, ValueError) as error:
            raise ImageDecodeError(name, f"cannot be used: {error}") from None
    return to_rgb(np.asarray(picture.convert("RGBA" if picture.has_transparency_data else "RGB")))


def _tiff_of_16_bits(data: bytes, picture: ImageFile.ImageFile) -> RGB:
    """To eight bits, OpenCV lets libtiff convert, which rounds; and multiplies by alpha."""
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    rgb = np.asarray(decoded, np.uint8)
    if rgb.shape[1::-1] != picture.size:
        raise ValueError("two opinions on the size")
    if picture.mode == "RGB":
        return rgb
    return on_white(rgb, np.asarray(picture)[..., 3], premultiplied=True)
