"""Which format a file is in, by its first bytes."""

from __future__ import annotations

KNOWN = "JPEG, PNG, WebP, AVIF, GIF, TIFF, BMP, JPEG 2000, PNM, HEIF"

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
_HEIF = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}


def format_of(data: bytes) -> str | None:
    """One of `KNOWN`, or None."""
    for format_, signature in _SIGNATURES:
        if data.startswith(signature):
            return format_
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    if data[4:8] == b"ftyp":  # ISO 14496-12: length, type, brand, version, more brands
        end = min(int.from_bytes(data[:4]), 256)
        brands = {data[at : at + 4] for at in range(8, end, 4) if at != 12}
        if brands & {b"avif", b"avis"}:
            return "AVIF"
        if brands & _HEIF:
            return "HEIF"
    return None


def incomplete(format_: str) -> str:
    """The reason that is given for a file that is cut short or damaged."""
    article = "an" if format_ == "AVIF" else "a"
    return f"is {article} {format_} picture that is damaged or cut short"
