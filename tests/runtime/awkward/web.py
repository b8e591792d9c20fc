"""WebP, AVIF and GIF files."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import partial

import cv2
import numpy as np
from PIL import Image

from .scene import (
    CUBE,
    CUBE_INDEX,
    CUBE_SCENE,
    GREY,
    HEIGHT,
    OTHER,
    RGB,
    RGBA,
    SCENE,
    SCENE_ON_WHITE,
    WIDTH,
    File,
    L,
    Pixels,
    exif,
    found,
    marks_of,
    opencv,
    pillow,
    replaced,
    sizes,
    tripled,
)


def webps() -> Iterator[File]:
    save = partial(pillow, format_="WEBP")
    lossy = partial(File, near_marks=8)
    exact = partial(File, pixels=SCENE)
    white = partial(File, pixels=SCENE_ON_WHITE)
    frames = {"save_all": True, "append_images": [OTHER]}
    clear_frames = {"save_all": True, "append_images": [OTHER.convert("RGBA")]}
    extras = {"icc_profile": bytes(999), "xmp": b"<x:xmpmeta/>", "exif": exif(1)}
    yield exact("WebP lossless", save(RGB, lossless=True))
    yield lossy("WebP lossy", save(RGB, quality=95))
    yield lossy("WebP lossy, with alpha", save(RGBA, quality=95))
    yield white("WebP lossless, with alpha", save(RGBA, lossless=True, exact=True))
    yield white("WebP lossless, with alpha, cleaned", save(RGBA, lossless=True))
    yield exact("WebP animated", save(RGB, lossless=True, **frames))
    yield lossy("WebP animated, lossy", save(RGB, quality=95, **frames))
    yield white("WebP animated, with alpha", save(RGBA, lossless=True, **clear_frames))
    yield File("WebP animated, whose frame is smaller", *smaller_webp())
    yield exact("WebP with profile, EXIF and XMP", save(RGB, lossless=True, **extras))
    yield lossy("WebP lossy, with profile, EXIF and XMP", save(RGB, quality=95, **extras))
    yield exact("WebP with junk after its end", save(RGB, lossless=True) + b"junk" * 9, spare=36)
    yield from sizes("WebP", partial(save, lossless=True))


def smaller_webp() -> tuple[bytes, tuple[int, int], None, int, Pixels]:
    """A frame at (4, 2) of a canvas of 41 x 60, which is clear where no frame lies."""
    data = pillow(RGB, "WEBP", lossless=True, save_all=True, append_images=[OTHER])
    canvas, frame = data.index(b"VP8X") + 12, data.index(b"ANMF") + 8
    data = replaced(data, canvas, (59).to_bytes(3, "little") + (40).to_bytes(3, "little"))
    shown = np.full((41, 60, 3), 255, np.uint8)
    shown[2:39, 4:57] = SCENE
    return replaced(data, frame, b"\2\0\0\1\0\0"), (41, 60), None, 0, shown


def without_dates(avif: bytes) -> bytes:
    """So that it is the same file in a second's time."""
    for kind in (b"mvhd", b"tkhd", b"mdhd"):
        at = found(avif, kind, 0)
        avif = replaced(avif, at + 4, bytes(16 if avif[at] == 1 else 8))
    return avif


def avifs() -> Iterator[File]:
    save = partial(pillow, format_="AVIF", quality=90, speed=10)
    lossy = partial(File, near_marks=20)
    for subsampling in ("4:2:0", "4:2:2", "4:4:4"):
        yield lossy(f"AVIF {subsampling}", save(RGB, subsampling=subsampling))
    yield lossy("AVIF 4:0:0", save(L, subsampling="4:0:0"), marks=marks_of(tripled(GREY)))
    yield lossy("AVIF of limited range", save(RGB, range="limited"))
    yield lossy("AVIF with alpha", save(RGBA))
    animated = save(RGB, save_all=True, append_images=[OTHER])
    yield lossy("AVIF animated", without_dates(animated))
    head = int.from_bytes(animated[:4])
    brands = animated[:head].replace(b"avif", b"miaf")
    yield lossy("AVIF of the brand avis", without_dates(brands + animated[head:]))
    for depth in (10, 12):
        # Pillow has libavif make 8 bits of the samples before it makes RGB of them.
        pixels = (SCENE * np.float64((2**depth - 1) / 255)).astype(np.uint16)
        options = (cv2.IMWRITE_AVIF_DEPTH, depth, cv2.IMWRITE_AVIF_SPEED, 10)
        data = opencv(".avif", pixels, *options, cv2.IMWRITE_AVIF_QUALITY, 90)
        yield lossy(f"AVIF, {depth} bits", data, near_pillow=3)
    extras = {"icc_profile": bytes(999), "xmp": b"<x:xmpmeta/>"}
    yield lossy("AVIF with profile and XMP", save(RGB, **extras))
    yield from sizes("AVIF", partial(save, subsampling="4:4:4"), exact=False)


def after_first_frame(gif: bytes) -> int:
    """How many bytes follow the first frame's last block."""
    return len(gif) - gif.index(b"\0!\xf9\4", gif.index(b",\0\0\0\0"))


def gifs() -> Iterator[File]:
    image = Image.frombytes("P", (WIDTH, HEIGHT), CUBE_INDEX.tobytes())
    image.putpalette(CUBE.tobytes())
    other = image.transpose(Image.Transpose.ROTATE_180)
    exact = partial(File, pixels=CUBE_SCENE, spare=2)  # the last, empty block and the end
    key = int(CUBE_INDEX[HEIGHT // 2, WIDTH // 2])
    clear = CUBE_SCENE.copy()
    clear[np.equal(CUBE_INDEX, key)] = 255
    frames = {"save_all": True, "append_images": [other, image]}
    yield exact("GIF", pillow(image, "GIF", interlace=0))
    yield exact("GIF interlaced", pillow(image, "GIF", interlace=1))
    yield exact("GIF transparent", pillow(image, "GIF", transparency=key), pixels=clear)
    data = pillow(image, "GIF", **frames)
    yield exact("GIF animated", data, spare=after_first_frame(data))
    data = pillow(image, "GIF", transparency=key, **frames)
    spare = after_first_frame(data)
    yield exact("GIF animated, transparent", data, pixels=clear, spare=spare)
    grey = tripled(GREY)
    yield exact("GIF grey", pillow(L, "GIF"), marks=marks_of(grey), pixels=grey)
    plain = pillow(image, "GIF", interlace=0)
    at = plain.index(b",\0\0\0\0")
    head = plain[:6] + struct.pack("<HHBB", 60, 41, plain[10], 5) + plain[12:at]
    data = head + struct.pack("<cHH", b",", 4, 3) + plain[at + 5 :]
    shown = np.empty((41, 60, 3), np.uint8)
    # The background's colour is the sixth; browsers show nothing there, Pillow the first colour.
    shown[:] = tuple(plain[13:16])
    shown[3:40, 4:57] = CUBE_SCENE
    yield File("GIF smaller than its screen", data, (41, 60), None, pixels=shown, spare=2)
    yield exact("GIF with a comment", pillow(image, "GIF", comment=b"x" * 2000))
    yield exact("GIF with junk after its end", pillow(image, "GIF") + b"junk" * 9, spare=38)
    yield from sizes("GIF", partial(pillow, format_="GIF"), exact=False, spare=2)
    wide_gif = pillow(Image.new("L", (40_000, 1), 99), "GIF")
    grey = np.full((1, 40_000, 3), 99, np.uint8)
    yield File("GIF 1 x 40000", wide_gif, (1, 40_000), None, pixels=grey, spare=2)
