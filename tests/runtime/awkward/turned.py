"""Files with an orientation, sensible or not."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from PIL import Image

from .pngs import chunk, png
from .scene import ALPHA, RGB, SCENE, SCENE_ON_WHITE, File, as_stored, exif, pillow, replaced
from .tiffs import Tags, tiff_of


def orientations() -> Iterator[File]:
    """Each of EXIF's eight, and 0 and 9, which mean nothing."""
    for orientation in range(10):
        stored = as_stored(SCENE, orientation)
        clear = np.dstack((stored, as_stored(ALPHA, orientation)))
        rgb, rgba = Image.fromarray(stored), Image.fromarray(clear)
        tag = exif(orientation, "<>"[orientation % 2])
        in_jpeg = {"quality": 95, "exif": b"Exif\0\0" + tag}
        in_tiff: Tags = {274: (3, [orientation])}
        clear_tiff: Tags = {**in_tiff, 338: (3, [2])}

        def turned(kind: str, data: bytes, orientation: int = orientation, **more: Any) -> File:
            return File(f"{kind}, orientation {orientation}", data, orientation=orientation, **more)

        exact = partial(turned, pixels=SCENE)
        white = partial(turned, pixels=SCENE_ON_WHITE)
        yield turned("JPEG", pillow(rgb, "JPEG", **in_jpeg), near_marks=10)
        yield turned("JPEG CMYK", pillow(rgb.convert("CMYK"), "JPEG", **in_jpeg), near_marks=10)
        yield exact("PNG", png(stored, 2, before=chunk(b"eXIf", tag)))
        yield white("PNG RGBA", png(clear, 6, before=chunk(b"eXIf", tag)))
        yield turned("WebP lossy", pillow(rgb, "WEBP", quality=95, exif=tag), near_marks=10)
        yield white("WebP lossless, with alpha", pillow(rgba, "WEBP", lossless=True, exif=tag))
        yield exact("TIFF", tiff_of(stored, 2, in_tiff))
        yield white("TIFF RGBA", tiff_of(clear, 2, clear_tiff))
        # Pillow makes `irot` and `imir` boxes of it.
        in_avif = {"quality": 90, "speed": 10, "exif": tag}
        yield turned("AVIF", pillow(rgb, "AVIF", **in_avif), near_marks=20)
        yield turned("AVIF with alpha", pillow(rgba, "AVIF", **in_avif), near_marks=20)


def odd_orientations() -> Iterator[File]:
    """Which are none, so that the picture stays as it is."""
    right = exif(6)
    at = right.index(b"\x12\1\3\0\1\0\0\0")
    for name, entry in {
        "65535": struct.pack("<HHIHH", 0x0112, 3, 1, 65535, 0),
        "-6": struct.pack("<HHIhh", 0x0112, 8, 1, -6, 0),
        "text": struct.pack("<HHI4s", 0x0112, 2, 2, b"6"),
        "a far rational": struct.pack("<HHII", 0x0112, 5, 1, 10**9),
        "not a number": struct.pack("<HHIf", 0x0112, 11, 1, float("nan")),
    }.items():
        tag = replaced(right, at, entry)
        yield File(f"PNG, orientation {name}", png(SCENE, 2, before=chunk(b"eXIf", tag)))
        yield File(f"WebP, orientation {name}", pillow(RGB, "WEBP", lossless=True, exif=tag))
        jpeg = pillow(RGB, "JPEG", quality=95, exif=b"Exif\0\0" + tag)
        yield File(f"JPEG, orientation {name}", jpeg, near_marks=10)
