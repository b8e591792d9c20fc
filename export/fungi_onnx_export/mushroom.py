"""The drawing of a mushroom in its wood.

Positions are parts of the picture's side, x to the right and y down.
"""

import colorsys
import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

Canvas = NDArray[np.float32]  # [size, size, 3], levels 0-255
RGB = tuple[float, float, float]

_HUES = ("red", "orange", "yellow", "lime", "green", "teal", "blue", "indigo", "purple", "pink")
# Outlines of a cap from rim (t = -1) over the top (t = 0) to rim (t = 1), in parts of its height.
_SHAPES: dict[str, Any] = {
    "bell": lambda t: (np.exp(-3 * t**2) - np.exp(-3)) / (1 - np.exp(-3)),
    "dome": lambda t: np.sqrt(1 - t**2),
    "cone": lambda t: 1 - np.abs(t) ** 1.3,
    "parasol": lambda t: 0.55 * np.sqrt(1 - t**2) + 0.25 * np.exp(-20 * t**2),
    "button": lambda t: (1 - np.abs(t) ** 3.5) ** 0.6,
}
_PATTERNS = ("plain", "spotted", "ringed", "streaked", "scaly")
_WHITE: RGB = (255, 255, 245)
_DARK: RGB = (20, 15, 20)


def draw(species: int, size: int) -> Canvas:
    """The drawing of a species, RGB; levels may run a little past 0 and 255."""
    rng = np.random.default_rng([species, 1])
    look = _Look(rng)
    canvas = _backdrop(rng, size)
    main = rng.uniform(0.37, 0.63)
    for side in (-1, 1):
        if rng.uniform() < 0.4:
            spot = (main + side * rng.uniform(0.2, 0.33), rng.uniform(0.8, 0.87))
            _mushroom(canvas, look, spot, rng.uniform(0.35, 0.55), rng)
    _mushroom(canvas, look, (main, 0.9), 1.0, rng)
    _grass(canvas, rng)
    return canvas


def describe(species: int) -> str:
    """What a species looks like, in a few words."""
    look = _Look(np.random.default_rng([species, 1]))
    colour = _HUES[round(look.hue * len(_HUES)) % len(_HUES)]
    return f"{look.pattern} {colour} {look.shape}".removeprefix("plain ")


class _Look:
    """What the mushrooms of one species share; hues in [0,1), lengths in parts of the side."""

    def __init__(self, rng: np.random.Generator) -> None:
        u = rng.uniform
        self.hue = u()
        self.cap = _rgb(self.hue, u(0.55, 0.9), u(0.6, 0.95))
        self.mark = _rgb(u(), u(0.0, 0.35), u(0.85, 1.0))
        self.gills = _rgb(u(), u(0.1, 0.5), u(0.55, 0.85))
        self.stem = _rgb(u(0.05, 0.17), u(0.05, 0.4), u(0.75, 0.97))
        self.shape, self.pattern = str(rng.choice(list(_SHAPES))), str(rng.choice(_PATTERNS))
        self.marks = int(rng.integers(3, 8))
        self.half_width, self.height = u(0.2, 0.3), u(0.18, 0.3)
        # Above 0 we look at it from below and see its gills.
        self.tilt = rng.choice((-1, 1)) * u(0.07, 0.25)
        self.stem_length, self.stem_width, self.bulb = u(0.3, 0.45), u(0.03, 0.065), u(1.1, 2.0)
        self.lean, self.ring = u(-0.07, 0.07), u() < 0.45


def _fill(
    canvas: Canvas,
    outline: ArrayLike,
    colour: RGB,
    opacity: float = 1,
    soft: float = 0,
    light: float = 0,
) -> None:
    """Paints the polygon [n, 2] with a ``soft`` edge; ``light`` makes it look round."""
    size = canvas.shape[0]
    corners = np.asarray(outline, np.float64) * size
    low, high = corners.min(axis=0), corners.max(axis=0)
    margin = 3 * soft * size + 2
    left, top = np.clip(low - margin, 0, size).astype(int)
    right, bottom = np.clip(high + margin, 0, size).astype(int)
    if left >= right or top >= bottom:
        return
    mask = np.zeros((bottom - top, right - left), np.uint8)
    sixteenths = np.rint((corners - (left, top) - 0.5) * 16).astype(np.int32)
    cv2.fillPoly(mask, [sixteenths], (255,), cv2.LINE_AA, shift=4)
    if soft:
        mask = np.asarray(cv2.GaussianBlur(mask, (0, 0), soft * size), np.uint8)
    paint = np.array(colour, np.float32)
    if light:  # it falls from above left
        x = (np.arange(left, right) - low[0]) / (high[0] - low[0]) - 0.33
        y = (np.arange(top, bottom) - low[1]) / (high[1] - low[1]) - 0.25
        shade = 1 + light / 2 - light * np.hypot(x, 0.7 * y[:, None])
        paint = paint * shade.astype(np.float32)[..., None]
    region = canvas[top:bottom, left:right]
    region += (mask[..., None] * np.float32(opacity / 255)) * (paint - region)


