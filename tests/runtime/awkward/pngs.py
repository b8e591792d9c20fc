"""PNG files."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .scene import (
    ALPHA,
    BITS,
    CUBE,
    CUBE_INDEX,
    CUBE_SCENE,
    FOUR,
    FOUR_INDEX,
    FOUR_SCENE,
    GREY,
    GREY_ON_WHITE,
    OTHER,
    RGB,
    RGBA,
    SCENE,
    SCENE_ON_WHITE,
    TWO,
    TWO_SCENE,
    File,
    Pixels,
    as_stored,
    exif,
    marks_of,
    on_white,
    pillow,
    sizes,
    tripled,
    wide,
)

SIGNATURE = b"\x89PNG\r\n\x1a\n"
ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2))
ADAM7 = (*ADAM7, (1, 0, 2, 1))


def chunk(kind: bytes, payload: bytes = b"") -> bytes:
    body = kind + payload
    return struct.pack(">I", len(payload)) + body + struct.pack(">I", zlib.crc32(body))


def png(
    samples: NDArray[Any],
    colour: int,
    depth: int = 8,
    *,
    before: bytes = b"",
    after: bytes = b"",
    interlaced: bool = False,
) -> bytes:
    """Writes a PNG.

    Args:
        samples: [height, width] or [height, width, channels].
        colour: 0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGBA.
        depth: bits a sample.
        before, after: chunks before and after the pixels.
        interlaced: in the seven passes of Adam7.
    """
    samples = samples.reshape(*samples.shape[:2], -1)
    parts = (
        [samples[top::down, left::right] for top, left, down, right in ADAM7]
        if interlaced
        else [samples]
    )
    packed = b"".join(b"\0" + row for part in parts if part.size for row in rows(part, depth))
    head = struct.pack(
        ">IIBBBBB", samples.shape[1], samples.shape[0], depth, colour, 0, 0, interlaced
    )
    return b"".join(
        (
            SIGNATURE,
            chunk(b"IHDR", head),
            before,
            chunk(b"IDAT", zlib.compress(packed)),
            after,
            chunk(b"IEND"),
        )
    )


def rows(samples: NDArray[Any], depth: int = 8, multiple: int = 1) -> list[bytes]:
    """Packs samples, the first in the highest bits, and pads each row."""
    samples = samples.reshape(len(samples), -1)
    if depth == 16:
        packed = samples.astype(">u2").view(np.uint8)
    else:
        bits = np.unpackbits(samples.astype(np.uint8)[..., None], axis=-1)[..., -depth:]
        packed = np.packbits(bits.reshape(len(samples), -1), axis=-1)
    return [row.tobytes() + bytes(-len(row.tobytes()) % multiple) for row in packed]


def exact_png(name: str, data: bytes, pixels: Pixels, near_pillow: int = 0, spare: int = 0) -> File:
    return File(
        f"PNG {name}",
        data,
        marks=marks_of(pixels),
        pixels=pixels,
        near_pillow=near_pillow,
        spare=spare,
    )


def pngs() -> Iterator[File]:
    exact = exact_png
    for depth in (1, 2, 4, 8):
        values = GREY >> (8 - depth)
        shown = tripled((values * (255 // (2**depth - 1))).astype(np.uint8))
        yield exact(f"grey, {depth} bits", png(values, 0, depth), shown)
    yield exact("RGB", png(SCENE, 2), SCENE)
    yield exact("RGB by Pillow", pillow(RGB, "PNG"), SCENE)
    yield exact("RGBA", png(np.dstack((SCENE, ALPHA)), 6), SCENE_ON_WHITE)
    yield exact("LA", png(np.dstack((GREY, ALPHA)), 4), GREY_ON_WHITE)
    # Pillow shifts the colours to 8 bits.
    yield exact("grey, 16 bits", png(wide(GREY), 0, 16), tripled(GREY))
    yield exact("RGB, 16 bits", png(wide(SCENE), 2, 16), SCENE, 1)
    rgba = np.dstack((wide(SCENE), ALPHA * np.uint16(257)))
    yield exact("RGBA, 16 bits", png(rgba, 6, 16), SCENE_ON_WHITE, 1)
    la = np.dstack((wide(GREY), ALPHA * np.uint16(257)))
    yield exact("LA, 16 bits", png(la, 4, 16), GREY_ON_WHITE, 1)
    for name, samples, colour, shown in (
        ("RGB", SCENE, 2, SCENE),
        ("RGBA", np.dstack((SCENE, ALPHA)), 6, SCENE_ON_WHITE),
    ):
        yield exact(f"{name}, interlaced", png(samples, colour, interlaced=True), shown)
    yield exact("grey, 1 bit, interlaced", png(BITS, 0, 1, interlaced=True), tripled(BITS * 255))
    data = png(wide(SCENE), 2, 16, interlaced=True)
    yield exact("RGB, 16 bits, interlaced", data, SCENE, 1)
    stored = as_stored(SCENE, 6)
    tag = chunk(b"eXIf", exif(6, ">"))
    yield exact("with EXIF before the pixels", png(stored, 2, before=tag), SCENE)
    yield exact("with EXIF after the pixels", png(stored, 2, after=tag), SCENE)
    yield from sizes("PNG", partial(pillow, format_="PNG"))


def palette_pngs() -> Iterator[File]:
    exact = exact_png

    colours = chunk(b"PLTE", CUBE.tobytes())
    opacities = np.linspace(255, 0, len(CUBE)).astype(np.uint8)
    opacities[CUBE_INDEX[[0, 0, -1, -1], [0, -1, 0, -1]]] = 255
    yield exact("palette, 8 bits", png(CUBE_INDEX, 3, before=colours), CUBE_SCENE)
    yield exact(
        "palette, 8 bits, with tRNS",
        png(CUBE_INDEX, 3, before=colours + chunk(b"tRNS", opacities.tobytes())),
        on_white(CUBE_SCENE, opacities[CUBE_INDEX]),
    )
    four = chunk(b"PLTE", FOUR.tobytes())
    for depth in (2, 4):
        yield exact(f"palette, {depth} bits", png(FOUR_INDEX, 3, depth, before=four), FOUR_SCENE)
    yield exact(
        "palette, 4 bits, with a short tRNS",
        png(FOUR_INDEX, 3, 4, before=four + chunk(b"tRNS", bytes([255, 100]))),
        on_white(FOUR_SCENE, np.array([255, 100, 255, 255], np.uint8)[FOUR_INDEX]),
    )
    two = chunk(b"PLTE", TWO.tobytes())
    yield exact("palette, 1 bit", png(BITS, 3, 1, before=two), TWO_SCENE)

    keyed, hole = SCENE.copy(), np.s_[15:20, 20:30]
    keyed[hole] = 1, 2, 3
    shown = keyed.copy()
    shown[hole] = 255
    key = chunk(b"tRNS", struct.pack(">HHH", 1, 2, 3))
    yield exact("RGB with a colour key", png(keyed, 2, before=key), shown)
    grey = GREY.copy()
    grey[hole] = 9
    shown = tripled(grey)
    shown[hole] = 255
    yield exact(
        "grey with a colour key", png(grey, 0, before=chunk(b"tRNS", struct.pack(">H", 9))), shown
    )
    grey = chunk(b"tRNS", struct.pack(">H", 0))
    shown = np.full_like(SCENE, 255)
    data = png(BITS, 0, 1, before=grey)
    yield File("PNG grey, 1 bit, with a colour key", data, marks=None, pixels=shown)
    grey16 = wide(GREY)
    grey16[hole], grey16[20:25, 20:30] = 2313, 2314  # the second is not the key
    shown = tripled(GREY)
    shown[hole], shown[20:25, 20:30] = 255, 9
    key = chunk(b"tRNS", struct.pack(">H", 2313))
    data = png(grey16, 0, 16, before=key)
    # Pillow has no transparency for grey of 16 bits.
    yield File(
        "PNG grey, 16 bits, with a colour key",
        data,
        marks=marks_of(shown),
        pixels=shown,
        near_pillow=None,
    )
    keyed16 = keyed * np.uint16(257)
    key = chunk(b"tRNS", struct.pack(">HHH", 257, 514, 771))
    shown = keyed.copy()
    shown[hole] = 255
    yield exact("RGB, 16 bits, with a colour key", png(keyed16, 2, 16, before=key), shown)


def png_chunks() -> Iterator[File]:
    exact, rgba = exact_png, np.dstack((SCENE, ALPHA))
    gamma = chunk(b"gAMA", struct.pack(">I", 100_000)) + chunk(b"cHRM", bytes(32))
    yield exact("with gamma 1", png(SCENE, 2, before=gamma), SCENE)
    yield exact("with gamma, 16 bits", png(wide(SCENE), 2, 16, before=gamma), SCENE, 1)
    yield exact("with background", png(rgba, 6, before=chunk(b"bKGD", bytes(6))), SCENE_ON_WHITE)
    profile = chunk(b"iCCP", b"none\0\0" + zlib.compress(bytes(500)))
    yield exact("with a broken profile", png(SCENE, 2, before=profile), SCENE)
    yield exact(
        "whose text says acTL",
        png(SCENE, 2, before=chunk(b"tEXt", b"Title\0" + b"acTL" * 9)),
        SCENE,
    )
    yield exact("with junk after its end", png(SCENE, 2) + b"junk" * 50, SCENE, spare=200)

    stills = partial(pillow, RGB, "PNG", save_all=True, append_images=[OTHER, OTHER], duration=9)
    yield exact("animated (APNG)", stills(), SCENE)
    yield exact("animated, with a still that is no frame", stills(default_image=True), SCENE)
    text = chunk(b"tEXt", b"Title\0IDAT")
    still = stills(default_image=True)
    yield exact("animated, whose text says IDAT", still[:33] + text + still[33:], SCENE)
    animated = pillow(RGBA, "PNG", save_all=True, append_images=[OTHER.convert("RGBA")])
    yield exact("animated, with alpha", animated, SCENE_ON_WHITE)
    animated = pillow(
        RGBA, "PNG", save_all=True, default_image=True, append_images=[OTHER.convert("RGBA")] * 2
    )
    yield exact("animated, with alpha and a still that is no frame", animated, SCENE_ON_WHITE)
