"""JPEG through libjpeg-turbo (simplejpeg): exact, fast, and strict about damage.

At full size it gives bit for bit what ``tf.io.decode_jpeg(dct_method="INTEGER_ACCURATE")`` gives;
at 1/2, 1/4 or 1/8 it decodes in a fraction of the time.
"""

from __future__ import annotations

import re
import threading
from typing import NamedTuple

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from fungi_onnx.errors import ImageDecodeError
from fungi_onnx.formats import incomplete
from fungi_onnx.orientation import orientation_of

# libjpeg's warnings that cost no pixel: junk between two segments (not before RST or EOI, which end
# pixels), and oddities of segments that are not used. All others mean lost data.
_HARMLESS = re.compile(r"before marker 0x(?!d[0-79])|JFIF|Adobe|ICC|SOS parameters")
# A marker that ends a scan's data and has a length: no stuffed zero, TEM, fill byte or restart.
_END_OF_SCAN = re.compile(rb"\xff[^\0\x01\xff\xd0-\xd7]")
_SEGMENT = re.compile(rb"\xff[\xc0-\xcf\xda-\xfe]")  # a marker that has a length
_MOST_SCANS = 100  # real progressive files have 10 or so; each costs a pass over all pixels
_MOST_SCANNED_PIXELS = 4_000_000_000
_MOST_KEPT = 75_000_000  # bytes a thread: 25 megapixels
_thread = threading.local()
_MOST_SEGMENTS = 10_000  # before the pixels; real files have some dozens at most


class JPEGHeader(NamedTuple):
    """What a JPEG says about itself.

    Attributes:
        width, height: in pixels, as stored.
        orientation: how EXIF says it is turned upright, 1 to 8.
        cmyk: four inks, not RGB or grey.
    """

    width: int
    height: int
    orientation: int
    cmyk: bool


def read_header(data: bytes) -> JPEGHeader | None:
    """Reads the head; None if libjpeg-turbo's API does not take this kind of JPEG."""
    try:
        height, width, colourspace, _ = simplejpeg.decode_jpeg_header(data, strict=False)
    except (KeyError, ValueError):
        return None
    return JPEGHeader(width, height, _orientation(data), colourspace == "CMYK")


def decode(
    data: bytes,
    name: str,
    header: JPEGHeader,
    *,
    reduction: int = 1,
    allow_truncated: bool = False,
    passing: bool = False,
) -> NDArray[np.uint8] | None:
    """Decodes at 1/``reduction`` (1, 2, 4 or 8) of the size.

    Args:
        allow_truncated: take a file that is cut short or damaged as far as it goes; what is
            missing is grey.
        passing: the pixels are needed until the thread's next call only, and may lie in memory
            that this will use again.

    Returns:
        RGB uint8 [height, width, 3] as stored; None for an oddity that costs no pixel but that
        libjpeg-turbo's API takes for an error.

    Raises:
        ImageDecodeError: the file is damaged or cut short.
    """
    size = header.width * header.height * (4 if header.cmyk else 3)
    buffer = None
    if allow_truncated:  # of a progressive file libjpeg may leave parts as they were in memory
        buffer = np.full(size, 128, np.uint8)
    elif passing and size <= _MOST_KEPT:
        buffer = _kept_memory(size)
    try:
        pixels = simplejpeg.decode_jpeg(
            data,
            "CMYK" if header.cmyk else "RGB",
            # The smallest scale with at least this size is 1/reduction.
            min_height=-(-header.height // reduction),
            min_width=-(-header.width // reduction),
            strict=not allow_truncated,
            buffer=buffer,
        )
    except (KeyError, ValueError) as error:
        if _HARMLESS.search(str(error)):
            return None
        raise ImageDecodeError(name, incomplete("JPEG")) from None
    if header.cmyk:
        import cv2

        # Adobe's CMYK is stored inverted: 255 is no ink.
        ink = pixels[..., 3]
        pixels = cv2.multiply(pixels[..., :3], cv2.merge((ink, ink, ink)), scale=1 / 255)
    return np.asarray(pixels, np.uint8)


def _kept_memory(size: int) -> NDArray[np.uint8]:
    """The thread's own memory of at least ``size`` bytes, kept from picture to picture.

    Fresh memory has to be cleared and mapped by the system: that takes a sixth of the time of a
    12-megapixel decode, and two threads get in each other's way (42 decodes a second, not 53).
    """
    kept: NDArray[np.uint8] | None = getattr(_thread, "memory", None)
    if kept is None or len(kept) < size:
        _thread.memory = None  # the smaller one goes first
        _thread.memory = kept = np.empty(size, np.uint8)
    return kept


def check_scans(data: bytes, name: str, pixels: int) -> None:
    """Raises ImageDecodeError for a progressive JPEG in absurdly many scans.

    Fourteen bytes can ask for one more pass over all the pixels.
    """
    most = min(_MOST_SCANS, max(1, _MOST_SCANNED_PIXELS // pixels))
    if _is_of_one_scan(data) or data.count(b"\xff\xda") <= most:
        return
    at, scans = 2, 0
    while marker := _END_OF_SCAN.search(data, at):
        at = marker.end()
        kind = data[at - 1]
        if kind == 0xD9:  # EOI: what follows, a motion photo's video say, is not decoded
            return
        scans += kind == 0xDA
        if scans > most:
            raise ImageDecodeError(name, f"is a JPEG picture in more than {most} scans")
        at += int.from_bytes(data[at : at + 2])


def _orientation(data: bytes) -> int:
    """The orientation, 1 to 8, in the EXIF segments before the first scan."""
    at = 2
    for _ in range(_MOST_SEGMENTS):
        marker = _SEGMENT.search(data, at)  # junk between the segments is passed over by libjpeg
        if marker is None or marker[0] == b"\xff\xda":
            break
        at = marker.end()
        length = int.from_bytes(data[at : at + 2])
        if marker[0] == b"\xff\xe1" and data.startswith(b"Exif\0\0", at + 2):
            orientation = orientation_of(data[at + 8 : at + length])
            if orientation != 1:
                return orientation
        at += max(length, 2)
    return 1


def _is_of_one_scan(data: bytes) -> bool:
    """Whether it is plainly a sequential JPEG whose first scan has all components, as most are.

    libjpeg reads no further then. To look through megabytes for more scans takes a millisecond.
    """
    at, components = 2, b""
    for _ in range(_MOST_SEGMENTS):
        marker, length = data[at : at + 2], int.from_bytes(data[at + 2 : at + 4])
        if marker in (b"\xff\xc0", b"\xff\xc1"):  # SOF of baseline and extended sequential
            components = data[at + 9 : at + 10]
        elif marker == b"\xff\xda":  # SOS
            return data[at + 4 : at + 5] == components != b""
        elif not _SEGMENT.fullmatch(marker):  # fill bytes, too: they shift what follows
            return False
        at += 2 + length
    return False