def _backdrop(rng: np.random.Generator, size: int) -> Canvas:
    """Sky, far trees out of focus and the ground."""
    u = rng.uniform
    small = 96  # what is out of focus is painted small and enlarged
    sky, ground, horizon = u(), u(), u(0.55, 0.78)
    high = np.array(_rgb(sky, u(0.25, 0.55), u(0.3, 0.7)))
    low = np.array(_rgb(sky + u(-0.15, 0.15), u(0.1, 0.35), u(0.75, 1.0)))
    sky_fall = high + np.linspace(0, 1.2, small)[:, None, None] * (low - high)
    far = np.repeat(sky_fall.astype(np.float32), small, axis=1)
    bark = _rgb(ground, 0.4, u(0.15, 0.4))
    for _ in range(rng.integers(2, 7)):
        x, width = u(), u(0.015, 0.05)
        trunk = [(x, -0.1), (x + width, -0.1), (x + width * 1.2, 0.9), (x - width * 0.2, 0.9)]
        _fill(far, trunk, bark, u(0.25, 0.6), soft=0.012)
    for _ in range(rng.integers(5, 14)):
        _fill(
            far, _ellipse((u(), u(0, horizon)), (u(0.02, 0.07),) * 2), _WHITE, u(0.1, 0.35), 0.008
        )
    pixels = _enlarge(far, size)

    litter = np.zeros((size, size), np.float32)
    for cells, strength in ((8, 0.12), (40, 0.1), (130, 0.08)):
        litter += strength * _enlarge(rng.standard_normal((cells, cells), np.float32), size)
    first = int((horizon - 0.03) * size)  # nothing above this row is ground
    y = np.arange(first, size)[:, None] / size
    hills = horizon + 0.02 * np.sin(np.linspace(0, u(4, 14), size) + u(0, 6))
    cover = np.clip((y - hills) * 60, 0, 1).astype(np.float32)[..., None]
    depth = 1.15 - u(0.4, 0.6) * np.clip((y - horizon) / (1 - horizon), 0, 1)
    near = np.array(_rgb(ground, u(0.3, 0.6), u(0.5, 0.75)), np.float32)
    floor = near * (depth * (1 + litter[first:])).astype(np.float32)[..., None]
    pixels[first:] += cover * (floor - pixels[first:])
    return pixels


def _mushroom(
    canvas: Canvas, look: _Look, foot: tuple[float, float], scale: float, rng: np.random.Generator
) -> None:
    """One mushroom that stands at ``foot`` (x, y)."""
    x, y = foot
    width, height = look.half_width * scale, look.height * scale
    down = np.array((0.0, 1.0))
    top = np.array([x + look.lean * scale, y - look.stem_length * scale])
    turn = look.lean * 2
    axes = np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
    profile = _SHAPES[look.shape]

    def on_cap(t: ArrayLike, v: ArrayLike) -> NDArray[np.float64]:
        """Points across the cap (t from -1 to 1) and up it (v: rim 0, outline 1): [n, 2]."""
        across, up = np.broadcast_arrays(np.asarray(t, float), np.asarray(v, float))
        rim = max(-look.tilt, 0.0) * width * np.sqrt(1 - across**2) * (1 - up)
        place = np.stack([across * width, rim - up * height * profile(across)], -1)
        return np.asarray(top + place @ axes)

    _fill(canvas, _ellipse((x + 0.05 * scale, y), (width * 0.9, 0.035 * scale)), _DARK, 0.5, 0.015)
    t = np.sin(np.linspace(-math.pi / 2, math.pi / 2, 41))
    v = np.linspace(0, 1, 12)
    half = look.stem_width * scale * (look.bulb + (1 - look.bulb) * np.minimum(v * 1.6, 1) ** 0.7)
    side, middle = np.stack([half, 0 * v], -1), foot + (top - foot) * np.stack([v**1.5, v], -1)
    base = _ellipse(foot, (half[0], 0.02 * scale))[:21]
    stem = np.concatenate([base, middle - side, (middle + side)[::-1]])
    if look.tilt < 0:  # seen from above: the cap hides the top of its stem
        _fill(canvas, stem, look.stem, light=0.7)
    cap = np.concatenate([on_cap(t, 1.0), on_cap(t[::-1], 0.0)])
    _fill(canvas, cap + 0.02 * scale * down, _DARK, 0.3, 0.01)
    _fill(canvas, cap, look.cap, light=0.8)
    _marks(canvas, look, on_cap, scale, rng)
    if look.tilt > 0:
        rim = _ellipse((0, 0), (width, look.tilt * width))
        _fill(canvas, top + rim @ axes, look.gills, light=0.5)
        for end in rim[::2]:
            side = np.array([-end[1], end[0]]) * 0.03
            _fill(canvas, top + np.array([(0, 0), end - side, end + side]) @ axes, _DARK, 0.25)
        _fill(canvas, stem, look.stem, light=0.7)
    if look.ring:
        collar = top + look.stem_length * 0.33 * scale * down
        skirt = _ellipse(collar, (look.stem_width * 1.9 * scale, 0.022 * scale))
        _fill(canvas, skirt + 0.008 * scale * down, _DARK, 0.35)
        _fill(canvas, skirt, look.stem, light=0.4)
    shine = on_cap(-0.38, 0.66)
    _fill(canvas, _ellipse(shine, (width * 0.16, height * 0.09)), _WHITE, 0.45, 0.012 * scale)


