"""BMP files."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .pngs import rows
from .scene import (
    ALPHA,
    BITS,
    CUBE,
    CUBE_INDEX,
    CUBE_SCENE,
    FOUR,
    FOUR_INDEX,
    FOUR_SCENE,
    HEIGHT,
    RGB,
    SCENE,
    SCENE_ON_WHITE,
    SIZE,
    TWO,
    TWO_SCENE,
    WIDTH,
    File,
    Pixels,
    marks_of,
    pillow,
    sizes,
    with_size,
)


def bmp(
    bits: int,
    pixels: bytes,
    *,
    head: int = 40,
    height: int = HEIGHT,
    compression: int = 0,
    palette: bytes = b"",
    masks: Sequence[int] = (),
) -> bytes:
    """Writes a BMP.

    Args:
        bits: a pixel.
        pixels: as they are stored, the lowest row first unless ``height`` is negative.
        head: size of the header: 12 (OS/2), 40 (the usual), 56, 108 (V4) or 124 (V5).
        height: negative if the rows run downwards.
        compression: 0 none, 1 RLE8, 2 RLE4, 3 masks.
        palette: of 4 bytes a colour, of 3 for OS/2.
        masks: those of red, green, blue and alpha; after a header of 40 bytes only the first three.
    """
    if head == 12:
        info = struct.pack("<IHHHH", 12, WIDTH, height, 1, bits)
    else:
        info = struct.pack(
            "<IiiHHIIiiII", head, WIDTH, height, 1, bits, compression, len(pixels), 0, 0, 0, 0
        )
        info = (info + struct.pack(f"<{len(masks)}I", *masks)).ljust(head, b"\0")
    start = 14 + len(info) + len(palette)
    return struct.pack("<2sIHHI", b"BM", start + len(pixels), 0, 0, start) + info + palette + pixels


def bmp_rows(samples: NDArray[Any], depth: int = 8, *, downwards: bool = False) -> bytes:
    return b"".join(rows(samples if downwards else samples[::-1], depth, 4))


def rle8(samples: Pixels) -> bytes:
    data = b""
    for row in samples[::-1]:
        at = 0
        while at < len(row):
            run = next(
                (n for n in range(1, len(row) - at) if row[at + n] != row[at]), len(row) - at
            )
            data += bytes([run, row[at]])
            at += run
        data += b"\0\0"
    return data[:-2] + b"\0\1"


def packed(samples: Pixels, bits: Sequence[int]) -> tuple[NDArray[np.uint16], Pixels]:
    """Red, green and blue in 16 bits, and what they show; Pillow rounds down."""
    value, shown = np.zeros(SIZE, np.uint16), []
    for channel, depth in enumerate(bits):
        short = samples[..., channel] >> (8 - depth)
        value = value << depth | short
        shown.append(np.rint(short * (255 / (2**depth - 1))).astype(np.uint8))
    return value, np.stack(shown, axis=-1)


def bmps() -> Iterator[File]:
    def exact(name: str, data: bytes, pixels: Pixels = SCENE, **more: Any) -> File:
        # The last row's padding.
        return File(f"BMP {name}", data, marks=marks_of(pixels), pixels=pixels, spare=3, **more)

    bgr = SCENE[..., ::-1]
    plain = bmp_rows(bgr)
    masks = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    yield exact("24 bits", bmp(24, plain))
    yield exact("24 bits, by Pillow", pillow(RGB, "BMP"))
    for fourth in (0, 255):
        filled = bmp_rows(np.dstack((bgr, np.full(SIZE, fourth, np.uint8))))
        yield exact(f"32 bits, the fourth byte {fourth}", bmp(32, filled))
    clear = bmp_rows(np.dstack((bgr, ALPHA)))
    yield exact("32 bits, the fourth byte something", bmp(32, clear))
    for fourth, name in ((np.zeros_like(ALPHA), "zero"), (ALPHA, "something")):
        filled = bmp_rows(np.dstack((bgr, fourth)))
        data = bmp(32, filled, head=52, compression=3, masks=masks[:3])
        yield exact(f"32 bits, V2, the fourth byte {name}", data)
        # The three masks are the same, but no longer in the header.
        data = with_size(data, b"BM", 12, "<I", 40)
        yield exact(f"32 bits, masks, the fourth byte {name}", data)
    for head, name in ((108, "V4"), (124, "V5")):
        yield exact(
            f"32 bits, {name}, with alpha",
            bmp(32, clear, head=head, compression=3, masks=masks),
            SCENE_ON_WHITE,
        )
        yield exact(
            f"32 bits, {name}, without alpha",
            bmp(32, clear, head=head, compression=3, masks=masks[:3]),
        )
        yield exact(f"24 bits, {name}", bmp(24, plain, head=head))
    yield exact(
        "32 bits, V3, with alpha",
        bmp(32, clear, head=56, compression=3, masks=masks),
        SCENE_ON_WHITE,
    )
    downwards = bmp_rows(bgr, downwards=True)
    yield exact("24 bits, downwards", bmp(24, downwards, height=-HEIGHT))

    colours = np.insert(CUBE[:, ::-1], 3, 0, axis=1)
    full = colours.tobytes().ljust(1024, b"\0")
    yield exact("8 bits", bmp(8, bmp_rows(CUBE_INDEX), palette=full), CUBE_SCENE)
    encoded = rle8(CUBE_INDEX)
    yield exact("8 bits, RLE", bmp(8, encoded, palette=full, compression=1), CUBE_SCENE)
    four = np.insert(FOUR[:, ::-1], 3, 0, axis=1).tobytes().ljust(64, b"\0")
    yield exact("4 bits", bmp(4, bmp_rows(FOUR_INDEX, 4), palette=four), FOUR_SCENE)
    two = np.insert(TWO[:, ::-1], 3, 0, axis=1).tobytes()
    yield exact("1 bit", bmp(1, bmp_rows(BITS, 1), palette=two), TWO_SCENE)

    for bits in ((5, 5, 5), (5, 6, 5)):
        values, shown = packed(SCENE, bits)
        pixels = b"".join(row.tobytes().ljust(108, b"\0") for row in values[::-1].astype("<u2"))
        name = "".join(map(str, bits))
        shifts = np.cumsum((0, *bits[:0:-1]))[::-1]
        fields = [(2**depth - 1) << int(at) for depth, at in zip(bits, shifts, strict=True)]
        if bits == (5, 5, 5):
            yield exact("16 bits", bmp(16, pixels), shown, near_pixels=1)
        yield exact(
            f"16 bits, {name}",
            with_size(bmp(16, pixels, head=52, compression=3, masks=fields), b"BM", 12, "<I", 40),
            shown,
            near_pixels=1,
        )
    yield exact("of OS/2, 24 bits", bmp(24, plain, head=12))
    short = CUBE[:, ::-1].tobytes().ljust(768, b"\0")
    data = bmp(8, bmp_rows(CUBE_INDEX), head=12, palette=short)
    yield exact("of OS/2, 8 bits", data, CUBE_SCENE)
    yield from sizes("BMP", partial(pillow, format_="BMP"), spare=3)
