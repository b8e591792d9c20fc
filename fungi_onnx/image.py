"""Pictures to tensors: a path, bytes, a file object or an array → RGB → float in [0, 1].

There are two ways to look at a photo. ``exact`` is the hub module's own recipe: decode in full,
turn upright, bilinear resize in float without antialiasing, divide by 255; it equals
``tf.image.resize`` to 0.01 of a level. ``fast`` has libjpeg decode at 1/2, 1/4 or 1/8 and shrinks
by averaging (``INTER_AREA``). What they cost and how often they agree is in docs/pictures.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fungi_onnx import formats, jpeg, source
from fungi_onnx.errors import ImageDecodeError
from fungi_onnx.jpeg import JPEGHeader
from fungi_onnx.limits import Limits
from fungi_onnx.orientation import turned, turned_back
from fungi_onnx.source import FileInput
from fungi_onnx.views import Crop, View, check_options

DEFAULT_LIMITS = Limits()
_BAND = 32  # rows of the result; 16 to 64 are equally fast

ImageInput = FileInput | NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.floating]
name_of = source.name_of


def read_rgb(
    image: ImageInput, *, limits: Limits = DEFAULT_LIMITS, allow_truncated: bool = False
) -> NDArray[np.uint8]:
    """Reads a picture from wherever it is, in full size.

    Args:
        image: a path, the bytes of a file, a binary file object, or an array: [height, width]
            grey, [height, width, 1] grey, [height, width, 3] RGB or [height, width, 4] RGBA; uint8,
            uint16 (scaled by 255/65535) or float in [0, 1]. Transparency is composed on white.
        limits: what a file may be at most.
        allow_truncated: take a JPEG that is cut short or damaged as far as it goes.

    Returns:
        RGB, uint8 [height, width, 3], turned upright by its EXIF orientation.

    Raises:
        ImageFileError: the path cannot be read.
        ImageTooLargeError: a limit is exceeded; nothing was decoded.
        ImageDecodeError: the bytes are not a complete picture.
        TypeError, ValueError: ``image`` is none of the above, or an array of another form.
    """
    pixels, orientation = _pixels(image, limits, allow_truncated)
    return np.ascontiguousarray(turned(pixels, orientation))


def to_tensor(
    image: ImageInput,
    height: int,
    width: int,
    *,
    view: View = "exact",
    crop: Crop = "whole",
    limits: Limits = DEFAULT_LIMITS,
    allow_truncated: bool = False,
) -> NDArray[np.float32]:
    """Makes the model's input of a picture.

    Args:
        image: what `read_rgb` takes.
        height, width: the model's input size in pixels.
        view: ``"exact"`` or ``"fast"``, see above.
        crop: ``"whole"`` squeezes the whole picture to the size, as the module does; ``"centre"``
            takes the largest rectangle of the model's proportions from its middle;
            ``"letterbox"`` keeps all of it in proportion, with black bars, as
            ``tf.image.resize_with_pad`` does.
        limits, allow_truncated: see `read_rgb`.

    Returns:
        float32 [height, width, 3] in [0, 1].

    Raises:
        As `read_rgb`; ValueError also for another view or crop.
    """
    check_options(view, crop)
    resize = _area if view == "fast" else _bilinear

    def reduction(stored: JPEGHeader) -> int:
        plan = _plan(
            *_swapped(stored.height, stored.width, stored.orientation), height, width, crop
        )
        return plan.reduction if view == "fast" else 1

    pixels, orientation = _pixels(image, limits, allow_truncated, reduction)
    upright = turned(pixels, orientation)
    plan = _plan(upright.shape[0], upright.shape[1], height, width, crop)
    # The part is turned back: rows are rows in memory again. Only the small result is turned.
    part = turned_back(upright[plan.source], orientation)
    size = _swapped(*plan.size, orientation)
    resized = turned(resize(part, *size, orientation), orientation)
    tensor = np.zeros((height, width, 3), np.float32)
    np.divide(resized, 255, out=tensor[plan.target], dtype=np.float32)
    return tensor


def _swapped(height: int, width: int, orientation: int) -> tuple[int, int]:
    return (width, height) if orientation > 4 else (height, width)


def _pixels(
    image: ImageInput,
    limits: Limits,
    allow_truncated: bool,
    reduction: Callable[[JPEGHeader], int] | None = None,
) -> tuple[NDArray[np.uint8], int]:
    """RGB as stored, and the orientation that turns it upright.

    ``reduction`` gives the scale of a JPEG for a tensor: its pixels are only passing then.
    """
    if isinstance(image, np.ndarray):
        return _from_array(image), 1
    data, name = source.read(image, limits)
    if not data:
        raise ImageDecodeError(name, "is empty (0 bytes)")
    format_ = formats.format_of(data)
    if format_ is None:
        raise ImageDecodeError(name, f"is not a picture in a known format ({formats.KNOWN})")
    if format_ == "JPEG":
        header = jpeg.read_header(data)
        jpeg.check_scans(data, name, header.width * header.height if header else 1)
        if header is not None:
            limits.check_size(header.width, header.height, name)
            rgb = jpeg.decode(
                data,
                name,
                header,
                reduction=reduction(header) if reduction else 1,
                allow_truncated=allow_truncated,
                passing=reduction is not None,
            )
            if rgb is not None:
                return rgb, header.orientation
    # From here on other libraries are needed, and the start of most programs is quicker without:
    # OpenCV takes 30 ms to import, Pillow 30 ms, what they need 25 ms more.
    if format_ == "PNG":
        from fungi_onnx import png

        return png.decode(data, name, limits)
    from fungi_onnx import pillow

    return pillow.decode(data, name, format_, limits)


def _from_array(array: NDArray[Any]) -> NDArray[np.uint8]:
    grey = array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 1)
    if 0 in array.shape or not (grey or (array.ndim == 3 and array.shape[2] in (3, 4))):
        shape = "×".join(map(str, array.shape))
        raise ValueError(
            "an image array must be height×width (grey), height×width×3 (RGB) or height×width×4"
            f" (RGBA), not {shape}"
        )
    from fungi_onnx.pixels import to_8_bits, to_rgb

    return to_rgb(to_8_bits(np.ascontiguousarray(array)))


class _Plan(NamedTuple):
    """Which part of the upright picture goes where in the tensor."""

    source: tuple[slice, slice]
    target: tuple[slice, slice]
    size: tuple[int, int]
    reduction: int


def _plan(tall: int, wide: int, height: int, width: int, crop: Crop) -> _Plan:
    """For a picture of ``tall`` × ``wide`` pixels and a tensor of ``height`` × ``width``."""
    top = left = 0
    part_tall, part_wide, new_height, new_width = tall, wide, height, width
    # Integers throughout; tf.image.resize_with_pad does the same in float32.
    if crop == "centre":
        part_tall = max(1, min(tall, wide * height // width))
        part_wide = max(1, min(wide, tall * width // height))
    elif crop == "letterbox":
        new_height = max(1, min(height, tall * width // wide))
        new_width = max(1, min(width, wide * height // tall))
        top = max(0, (height * wide - tall * width) // (2 * wide))
        left = max(0, (width * tall - wide * height) // (2 * tall))
    above, before = (tall - part_tall) // 2, (wide - part_wide) // 2
    reduction = next(
        factor
        for factor in (8, 4, 2, 1)
        if factor == 1 or (part_tall >= factor * new_height and part_wide >= factor * new_width)
    )
    return _Plan(
        np.s_[above : above + part_tall, before : before + part_wide],
        np.s_[top : top + new_height, left : left + new_width],
        (new_height, new_width),
        reduction,
    )


def _bilinear(
    pixels: NDArray[np.uint8], height: int, width: int, orientation: int
) -> NDArray[np.float32]:
    """uint8 as stored → float32 [height, width, 3] in 0..255, as ``tf.image.resize`` does it.

    Only the rows and columns that are blended are touched, at most twice as many as asked for.
    The samples are those of the upright picture, to the last bit of their position.
    """
    above, below, down = _taps(pixels.shape[0], height, flipped=orientation in (3, 4, 6, 7))
    before, after, right = _taps(pixels.shape[1], width, flipped=orientation in (2, 3, 7, 8))
    result = np.empty((height, 3 * width), np.float32)
    # In bands that stay in the processor's cache, and in flat rows: NumPy is slow where the last
    # axis has only three.
    for start in range(0, height, _BAND):
        band = slice(start, start + _BAND)
        rows = pixels[np.concatenate((above[band], below[band]))]
        first, second = (
            rows.take(columns, axis=1).reshape(len(rows), -1) for columns in (before, after)
        )
        upper, lower = np.split(_blend(first, second, right.repeat(3)), 2)
        result[band] = _blend(upper, lower, down[band, np.newaxis])
    return result.reshape(height, width, 3)


def _blend(
    first: NDArray[Any], second: NDArray[Any], weight: NDArray[np.float32]
) -> NDArray[np.float32]:
    result: NDArray[np.float32] = np.subtract(second, first, dtype=np.float32)
    result *= weight
    result += first
    return result


def _taps(
    size: int, new_size: int, *, flipped: bool
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """The two neighbours of each sample and the weight of the second: half-pixel centres.

    In float32, as TensorFlow computes them: on a picture of 4000 pixels that rounding is worth
    more than 0.01 of a level.
    """
    scale = np.float32(size) / np.float32(new_size)
    at = (np.arange(new_size, dtype=np.float32) + np.float32(0.5)) * scale - np.float32(0.5)
    first = np.floor(at)
    weight = at - first
    neighbours = np.maximum(first, 0), np.minimum(np.ceil(at), size - 1)
    if flipped:
        neighbours = size - 1 - neighbours[0][::-1], size - 1 - neighbours[1][::-1]
        weight = weight[::-1]
    return neighbours[0].astype(np.intp), neighbours[1].astype(np.intp), weight


def _area(pixels: NDArray[np.uint8], height: int, width: int, orientation: int) -> NDArray[Any]:
    """Shrinks by averaging; what must grow grows bilinearly."""
    import cv2

    smaller = min(height, pixels.shape[0]), min(width, pixels.shape[1])
    if smaller != pixels.shape[:2]:
        pixels = np.asarray(
            cv2.resize(pixels, smaller[::-1], interpolation=cv2.INTER_AREA), np.uint8
        )
    if smaller == (height, width):
        return pixels
    return _bilinear(pixels, height, width, orientation)


def to_levels(tensor: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The nearest whole levels, uint8, of a picture in [0, 1] that was resized."""
    return np.asarray(np.rint(tensor * np.float32(255)), np.uint8)