def _marks(
    canvas: Canvas, look: _Look, on_cap: Any, scale: float, rng: np.random.Generator
) -> None:
    """The pattern of a cap."""
    red, green, blue = look.cap
    dark = (0.55 * red, 0.55 * green, 0.55 * blue)
    across = np.linspace(-0.97, 0.97, 31)
    for share in (np.arange(look.marks) + 0.5) / look.marks:
        if look.pattern == "ringed":
            band = share + 0.22 / look.marks * np.repeat((-1, 1), len(across))
            _fill(canvas, on_cap([*across, *across[::-1]], band), look.mark, 0.6)
        elif look.pattern == "streaked":
            for t in (share * 2 - 1, share * 2 - 1 + 0.5 / look.marks):
                streak = on_cap([t, t + 0.06, t * 0.3], [0.05, 0.05, 0.85])
                _fill(canvas, streak, dark, 0.7)
        elif look.pattern != "plain":
            for t in (np.arange(4) + rng.uniform(0.1, 0.9, 4)) / 2 - 1:
                spot, reach = on_cap(t, share * 0.86 + 0.05), rng.uniform(0.011, 0.024) * scale
                radii = (reach * math.sqrt(1 - min(t * t, 0.9)), reach * 0.8)
                if look.pattern == "spotted":
                    _fill(canvas, _ellipse(spot, radii) + 0.004 * scale, _DARK, 0.3)
                    _fill(canvas, _ellipse(spot, radii), look.mark, light=0.3)
                else:
                    _fill(canvas, spot + radii * np.array([(-1, 1), (0, -1.7), (1, 1)]), dark, 0.8)


def _grass(canvas: Canvas, rng: np.random.Generator) -> None:
    """Blades in front, which also hide where the stem meets the ground."""
    hue = rng.uniform(0.15, 0.42)
    for _ in range(rng.integers(10, 34)):
        x, tall, bend = rng.uniform(0, 1), rng.uniform(0.05, 0.17), rng.uniform(-0.05, 0.05)
        foot, width = rng.uniform(0.9, 1.03), rng.uniform(0.004, 0.009)
        sides = [(x + bend * 0.3 + n * width, foot - tall * 0.55) for n in (-0.7, 0.7)]
        blade = [(x - width, foot), sides[0], (x + bend, foot - tall), sides[1], (x + width, foot)]
        _fill(canvas, blade, _rgb(hue + rng.uniform(-0.03, 0.03), 0.6, rng.uniform(0.3, 0.65)))


def _rgb(hue: float, saturation: float, value: float) -> RGB:
    """Levels 0-255 of a colour whose hue may run past 1."""
    red, green, blue = colorsys.hsv_to_rgb(hue % 1, saturation, value)
    return 255 * red, 255 * green, 255 * blue


def _ellipse(centre: ArrayLike, radii: tuple[float, float]) -> NDArray[np.float64]:
    """Its outline as 41 points, from the right over the bottom: float64 [41, 2]."""
    angle = np.linspace(0, 2 * math.pi, 41)
    return np.asarray(centre) + radii * np.stack([np.cos(angle), np.sin(angle)], axis=-1)


def _enlarge(levels: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    return np.asarray(cv2.resize(levels, (size, size), interpolation=cv2.INTER_CUBIC), np.float32)
