"""Photos made by code, as a phone takes them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from fungi_onnx import read_rgb
from fungi_onnx_export import pictures


def photo(path: Path | None, width: int, height: int, species: int = 3) -> bytes:
    """A JPEG of quality 90, 4:2:0; with the grain of a sensor, or it would be too easy.

    Args:
        path: a picture to scale; None draws the ``species``.
        width, height: in pixels; the picture is stretched to them.
        species: see `fungi_onnx_export.pictures.render`.
    """
    rgb = read_rgb(path) if path else pictures.render(species, 1024)
    scaled = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.float32)
    scaled += np.random.default_rng(0).normal(0, 4, scaled.shape).astype(np.float32)
    levels = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
    return pictures.to_jpeg(levels, 90)
