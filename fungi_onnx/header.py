"""What a picture says about itself before it is decoded: format, size, orientation.

Reading this costs microseconds and no memory, however large the picture claims to be, so that
limits are checked first.
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass

import imagesize
import simplejpeg

from fungi_onnx import isobmff
from fungi_onnx.errors import ImageDecodeError, ImageTooLargeError

_SIGNATURES = (
    ("JPEG", b"\xff\xd8"),
    ("PNG", b"\x89PNG\r\n\x1a\n"),
    ("GIF", b"GIF87a"),
    ("GIF", b"GIF89a"),
    ("TIFF", b"II*\0"),
    ("TIFF", b"MM\0*"),
    ("TIFF", b"II+\0"),
    ("BMP", b"BM"),
    ("JPEG 2000", b"\0\0\0\x0cjP  \r\n\x87\n"),
    ("JPEG 2000", b"\xff\x4f\xff\x51"),
    *(("PNM", b"P%d" % number) for number in range(1, 7)),
)
FORMATS = "JPEG, PNG, WebP, AVIF, GIF, TIFF, BMP, JPEG 2000, PNM"


@dataclass(frozen=True)
class Limits:
    """What a picture may be at most; checked before anything is decoded.

    Attributes:
        max_width, max_height: in pixels, as stored.
        max_pixels: width times height.
        max_bytes: size of the file.
    """

    max_width: int = 65_535
    max_height: int = 65_535
    max_pixels: int = 200_000_000
    max_bytes: int = 100_000_000

    def check_size(self, width: int, height: int, name: str) -> None:
        """Raises ImageTooLargeError if a picture of this size is beyond a limit."""
        for what, found, limit, field in (
            ("wide", width, self.max_width, "max_width"),
            ("high", height, self.max_height, "max_height"),
        ):
            if found > limit:
                raise ImageTooLargeError(
                    name, f"is {found:,} pixels {what}; the limit is {limit:,} (Limits.{field})"
                )
        if width * height > self.max_pixels:
            raise ImageTooLargeError(
                name,
                f"has {width:,} × {height:,} = {width * height:,} pixels; the limit is"
                f" {self.max_pixels:,} (--max-megapixels, Limits.max_pixels)",
            )

    def check_bytes(self, count: int, name: str) -> None:
        """Raises ImageTooLargeError if a file of ``count`` bytes is too large."""
        if count > self.max_bytes:
            raise ImageTooLargeError(
                name,
                f"has {count:,} bytes; the limit is {self.max_bytes:,} (--max-megabytes,"
                " Limits.max_bytes)",
            )


@dataclass(frozen=True)
class Header:
    """A picture's head.

    Attributes:
        format: one of `FORMATS`, or ``"HEIF"``.
        width, height: in pixels, as stored.
        orientation: how the stored picture is turned upright, as EXIF numbers it, 1 to 8. Only
            for JPEG and AVIF; the other formats' decoders tell or turn.
        depth: bits a sample, for AVIF and JPEG 2000, whose 10 or 12 bits come out in 16.
    """

    format: str
    width: int
    height: int
    orientation: int = 1
    depth: int = 8


def read(data: bytes, name: str) -> Header:
    """Reads the head of a file.

    Args:
        data: the file.
        name: what errors call it.

    Raises:
        ImageDecodeError: not a picture in one of `FORMATS`, or its head is damaged.
    """
    if not data:
        raise ImageDecodeError(name, "is empty (0 bytes)")
    format_ = _format(data)
    if format_ is None:
        raise ImageDecodeError(name, f"is not a picture in a known format ({FORMATS})")
    try:
        header = _READERS.get(format_, _read_with_imagesize)(format_, data)
    except (ValueError, OverflowError, IndexError, struct.error):
        header = Header(format_, 0, 0)
    if header.width < 1 or header.height < 1:
        raise ImageDecodeError(name, incomplete(format_))
    return header


def incomplete(format_: str) -> str:
    """The reason that is given for a file that is cut short or damaged."""
    article = "an" if format_ == "AVIF" else "a"
    return f"is {article} {format_} picture that is damaged or cut short"


def orientation_of(exif: bytes) -> int:
    """The orientation in an EXIF block, 1 to 8; 1 if it holds none.

    Args:
        exif: a TIFF structure (EXIF 2.32, 4.5.2); its first IFD's tag 0x0112 is looked for.
    """
    exif = exif.removeprefix(b"Exif\0\0")
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


def _format(data: bytes) -> str | None:
    for format_, signature in _SIGNATURES:
        if data.startswith(signature):
            return format_
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    brands = isobmff.brands(data)
    if brands & {b"avif", b"avis"}:
        return "AVIF"
    if brands & {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}:
        return "HEIF"
    return None


class _Frugal(io.BytesIO):
    """Gives up after many small reads.

    imagesize looks for the next marker, box or tag step by step in Python; a hostile file could
    keep it busy for minutes.
    """

    reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads += 1
        if self.reads > 10_000:
            raise ValueError("the head does not end")
        return super().read(size)


def _read_with_imagesize(format_: str, data: bytes) -> Header:
    info = imagesize.get_info(
        _Frugal(data), dpi=False, colors=False, channels=False, exif_rotation=False
    )
    return Header(format_, info.width, info.height)


def _read_jpeg(format_: str, data: bytes) -> Header:
    try:
        info = imagesize.get_info(_Frugal(data), dpi=False, channels=False, exif_rotation=False)
    except (ValueError, OverflowError, struct.error):
        info = imagesize.ImageInfo()  # stumbles over junk that libjpeg skips
    try:
        height, width, *_ = simplejpeg.decode_jpeg_header(data, strict=False)
    except (KeyError, ValueError):  # of a kind that only OpenCV reads, or no JPEG
        width, height = info.width, info.height
    return Header(format_, width, height, info.rotation if 1 <= info.rotation <= 8 else 1)


def _read_isobmff(format_: str, data: bytes) -> Header:
    # imagesize 2.0 fails on every `irot` box and does not know `imir`.
    width, height, orientation, depth = isobmff.read(data)
    # libheif turns HEIF itself.
    return Header(format_, width, height, orientation if format_ == "AVIF" else 1, depth)


def _read_bmp(format_: str, data: bytes) -> Header:
    # imagesize does not know the 12-byte header of OS/2 and Windows 2.
    if data[14:18] == b"\x0c\0\0\0":
        return Header(format_, *struct.unpack_from("<HH", data, 18))
    return _read_with_imagesize(format_, data)


def _read_jpeg2000(format_: str, data: bytes) -> Header:
    # The code stream's own SIZ segment (ISO 15444-1, A.5.1), which is what the decoder goes by;
    # imagesize reads the box around it, and no bare code stream.
    start = data.index(b"\xff\x4f\xff\x51")
    right, bottom, left, top = struct.unpack_from(">IIII", data, start + 8)
    return Header(format_, right - left, bottom - top, depth=(data[start + 42] & 0x7F) + 1)


_READERS = {
    "JPEG": _read_jpeg,
    "AVIF": _read_isobmff,
    "BMP": _read_bmp,
    "HEIF": _read_isobmff,
    "JPEG 2000": _read_jpeg2000,
}
