"""JPEG 2000 and PNM files."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .pngs import rows
from .scene import (
    BITS,
    GREY,
    GREY_ON_WHITE,
    HEIGHT,
    LA,
    RGB,
    RGBA,
    SCENE,
    SCENE_ON_WHITE,
    WIDTH,
    File,
    L,
    Pixels,
    marks_of,
    pillow,
    sizes,
    tripled,
    wide,
)


def jpeg2000s() -> Iterator[File]:
    save = partial(pillow, format_="JPEG2000")
    wide_grey = Image.fromarray(wide(GREY))
    for bare in (False, True):
        name = "JPEG-2000 code stream" if bare else "JPEG-2000"
        yield File(f"{name}", save(RGB, no_jp2=bare), pixels=SCENE)
        yield File(f"{name} RGBA", save(RGBA, no_jp2=bare), pixels=SCENE_ON_WHITE)
        grey = partial(File, marks=marks_of(tripled(GREY)), pixels=tripled(GREY))
        yield grey(f"{name} grey", save(L, no_jp2=bare))
        yield grey(f"{name} grey, 16 bits", save(wide_grey, no_jp2=bare))
        la = save(LA, no_jp2=bare)
        yield grey(f"{name} LA", la, pixels=GREY_ON_WHITE)
        lossy = save(RGB, no_jp2=bare, irreversible=True, quality_mode="dB", quality_layers=[45])
        yield File(f"{name} lossy", lossy, near_marks=8)
    yield File("JPEG-2000 in tiles", save(RGB, tile_size=(16, 16)), pixels=SCENE)
    yield from sizes("JPEG-2000", save)


def pnm(kind: int, pixels: bytes, most: int | None = None, comment: str = "") -> bytes:
    head = f"P{kind}\n{comment}{WIDTH} {HEIGHT}\n"
    return head.encode() + (f"{most}\n".encode() if most else b"") + pixels


def pnms() -> Iterator[File]:
    def exact(name: str, data: bytes, pixels: Pixels, **more: Any) -> File:
        more = {"marks": marks_of(pixels), **more}
        return File(f"PNM {name}", data, pixels=pixels, **more)

    def text(samples: NDArray[Any]) -> bytes:
        lines = (" ".join(map(str, row)) for row in samples.reshape(HEIGHT, -1))
        return "\n".join((*lines, "")).encode()

    grey = tripled(GREY)
    yield exact("PPM", pnm(6, SCENE.tobytes(), 255), SCENE)
    yield exact("PGM", pnm(5, GREY.tobytes(), 255), grey)
    yield exact("PBM", pnm(4, b"".join(rows(1 - BITS, 1))), tripled(BITS * 255))
    yield exact("PPM as text", pnm(3, text(SCENE), 255), SCENE)
    yield exact("PGM as text", pnm(2, text(GREY), 255), grey)
    yield exact("PBM as text", pnm(1, text(1 - BITS)), tripled(BITS * 255), spare=1)
    # Pillow shows grey of 16 bits as numbers that it cannot convert.
    yield exact("PGM, 16 bits", pnm(5, wide(GREY).astype(">u2").tobytes(), 65535), grey)
    yield exact("PPM, 16 bits", pnm(6, wide(SCENE).astype(">u2").tobytes(), 65535), SCENE)
    yield exact("PPM with a comment", pnm(6, SCENE.tobytes(), 255, "# 3 4\n"), SCENE)
    hundred = np.rint(GREY / 2.55)
    shown = tripled(np.rint(hundred * 2.55).astype(np.uint8))
    data = pnm(5, hundred.astype(np.uint8).tobytes(), 100)
    yield exact("PGM of 100 levels", data, shown, near_marks=1, near_pixels=1)
    ten = np.rint(GREY * (1023 / 255)).astype(">u2")
    yield exact("PGM, 10 of 16 bits", pnm(5, ten.tobytes(), 1023), grey)
    yield from sizes("PNM", partial(pillow, format_="PPM"))
