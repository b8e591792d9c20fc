"""Awkward picture files, made in memory: every format and form that a photo may come in.

All show one scene of 37 x 53 pixels, a smooth gradient whose corners are marked in pure colours:
red top left, green top right, yellow bottom left, blue bottom right.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fungi_onnx import ImageError

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


def box(kind: bytes, payload: bytes = b"") -> bytes:
    return struct.pack(">I4s", len(payload) + 8, kind) + payload


def found(data: bytes, kind: bytes, skipped: int) -> int:
    """Where the payload after a box's or chunk's type continues."""
    return data.index(kind) + len(kind) + skipped


def with_size(data: bytes, kind: bytes, skipped: int, code: str, *values: int) -> bytes:
    """Overwrites the numbers that lie so far after the first ``kind``."""
    return replaced(data, found(data, kind, skipped), struct.pack(code, *values))


def sizes(
    format_: str, save: Callable[[Image.Image], bytes], *, exact: bool = True, spare: int = 0
) -> Iterator[File]:
    for height, width in ((1, 1), (1, 200), (200, 1), (7, 5)):
        image = RGB.resize((width, height))
        pixels = np.asarray(image) if exact else None
        name = f"{format_} {height} x {width}"
        yield File(name, save(image), (height, width), None, pixels=pixels, spare=spare)
