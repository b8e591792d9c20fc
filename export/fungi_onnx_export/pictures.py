"""Pictures made by code: a drawn mushroom for every species, and a set that tries a classifier.

The drawings are what the stand-in module is fitted to and shown with; the parity set is what two
implementations of a classifier are compared on where nobody has photographs. All of it is
deterministic.
"""

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fungi_onnx_export import mushroom

Picture = NDArray[np.uint8]


def render(species: int, size: int = 299) -> Picture:
    """The drawing of a species: a mushroom in its wood.

    Args:
        species: any number from 0; each has a cap, a stem, a ground and a light of its own.
        size: height and width in pixels; the same scene at every size.

    Returns:
        uint8 [size, size, 3], RGB.
    """
    return _to_picture(mushroom.draw(species, size))


def describe(species: int) -> str:
    """What a species looks like, in a few words, as ``spotted red dome``."""
    return mushroom.describe(species)


def vary(picture: Picture, seed: int) -> Picture:
    """A second photograph of the same thing: reframed, in other light, compressed again.

    Keeps 80-100 % of each side, changes contrast and brightness by up to about 20 % and goes
    through JPEG at quality 60-90.

    Args:
        picture: uint8 [height, width, 3], RGB.
        seed: the same seed makes the same photograph.

    Returns:
        uint8 [height, width, 3], RGB.
    """
    rng = np.random.default_rng([seed, 2])
    height, width = picture.shape[:2]
    rows, columns = (round(side * rng.uniform(0.8, 1.0)) for side in (height, width))
    top, left = rng.integers(height - rows + 1), rng.integers(width - columns + 1)
    frame = _fit(picture[top : top + rows, left : left + columns], height, width)
    contrast, brightness = rng.uniform(0.8, 1.2), rng.uniform(-25, 25)
    light = _to_picture((frame.astype(np.float32) - 128) * contrast + 128 + brightness)
    return from_jpeg(to_jpeg(light, int(rng.integers(60, 91))))


def to_jpeg(picture: Picture, quality: int) -> bytes:
    """A JPEG file of a picture, uint8 [height, width, 3], RGB; ``quality`` is 0-100."""
    order = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", order, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def from_jpeg(data: bytes) -> Picture:
    """The picture, uint8 [height, width, 3], RGB, in a JPEG file that ``to_jpeg`` made."""
    decoded: Any = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    return _to_picture(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB))


def parity_set(height: int, width: int, count: int = 32) -> NDArray[np.float32]:
    """Pictures of many kinds, to compare two implementations of any image classifier on.

    Drawings, flat pictures (black and white first), variations, noise, gradients, stripes and
    checkers from fine to coarse: in turns, so that a small count is diverse too.

    Returns:
        float32 [count, height, width, 3], RGB in [0,1]; every value is a multiple of 1/255.
    """
    pictures = np.empty((count, height, width, 3), np.float32)
    for number in range(count):
        pictures[number] = _specimen(number % 7, number // 7, height, width)
    return pictures / np.float32(255)


def _specimen(kind: int, turn: int, height: int, width: int) -> Picture:
    """The ``turn``-th picture of one of the seven kinds: uint8 [height, width, 3]."""
    rng = np.random.default_rng([kind, turn, 3])
    y, x = np.mgrid[:height, :width]
    cell = 1 << (turn % 6)  # the grain of what has one, in pixels
    one, other = rng.uniform(0, 255, (2, 3))
    match kind:
        case 0:
            return _fit(render(turn, max(height, width)), height, width)
        case 1:
            level = (0, 255, 128)[turn] if turn < 3 else one
            return np.full((height, width, 3), level, np.uint8)
        case 2:
            return vary(_fit(render(1000 + turn, max(height, width)), height, width), turn)
        case 3:
            grain = rng.uniform(0, 255, (height // cell + 1, width // cell + 1, 3))
            return _fit(_to_picture(grain), height, width)
        case 4:
            weight = np.stack([y / height, x / width, (x + y) / (height + width)], axis=-1)
        case 5:
            angle = rng.uniform(0, math.pi)
            along = x * math.cos(angle) + y * math.sin(angle)
            weight = np.sin(along * math.pi / cell)[..., None] / 2 + 0.5
        case _:
            weight = ((x // cell + y // cell) % 2)[..., None]
    return _to_picture(one + weight * (other - one))


def _fit(picture: Picture, height: int, width: int) -> Picture:
    return _to_picture(cv2.resize(picture, (width, height), interpolation=cv2.INTER_LINEAR))


def _to_picture(levels: Any) -> Picture:
    """Levels rounded into uint8."""
    return np.asarray(np.rint(np.clip(levels, 0, 255)), np.uint8)
