"""Awkward picture files, made in memory: every format and form that a photo may come in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cache

from .bmps import bmp, bmps
from .jpegs import jpegs
from .no_pictures import broken, broken_pngs, heic, liars, more_broken, too_large, unknown
from .others import jpeg2000s, pnms
from .pngs import chunk, palette_pngs, png, png_chunks, pngs
from .scene import (
    DAMAGED,
    GREY,
    MARKS,
    RGB,
    SCENE,
    SIZE,
    File,
    Pixels,
    box,
    exif,
    marks_of,
    pillow,
    tripled,
    with_size,
)
from .tiffs import Tags, tiff, tiff_of, tiff_tags, tiffs
from .turned import odd_orientations, orientations
from .web import avifs, gifs, webps

__all__ = [
    "DAMAGED",
    "GREY",
    "MARKS",
    "RGB",
    "SCENE",
    "SIZE",
    "File",
    "Pixels",
    "Tags",
    "bmp",
    "box",
    "chunk",
    "exif",
    "files",
    "heic",
    "liars",
    "marks_of",
    "pillow",
    "png",
    "tiff",
    "tiff_of",
    "tiff_tags",
    "tripled",
    "with_size",
]


@cache
def files() -> tuple[File, ...]:
    """All of them."""
    makers: Iterable[Callable[[], Iterator[File]]] = (
        jpegs,
        pngs,
        palette_pngs,
        png_chunks,
        webps,
        avifs,
        gifs,
        tiffs,
        bmps,
        jpeg2000s,
        pnms,
        orientations,
        odd_orientations,
        too_large,
        unknown,
        broken_pngs,
        broken,
        more_broken,
    )
    return tuple(file for make in makers for file in make())
