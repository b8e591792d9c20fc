"""Awkward picture files, made in memory: every format and form that a photo may come in.

All show one scene of 37 x 53 pixels, a smooth gradient whose corners are marked in pure colours:
red top left, green top right, yellow bottom left, blue bottom right.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fungi_onnx import ImageDecodeError, ImageError, ImageTooLargeError

Pixels = NDArray[np.uint8]
Colour = tuple[int, int, int]
Order = Literal["<", ">"]

HEIGHT, WIDTH, MARK = 37, 53, 12
SIZE = (HEIGHT, WIDTH)
RED, GREEN, BLUE, YELLOW = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)
# In the order top left, top right, bottom left, bottom right.
MARKS = (RED, GREEN, YELLOW, BLUE)
CORNERS = (
    np.s_[:MARK, :MARK],
    np.s_[:MARK, -MARK:],
    np.s_[-MARK:, :MARK],
    np.s_[-MARK:, -MARK:],
)

UNKNOWN = r"is not a picture in a known format \(JPEG, PNG, WebP, AVIF, GIF, TIFF, BMP, JPEG 2000"
DAMAGED = r"is an? [\w ]+ picture that is damaged or cut short"


@dataclass(frozen=True, eq=False)
class File:
    """A file, and what must come of it.

    Attributes:
        name: the format, then what is odd about it.
        data: the file.
        size: height and width of the upright picture; None if it is none.
        marks: the colours of the corners; None if it does not show the scene.
        near_marks: how far a level may be from them.
        pixels: what it must look like, where that is known to the level.
        near_pixels: how far a level may be from that.
        near_pillow: how far a level may be from Pillow; None if Pillow is no reference.
        orientation: as its EXIF says, if that is what the file is for.
        spare: how many bytes at its end the picture can do without.
        error, reason: what is raised if it is no picture.
    """

    name: str
    data: bytes
    size: tuple[int, int] | None = SIZE
    marks: tuple[Colour, ...] | None = MARKS
    near_marks: int = 0
    pixels: Pixels | None = None
    near_pixels: int = 0
    near_pillow: int | None = 0
    orientation: int | None = None
    spare: int = 0
    error: type[ImageError] | None = None
    reason: str = ""

    @property
    def format(self) -> str:
        return self.name.partition(" ")[0].rstrip(",")


def scene() -> Pixels:
    down, right = np.mgrid[:HEIGHT, :WIDTH]
    red, green = 40 + 150 * right // (WIDTH - 1), 60 + 120 * down // (HEIGHT - 1)
    pixels = np.stack([red, green, 200 - 120 * (down + right) // (HEIGHT + WIDTH)], axis=-1)
    for corner, colour in zip(CORNERS, MARKS, strict=True):
        pixels[corner] = colour
    return pixels.astype(np.uint8)


def opacity() -> Pixels:
    """Opaque at the sides and in the corners, nothing in the middle."""
    row = np.clip(np.abs(np.arange(WIDTH) - WIDTH // 2) * 12, 0, 255).astype(np.uint8)
    alpha = np.tile(row, (HEIGHT, 1))
    for corner in CORNERS:
        alpha[corner] = 255
    return alpha


def on_white(rgb: Pixels, alpha: Pixels) -> Pixels:
    part = alpha[..., None] / 255
    return np.rint(rgb * part + 255 * (1 - part)).astype(np.uint8)


def wide(pixels: Pixels) -> NDArray[np.uint16]:
    """16 bits that round to these 8, but do not begin with them."""
    jitter = np.resize([-128, -90, 0, 60, 128], pixels.size).reshape(pixels.shape)
    return np.clip(pixels.astype(int) * 257 + jitter, 0, 65535).astype(np.uint16)


def tripled(grey: NDArray[Any]) -> NDArray[Any]:
    return np.repeat(grey[..., None], 3, axis=-1)


def marks_of(pixels: Pixels) -> tuple[Colour, ...]:
    rows, columns = (0, 0, -1, -1), (0, -1, 0, -1)
    return tuple(tuple(map(int, colour)) for colour in pixels[rows, columns])  # type: ignore[misc]


SCENE, ALPHA = scene(), opacity()
GREY = np.asarray(Image.fromarray(SCENE).convert("L"))
BITS = (GREY > 127).astype(np.uint8)
SCENE_ON_WHITE, GREY_ON_WHITE = on_white(SCENE, ALPHA), on_white(tripled(GREY), ALPHA)
RGB, L = Image.fromarray(SCENE), Image.fromarray(GREY)
RGBA = Image.fromarray(np.dstack((SCENE, ALPHA)))
LA = Image.merge("LA", (L, Image.fromarray(ALPHA)))
OTHER = RGB.transpose(Image.Transpose.ROTATE_180)  # for later frames and pages
# 216 colours that include those of the marks.
CUBE = np.array([(r, g, b) for r in range(6) for g in range(6) for b in range(6)], np.uint8) * 51
CUBE_INDEX = (SCENE // 51 @ np.array([36, 6, 1])).astype(np.uint8)
CUBE_SCENE = CUBE[CUBE_INDEX]
# Which of the corners' colours is nearest.
FOUR = np.array(MARKS, np.uint8)
FOUR_INDEX = np.square(SCENE[:, :, None].astype(int) - FOUR).sum(-1).argmin(-1).astype(np.uint8)
FOUR_SCENE = FOUR[FOUR_INDEX]
TWO = np.array([(30, 60, 200), (200, 180, 20)], np.uint8)
TWO_SCENE = TWO[BITS]


def pillow(image: Image.Image, format_: str, **options: Any) -> bytes:
    file = io.BytesIO()
    # Copies: a saved image keeps settings that trouble the next format.
    others = [other.copy() for other in options.pop("append_images", ())]
    image.copy().save(file, format_, **options, **({"append_images": others} if others else {}))
    return file.getvalue()


def opencv(extension: str, pixels: NDArray[Any], *options: int) -> bytes:
    """Of RGB or RGBA."""
    order = [2, 1, 0, 3][: pixels.shape[2]]
    return cv2.imencode(extension, np.ascontiguousarray(pixels[..., order]), options)[1].tobytes()


def exif(orientation: int, order: Order = "<") -> bytes:
    """A TIFF structure of two entries, the second of which is the orientation."""
    return {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(
        f"{order}IHHHIIHHIHHI", 8, 2, 0x0100, 4, 1, 99, 0x0112, 3, 1, orientation, 0, 0
    )


def as_stored(upright: NDArray[Any], orientation: int) -> NDArray[Any]:
    """What a camera stores so that this EXIF orientation gives the upright picture."""
    stored = {
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.swapaxes(0, 1),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(upright, -1),
    }.get(orientation, upright)
    return np.ascontiguousarray(stored)


def replaced(data: bytes, at: int, new: bytes) -> bytes:
    assert 0 <= at <= len(data) - len(new)
    return data[:at] + new + data[at + len(new) :]


# JPEG


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


def sizes(
    format_: str, save: Callable[[Image.Image], bytes], *, exact: bool = True, spare: int = 0
) -> Iterator[File]:
    for height, width in ((1, 1), (1, 200), (200, 1), (7, 5)):
        image = RGB.resize((width, height))
        pixels = np.asarray(image) if exact else None
        name = f"{format_} {height} x {width}"
        yield File(name, save(image), (height, width), None, pixels=pixels, spare=spare)


# PNG


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


# WebP, AVIF, GIF


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


# TIFF


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


# BMP


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


# JPEG 2000, PNM


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


# Turned


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


# No pictures


def heic(height: int, width: int) -> bytes:
    """The boxes of a HEIC that say how large it is, and no picture."""
    size = box(b"ispe", struct.pack(">III", 0, width, height))
    properties = box(b"ipco", size) + box(b"ipma", struct.pack(">IIHBB", 0, 1, 1, 1, 1))
    item = box(b"pitm", struct.pack(">IH", 0, 1))
    meta = box(b"meta", bytes(4) + item + box(b"iprp", properties))
    return box(b"ftyp", b"heic\0\0\0\0mif1heic") + meta


def box(kind: bytes, payload: bytes = b"") -> bytes:
    return struct.pack(">I4s", len(payload) + 8, kind) + payload


def found(data: bytes, kind: bytes, skipped: int) -> int:
    """Where the payload after a box's or chunk's type continues."""
    return data.index(kind) + len(kind) + skipped


def with_size(data: bytes, kind: bytes, skipped: int, code: str, *values: int) -> bytes:
    """Overwrites the numbers that lie so far after the first ``kind``."""
    return replaced(data, found(data, kind, skipped), struct.pack(code, *values))


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
