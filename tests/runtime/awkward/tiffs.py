"""TIFF files."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .pngs import rows
from .scene import (
    ALPHA,
    BITS,
    CUBE,
    CUBE_INDEX,
    CUBE_SCENE,
    GREY,
    GREY_ON_WHITE,
    HEIGHT,
    LA,
    OTHER,
    RGB,
    RGBA,
    SCENE,
    SCENE_ON_WHITE,
    WIDTH,
    File,
    L,
    Order,
    Pixels,
    marks_of,
    opencv,
    pillow,
    sizes,
    tripled,
    wide,
)

TIFF_TYPES = {3: "H", 4: "I", 5: "II", 16: "Q"}
Tags = dict[int, tuple[int, Sequence[int]]]


def tiff(
    strips: Sequence[bytes],
    tags: Tags,
    *,
    order: Order = "<",
    big: bool = False,
    tiled: bool = False,
) -> bytes:
    """Writes a TIFF: header, pixels, values, directory.

    Args:
        strips: the pixels, each strip as it is stored.
        tags: tag → type and values; those of the strips are added.
        order: of the bytes.
        big: as BigTIFF.
        tiled: the strips are tiles.
    """
    where, lengths = (324, 325) if tiled else (273, 279)
    entry, word = ("HHQ8s", "Q") if big else ("HHI4s", "I")
    data = bytearray({"<": b"II", ">": b"MM"}[order])
    data += struct.pack(f"{order}HHHQ", 43, 8, 0, 0) if big else struct.pack(f"{order}HI", 42, 0)
    offsets = []
    for strip in strips:
        offsets.append(len(data))
        data += strip
    all_tags = {where: (4, offsets), lengths: (4, [*map(len, strips)]), **tags}
    entries = b""
    for tag, (kind, values) in sorted(all_tags.items()):
        packed = struct.pack(f"{order}{len(values)}{TIFF_TYPES[kind]}", *values)
        count = len(values)
        if len(packed) > struct.calcsize(word):
            data += bytes(-len(data) % 8)
            packed, at = struct.pack(f"{order}{word}", len(data)), packed
            data += at
        entries += struct.pack(f"{order}{entry}", tag, kind, count, packed)
    data += bytes(-len(data) % 8)
    struct.pack_into(f"{order}{word}", data, 8 if big else 4, len(data))
    count_type = "Q" if big else "H"
    return (
        bytes(data)
        + struct.pack(f"{order}{count_type}", len(all_tags))
        + entries
        + bytes(8 if big else 4)
    )


def tiff_tags(
    samples: NDArray[Any], depth: int, photometric: int, more: Tags | None = None
) -> Tags:
    channels = 1 if samples.ndim == 2 else samples.shape[2]
    return {
        256: (4, [samples.shape[1]]),
        257: (4, [samples.shape[0]]),
        258: (3, [depth] * channels),
        259: (3, [1]),
        262: (3, [photometric]),
        277: (3, [channels]),
        278: (4, [samples.shape[0]]),
        **(more or {}),
    }


def tiff_of(
    samples: NDArray[Any],
    photometric: int,
    more: Tags | None = None,
    *,
    depth: int = 8,
    order: Order = "<",
    big: bool = False,
) -> bytes:
    """An uncompressed TIFF of one strip."""
    packed = (
        samples.astype(f"{order}u2").tobytes() if depth == 16 else b"".join(rows(samples, depth))
    )
    return tiff([packed], tiff_tags(samples, depth, photometric, more), order=order, big=big)


def planes() -> bytes:
    """A plane of red, one of green, one of blue."""
    strips = [SCENE[..., channel].tobytes() for channel in range(3)]
    return tiff(strips, tiff_tags(SCENE, 8, 2, {284: (3, [2])}))


def tiles(side: int) -> bytes:
    down, right = range(0, HEIGHT, side), range(0, WIDTH, side)
    padded = np.zeros((len(down) * side, len(right) * side, 3), np.uint8)
    padded[:HEIGHT, :WIDTH] = SCENE
    parts = [padded[y : y + side, x : x + side].tobytes() for y in down for x in right]
    tags = tiff_tags(SCENE, 8, 2, {322: (3, [side]), 323: (3, [side])})
    del tags[278]
    return tiff(parts, tags, tiled=True)


def float_tags(samples: Pixels) -> Tags:
    channels = 1 if samples.ndim == 2 else 3
    return tiff_tags(samples, 32, 1 if channels == 1 else 2, {339: (3, [3] * channels)})


def tiffs() -> Iterator[File]:
    def exact(name: str, data: bytes, pixels: Pixels, **more: Any) -> File:
        # Where the next directory is comes last.
        more = {"spare": 8, "marks": marks_of(pixels), **more}
        return File(f"TIFF {name}", data, pixels=pixels, **more)

    save = partial(pillow, format_="TIFF")
    for compression in ("raw", "tiff_lzw", "tiff_deflate", "tiff_adobe_deflate", "packbits"):
        yield exact(compression, save(RGB, compression=compression), SCENE)
    yield exact("LZW with a predictor", save(RGB, compression="tiff_lzw", tiffinfo={317: 2}), SCENE)
    yield File("TIFF of JPEG", save(RGB, compression="jpeg", quality=95), near_marks=8)
    bits = Image.fromarray(BITS * 255).convert("1")
    for compression in ("group3", "group4"):
        yield exact(compression, save(bits, compression=compression), tripled(BITS * 255))
    yield exact("1 bit", save(bits), tripled(BITS * 255))
    yield exact("1 bit, white is zero", tiff_of(1 - BITS, 0, depth=1), tripled(BITS * 255))
    yield exact("grey", save(L), tripled(GREY))
    yield exact("grey, white is zero", tiff_of(255 - GREY, 0), tripled(GREY))
    four = GREY >> 4
    yield exact("grey, 4 bits", tiff_of(four, 1, depth=4), tripled(four * 17))
    yield exact("LA", save(LA), GREY_ON_WHITE)
    yield exact("RGBA", save(RGBA), SCENE_ON_WHITE)
    yield exact("RGBA, LZW", save(RGBA, compression="tiff_lzw"), SCENE_ON_WHITE)
    multiplied = np.rint(SCENE * (ALPHA[..., None] / 255)).astype(np.uint8)
    data = tiff_of(np.dstack((multiplied, ALPHA)), 2, {338: (3, [1])})
    yield exact("RGBA, multiplied", data, SCENE_ON_WHITE, near_pixels=1)
    yield exact(
        "RGB and something else", tiff_of(np.dstack((SCENE, ALPHA)), 2, {338: (3, [0])}), SCENE
    )
    yield exact("RGBA, unnamed", tiff_of(np.dstack((SCENE, ALPHA)), 2), SCENE_ON_WHITE)
    palette = Image.frombytes("P", (WIDTH, HEIGHT), CUBE_INDEX.tobytes())
    palette.putpalette(CUBE.tobytes())
    yield exact("palette", save(palette), CUBE_SCENE)
    yield exact("CMYK", save(RGB.convert("CMYK")), SCENE)
    yield File("TIFF YCbCr", save(RGB.convert("YCbCr")), near_marks=3, near_pillow=1)
    # libtiff looks at the first eight.
    data = tiff_of(wide(GREY), 1, depth=16)
    yield exact("grey, 16 bits", data, tripled(GREY), near_marks=1, near_pixels=1, near_pillow=1)
    floats = tiff([(GREY / 255).astype("<f4").tobytes()], float_tags(GREY))
    yield exact("grey, floats in [0, 1]", floats, tripled(GREY), near_pillow=None)
    yield exact("RGB, 16 bits", tiff_of(wide(SCENE), 2, depth=16), SCENE, near_pillow=1)
    rgba = np.dstack((wide(SCENE), ALPHA * np.uint16(257)))
    data = tiff_of(rgba, 2, {338: (3, [2])}, depth=16)
    yield exact("RGBA, 16 bits", data, SCENE_ON_WHITE, near_pillow=1)
    data = opencv(".tiff", wide(SCENE))
    yield exact("RGB, 16 bits, by OpenCV", data, SCENE, near_pillow=1)
    yield exact(
        "RGB, 16 bits, big-endian",
        tiff_of(wide(SCENE), 2, depth=16, order=">"),
        SCENE,
        near_pillow=1,
    )
    pages = save(RGB, save_all=True, append_images=[OTHER])
    yield exact("of two pages", pages, SCENE, spare=len(pages) - len(save(RGB)))
    yield exact("big-endian", tiff_of(SCENE, 2, order=">"), SCENE)
    yield exact("of 64 bits (BigTIFF)", tiff_of(SCENE, 2, big=True), SCENE)
    yield exact("in planes", planes(), SCENE)
    yield exact("in tiles", tiles(32), SCENE)
    yield exact("in tiles of 768 bytes", tiles(16), SCENE)
    strips = [SCENE[top : top + 5].tobytes() for top in range(0, HEIGHT, 5)]
    yield exact("in strips", tiff(strips, tiff_tags(SCENE, 8, 2, {278: (4, [5])})), SCENE)
    yield from sizes("TIFF", save, spare=8)
