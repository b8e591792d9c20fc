"""JPEG files."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import partial

import numpy as np
from PIL import Image

from .scene import (
    GREY,
    HEIGHT,
    OTHER,
    RGB,
    SCENE,
    SIZE,
    WIDTH,
    File,
    L,
    as_stored,
    exif,
    marks_of,
    pillow,
    replaced,
    sizes,
    tripled,
)


def segment(marker: int, payload: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload


def with_segments(jpeg: bytes, *segments: bytes) -> bytes:
    return jpeg[:2] + b"".join(segments) + jpeg[2:]


def with_jpeg_size(jpeg: bytes, height: int, width: int) -> bytes:
    at = next(at for marker in (b"\xff\xc0", b"\xff\xc2") if (at := jpeg.find(marker)) >= 0)
    return replaced(jpeg, at + 5, struct.pack(">HH", height, width))


def ycck() -> bytes:
    """What Photoshop makes of CMYK: the inks as YCbCr, inverted, and black apart."""
    inks = np.asarray(Image.fromarray(255 - SCENE).convert("YCbCr"))
    black = np.full((*SIZE, 1), 255, np.uint8)
    stored = np.concatenate((inks, black), axis=-1)
    image = Image.frombytes("CMYK", (WIDTH, HEIGHT), (255 - stored).tobytes())
    data = pillow(image, "JPEG", quality=95)
    transform = data.index(b"Adobe") + 11
    assert data[transform] == 0
    return replaced(data, transform, b"\2")


def jpegs() -> Iterator[File]:
    lossy = partial(File, near_marks=10)
    save = partial(pillow, RGB, "JPEG", quality=95)
    base = save()
    for subsampling, name in ((0, "4:4:4"), (1, "4:2:2"), (2, "4:2:0")):
        yield lossy(f"JPEG {name}", save(subsampling=subsampling))
    yield lossy("JPEG progressive", save(progressive=True))
    yield lossy("JPEG progressive 4:4:4", save(progressive=True, subsampling=0))
    yield lossy(
        "JPEG grey", pillow(L, "JPEG", quality=95), marks=marks_of(tripled(GREY)), near_marks=5
    )
    yield lossy("JPEG CMYK", pillow(RGB.convert("CMYK"), "JPEG", quality=95))
    yield lossy("JPEG YCCK", ycck(), near_pillow=1)
    yield lossy("JPEG of RGB without JFIF", save(keep_rgb=True))
    yield lossy("JPEG optimised", save(optimize=True))
    yield lossy("JPEG quality 1", pillow(RGB, "JPEG", quality=1, subsampling=0), near_marks=80)
    yield lossy("JPEG with a profile of 500 KB", save(icc_profile=bytes(range(256)) * 2000))
    comments = [segment(0xFE, bytes([number]) * 60_000) for number in range(8)]
    yield lossy("JPEG with comments of 480 KB", with_segments(base, *comments))
    comments = [segment(0xFE, b"")] * 3000
    yield lossy("JPEG with 3000 empty comments", with_segments(base, *comments))
    yield lossy("JPEG with restart markers", save(restart_marker_rows=1))
    yield lossy("JPEG with restart markers at every block", save(restart_marker_blocks=1))
    yield lossy("JPEG with fill bytes", base[:2] + b"\xff" * 9 + base[2:])
    tables = base.index(b"\xff\xc4")
    yield lossy("JPEG with junk between segments", base[:tables] + b"junk" + base[tables:])
    junk = b"junk\xff\xd8\xff" * 99
    yield lossy("JPEG with junk after its end", base + junk, spare=len(junk))
    second = len(mpo()) - mpo().index(b"\xff\xd9\xff\xd8") - 2
    yield lossy("JPEG with a second picture (MPO)", mpo(), spare=second)
    for order in ("<", ">"):
        data = pillow(Image.fromarray(as_stored(SCENE, 6)), "JPEG", quality=95, subsampling=0)
        block = segment(0xE1, b"Exif\0\0" + exif(6, order))
        endian = {"<": "little", ">": "big"}[order]
        yield lossy(f"JPEG with {endian}-endian EXIF", with_segments(data, block))
        xmp = segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta/>")
        profile = segment(0xE2, b"ICC_PROFILE\0\1\1" + bytes(60_000))
        yield lossy(
            f"JPEG with {endian}-endian EXIF after XMP and a profile",
            with_segments(data, xmp, profile, block),
        )
    yield lossy("JPEG with broken EXIF", with_segments(base, segment(0xE1, b"Exif\0\0II*\0")))
    yield from sizes(
        "JPEG", lambda image: pillow(image, "JPEG", quality=95, subsampling=0), exact=False
    )


def mpo() -> bytes:
    return pillow(RGB, "MPO", quality=95, save_all=True, append_images=[OTHER])
