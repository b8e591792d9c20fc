"""Pictures that only optional packages read: HEIF, and the odd forms of TIFF, BMP and JPEG 2000.

Both come with the extra ``heif``: pillow-heif (libheif) and the Pillow that it needs.
"""

from __future__ import annotations

import io
from importlib.util import find_spec

import numpy as np

from fungi_onnx.errors import ImageDecodeError
from fungi_onnx.header import Header, incomplete
from fungi_onnx.pixels import RGB, to_8_bits, to_rgb

# Of these, OpenCV does not read every kind.
_PILLOW_NAMES = {"BMP": "BMP", "JPEG 2000": "JPEG2000", "TIFF": "TIFF"}


def decode_heif(data: bytes, name: str) -> RGB:
    """Decodes HEIC and its kin, turned upright by libheif.

    Raises:
        ImageDecodeError: the file is damaged, or the extra is not installed.
    """
    if find_spec("pillow_heif") is None:
        raise ImageDecodeError(
            name, "is a HEIF picture (HEIC); for these: pip install 'fungi-onnx[heif]'"
        )
    import pillow_heif  # noqa: PLC0415 optional

    try:
        return to_rgb(to_8_bits(np.asarray(pillow_heif.open_heif(io.BytesIO(data)))))
    except Exception:  # libheif's errors come as half a dozen types
        raise ImageDecodeError(name, incomplete("HEIF")) from None


def decode_with_pillow(data: bytes, name: str, header: Header) -> RGB:
    """Decodes what OpenCV could not, turned upright.

    Raises:
        ImageDecodeError: Pillow cannot either, or is not installed.
    """
    reason = incomplete(header.format)
    if header.format not in _PILLOW_NAMES:
        raise ImageDecodeError(name, reason)
    if find_spec("PIL") is None:
        raise ImageDecodeError(
            name, f"{reason}, or of a rare kind: try pip install 'fungi-onnx[heif]'"
        )
    from PIL import Image, ImageOps  # noqa: PLC0415 optional

    try:
        file = io.BytesIO(data)
        with Image.open(file, formats=[_PILLOW_NAMES[header.format]]) as picture:
            upright = ImageOps.exif_transpose(picture)
            if upright.mode in ("I", "F"):  # of unknown range
                raise ValueError(upright.mode)
            if upright.mode.startswith("I;16"):
                return to_rgb(to_8_bits(np.asarray(upright, np.uint16)))
            return to_rgb(np.asarray(upright.convert("RGBA")))
    except Exception:  # Pillow's readers raise all sorts of things on broken files
        raise ImageDecodeError(name, reason) from None
