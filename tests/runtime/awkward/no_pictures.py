"""Files that are no pictures: too large, unknown, broken."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image

from fungi_onnx import ImageDecodeError, ImageTooLargeError

from .bmps import bmp
from .jpegs import mpo, with_jpeg_size
from .others import pnm
from .pngs import SIGNATURE, chunk, png, rows
from .scene import (
    DAMAGED,
    GREY,
    HEIGHT,
    OTHER,
    RED,
    RGB,
    SCENE,
    UNKNOWN,
    WIDTH,
    File,
    box,
    exif,
    found,
    pillow,
    replaced,
    with_size,
)
from .tiffs import Tags, float_tags, tiff, tiff_of, tiff_tags


def heic(height: int, width: int) -> bytes:
    """The boxes of a HEIC that say how large it is, and no picture."""
    size = box(b"ispe", struct.pack(">III", 0, width, height))
    properties = box(b"ipco", size) + box(b"ipma", struct.pack(">IIHBB", 0, 1, 1, 1, 1))
    item = box(b"pitm", struct.pack(">IH", 0, 1))
    meta = box(b"meta", bytes(4) + item + box(b"iprp", properties))
    return box(b"ftyp", b"heic\0\0\0\0mif1heic") + meta


def too_large() -> Iterator[File]:
    """Small files that declare 30,000 × 30,000 pixels, or more."""

    def huge(name: str, data: bytes, height: int = 30_000, width: int = 30_000) -> File:
        reason = (
            rf"has {width:,} × {height:,} = {width * height:,} pixels; the limit is 200,000,000 \("
            if max(height, width) <= 65_535
            else r"is \d[\d,]+ pixels (wide|high); the limit is 65,535 \("
        )
        return File(name, data, None, None, error=ImageTooLargeError, reason=reason)

    def png_of(width: int, height: int) -> bytes:
        head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        return (
            SIGNATURE + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND")
        )

    yield huge("PNG of 30,000 x 30,000", png_of(30_000, 30_000))
    yield huge("PNG of 2,000,000,000 x 1", png_of(2_000_000_000, 1), 1, 2_000_000_000)
    yield huge("PNG of 1 x 65,536", png_of(1, 65_536), 65_536, 1)
    for name, jpeg in (("JPEG", pillow(RGB, "JPEG")), ("JPEG progressive", mpo())):
        yield huge(f"{name} of 30,000 x 30,000", with_jpeg_size(jpeg, 30_000, 30_000))
    yield huge(
        "GIF of 30,000 x 30,000", with_size(pillow(RGB, "GIF"), b"GIF87a", 0, "<HH", 30_000, 30_000)
    )
    data = with_size(pillow(RGB, "GIF"), b"GIF87a", 0, "<HH", 50_000, 40_000)
    yield huge("GIF of 50,000 x 40,000", data, 40_000, 50_000)
    most = (29_999).to_bytes(3, "little")
    webp = pillow(RGB, "WEBP", exif=exif(1))
    yield huge("WebP of 30,000 x 30,000", replaced(webp, found(webp, b"VP8X", 8), most + most))
    data = with_size(pillow(RGB, "WEBP"), b"\x9d\x01\x2a", 0, "<HH", 16_383, 16_383)
    yield huge("WebP lossy of 16,383 x 16,383", data, 16_383, 16_383)
    # Of a single colour, whose pixels take no bits: as whole as any.
    webp = pillow(Image.new("RGB", (8, 8), RED), "WEBP", lossless=True)
    data = replaced(webp, found(webp, b"VP8L", 5), b"\xff\xff\xff\x0f")
    yield huge("WebP lossless of 16,384 x 16,384", data, 16_384, 16_384)
    large: Tags = {256: (4, [30_000]), 257: (4, [30_000])}
    yield huge("TIFF of 30,000 x 30,000", tiff_of(SCENE, 2, large))
    yield huge("TIFF of 64 bits, of 30,000 x 30,000", tiff_of(SCENE, 2, large, big=True))
    yield huge("BMP of 30,000 x 30,000", with_size(bmp(24, b""), b"BM", 16, "<ii", 30_000, -30_000))
    data = with_size(bmp(24, b"", head=12), b"BM", 16, "<HH", 30_000, 30_000)
    yield huge("BMP of OS/2, of 30,000 x 30,000", data)
    for bare in (False, True):
        sizes_and_tiles = (30_000, 30_000, 0, 0, 30_000, 30_000)
        data = pillow(RGB, "JPEG2000", no_jp2=bare)
        data = with_size(data, b"\xff\x51", 4, ">6I", *sizes_and_tiles)
        if not bare:
            data = with_size(data, b"ihdr", 0, ">II", 30_000, 30_000)
        name = f"JPEG-2000 {'code stream ' if bare else ''}of 30,000 x 30,000"
        yield huge(name, data)
    yield huge("PNM of 30,000 x 30,000", b"P6 30000 30000 255\n")


def liars() -> Iterator[tuple[str, bytes]]:
    """Pictures of 1,200 × 1,200 pixels, or with a part of that size, whose head says 53 × 37."""
    large = Image.new("L", (1200, 1200), 90)
    jp2, avif = pillow(large, "JPEG2000", no_jp2=False), pillow(large, "AVIF", speed=10)
    small = pillow(RGB, "JPEG2000", no_jp2=True)
    yield "JPEG-2000", with_size(jp2, b"ihdr", 0, ">II", HEIGHT, WIDTH)
    at = jp2.index(b"jp2h") - 4
    yield "JPEG-2000 with a decoy", jp2[:at] + box(b"free", small[:100]) + jp2[at:]
    yield "AVIF", with_size(avif, b"ispe", 4, ">II", WIDTH, HEIGHT)
    gif = pillow(large, "GIF")
    yield "GIF", with_size(gif, gif[:6], 0, "<HH", WIDTH, HEIGHT)
    for name, options in (("WebP", {"exif": exif(1)}), ("WebP animated", {"save_all": True})):
        frames = {"append_images": [OTHER.resize((1200, 1200))]} if "save_all" in options else {}
        webp = pillow(large, "WEBP", lossless=True, **options, **frames)
        size = (WIDTH - 1).to_bytes(3, "little") + (HEIGHT - 1).to_bytes(3, "little")
        yield name, replaced(webp, found(webp, b"VP8X", 8), size)


def no(name: str, data: bytes, reason: str = DAMAGED) -> File:
    return File(name, data, None, None, error=ImageDecodeError, reason=reason)


def unknown() -> Iterator[File]:
    yield no("nothing", b"", r"is empty \(0 bytes\)")
    for name, data in {
        "one byte": b"\xff",
        "text": b"not a picture at all\n" * 50,
        "HTML": b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
        "SVG": b'<svg xmlns="http://www.w3.org/2000/svg" width="53" height="37"></svg>',
        "SVG with a declaration": b'<?xml version="1.0"?><svg width="53" height="37"/>',
        "ICO": pillow(RGB, "ICO"),
        "TGA": pillow(RGB, "TGA"),
        "PDF": b"%PDF-1.4\n1 0 obj <</Type /Catalog>> endobj\n",
        "PSD": b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, HEIGHT, WIDTH, 8, 3) + bytes(99),
        "EXR": b"\x76\x2f\x31\x01\2\0\0\0channels\0" + bytes(99),
        "MP4": box(b"ftyp", b"isom\0\0\2\0isomiso2avc1mp41") + box(b"mdat", bytes(99)),
        "WAV": b"RIFF\x24\0\0\0WAVEfmt " + bytes(99),
        "JPEG XL": b"\xff\x0a" + bytes(99),
        "ZIP": b"PK\3\4" + bytes(99),
        "zeros": bytes(999),
        "TIFF of 64 bits, big-endian": tiff_of(SCENE, 2, order=">", big=True),
        "PNG after a line break": b"\n" + png(SCENE, 2),
    }.items():
        yield no(name, data, UNKNOWN)


def broken_pngs() -> Iterator[File]:
    whole = png(SCENE, 2)
    start = whole.index(b"IDAT")
    length = int.from_bytes(whole[start - 4 : start])
    end = start + 4 + length
    yield no("PNG with a wrong checksum", replaced(whole, end, b"oops"))
    yield no("PNG with a wrong checksum of its head", replaced(whole, 29, b"oops"))
    zeros = chunk(b"IDAT", bytes(length))
    yield no("PNG with zeroed pixels", whole[: start - 4] + zeros + whole[end + 4 :])
    yield no(
        "PNG with zeroed pixels and the old checksum", replaced(whole, start + 4, bytes(length))
    )
    yield no("PNG without pixels", whole[: start - 4] + whole[end + 4 :])
    short = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows(SCENE[:20]))))
    yield no("PNG with half its rows", whole[: start - 4] + short + whole[end + 4 :])
    yield no("PNG that was sent as text", whole.replace(b"\r\n", b"\n"), UNKNOWN)
    head = struct.pack(">IIBBBBB", 0, HEIGHT, 8, 2, 0, 0, 0)
    yield no("PNG of no width", SIGNATURE + chunk(b"IHDR", head) + whole[33:])
    yield no("PNG of an unknown colour type", png(SCENE, 5))
    yield no("PNG, only its signature", SIGNATURE)


def broken() -> Iterator[File]:
    noise = np.random.default_rng(0).integers(0, 256, (160, 200, 3), np.uint8)
    for name, options in (("JPEG", {}), ("JPEG progressive", {"progressive": True})):
        large = pillow(Image.fromarray(noise), "JPEG", quality=90, **options)
        middle = len(large) // 2
        yield no(f"{name} with 200 zeros", replaced(large, middle, bytes(200)))
        yield no(f"{name} cut short, with an end", large[:middle] + b"\xff\xd9")
    jpeg = pillow(RGB, "JPEG")
    yield no("JPEG of nothing but start and end", b"\xff\xd8\xff\xd9")
    yield no("JPEG without a scan", jpeg[: jpeg.index(b"\xff\xda")] + b"\xff\xd9")
    yield no("JPEG of no height", with_jpeg_size(jpeg, 0, WIDTH))
    yield no("JPEG of twice the height", with_jpeg_size(jpeg, 2 * HEIGHT, WIDTH))

    gif = pillow(RGB, "GIF", interlace=0)
    image = gif.index(b",\0\0\0\0")
    yield no("GIF of nothing but a head", gif[:13])
    yield no("GIF of nothing but head and end", gif[:image] + b";")
    yield no("GIF cut short, with an end", gif[: (image + len(gif)) // 2] + b"\0;")
    webp = pillow(RGB, "WEBP")
    yield no("WebP whose RIFF is longer than the file", replaced(webp, 4, struct.pack("<I", 9999)))
    yield no(
        "WebP whose RIFF is shorter than its picture", replaced(webp, 4, struct.pack("<I", 99))
    )
    yield no("WebP of an unknown kind", replaced(webp, 12, b"abcd"))
    yield no("WebP of nothing but a head", b"RIFF\4\0\0\0WEBP")
    avif = pillow(RGB, "AVIF")
    pixels = avif.index(b"mdat") + 4
    yield no("AVIF with zeroed pixels", replaced(avif, pixels, bytes(len(avif) - pixels)))
    # Larger than what is coded, which libavif notices before anyone sees the size.
    yield no("AVIF of 30,000 x 30,000", with_size(avif, b"ispe", 4, ">II", 30_000, 30_000))
    yield no("AVIF without its boxes", avif[: int.from_bytes(avif[:4])])
    yield no(
        "AVIF whose picture is elsewhere", avif.replace(b"pitm\0\0\0\0\0\1", b"pitm\0\0\0\0\0\7")
    )


def more_broken() -> Iterator[File]:
    tags = tiff_tags(SCENE, 8, 2)
    yield no("TIFF whose directory is elsewhere", b"II*\0" + struct.pack("<I", 2**31) + bytes(99))
    yield no("TIFF whose directory is itself", b"II*\0\0\0\0\0" + bytes(99))
    yield no(
        "TIFF of 64 bits whose directory is elsewhere",
        b"II+\0\x08\0\0\0" + struct.pack("<Q", 2**63),
    )
    far = tiff([SCENE.tobytes()], {**tags, 273: (4, [10**9])})
    yield no("TIFF whose pixels are elsewhere", far)
    deflated: Tags = {259: (3, [8])}
    zipped = zlib.compress(SCENE.tobytes())
    half = tiff([zipped[: len(zipped) // 2]], {**tags, **deflated})
    yield no("TIFF deflate with half its pixels", half)
    yield no("TIFF deflate with zeroed pixels", tiff([bytes(99)], {**tags, **deflated}))
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    lzw = pillow(Image.fromarray(noise), "TIFF", compression="tiff_lzw")
    zeros = bytes(len(lzw) // 4)
    yield no("TIFF LZW with zeroed pixels", replaced(lzw, len(lzw) // 2, zeros))
    square = {**tiff_tags(noise, 8, 2, {322: (3, [32]), 323: (3, [32])}), **deflated}
    corners = [noise[top : top + 32, left : left + 32] for top in (0, 32) for left in (0, 32)]
    parts = [zlib.compress(corner.tobytes()) for corner in corners]
    yield no("TIFF with a zeroed tile", tiff([*parts[:3], bytes(99)], square, tiled=True))
    yield no("TIFF with half its rows", tiff([SCENE[:20].tobytes()], tags))
    yield no("TIFF without pixels", tiff([], tags))
    yield no("TIFF of 4 GB a sample", tiff([SCENE.tobytes()], {**tags, 277: (3, [65535])}))
    beyond = r"cannot be used: float pixels must lie in \[0, 1\], these lie in \[58, 255\]"
    floats = tiff([np.clip(GREY * 2.0, 0, 255).astype("<f4").tobytes()], float_tags(GREY))
    yield no("TIFF of floats beyond 1", floats, beyond)
    # Pillow has no such mode.
    floats = tiff([(SCENE / 255).astype("<f4").tobytes()], float_tags(SCENE))
    yield no("TIFF of RGB in floats", floats)
    yield no("BMP of nothing but a head", bmp(24, b""))
    yield no(
        "BMP whose pixels are elsewhere",
        replaced(bmp(24, bytes(6000)), 10, struct.pack("<I", 10**9)),
    )
    yield no("BMP of 5 bits", bmp(5, bytes(6000)))
    jp2 = pillow(RGB, "JPEG2000", no_jp2=True)
    yield no("JPEG-2000 of nothing but a head", jp2[: jp2.index(b"\xff\x90")] + b"\xff\xd9")
    yield no("PNM with half its rows", pnm(6, SCENE[:20].tobytes(), 255))
    yield no("PNM of no width", b"P6 0 37 255\n" + bytes(99))
    yield no("PNM of letters", b"P6 53 thirty-seven 255\n" + bytes(9999))
    yield no("PNM of 20 digits", b"P6 53 " + b"1" * 20 + b" 255\n")
    yield no("PNM of 5000 digits", b"P6 53 " + b"1" * 5000 + b" 255\n")
