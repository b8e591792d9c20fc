"""Draws the pictures of docs/pictures.md: python docs/make_pictures.py

Needs the exporter's environment and matplotlib: pip install './export[benchmarks]'.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from fungi_onnx.image import to_tensor
from fungi_onnx.views import CROPS
from fungi_onnx_export import pictures

HERE = Path(__file__).parent
SIZE = 299


def photo() -> NDArray[np.uint8]:
    """A drawing of 12 megapixels with the grain of a sensor and a fence of fine lines."""
    drawn = cv2.resize(pictures.render(3, 1200)[150:1050], (4000, 3000)).astype(np.float32)
    rows, columns = np.mgrid[:3000, :4000]
    weave = 0.5 + 0.5 * np.sin(rows / 4.3) * np.sin(columns / 5.1)
    drawn[:1100, 2600:] *= 0.45 + 0.55 * weave[:1100, 2600:, np.newaxis].astype(np.float32)
    drawn += np.random.default_rng(0).normal(0, 9, (3000, 4000, 1)).astype(np.float32)
    return np.clip(np.rint(drawn), 0, 255).astype(np.uint8)


def show(axis: Axes, picture: NDArray[np.generic], title: str) -> None:
    axis.imshow(picture, interpolation="nearest")
    axis.set_title(title, fontsize=10)
    axis.axis("off")


def views(data: bytes) -> None:
    exact, fast = (to_tensor(data, SIZE, SIZE, view=view) for view in ("exact", "fast"))
    figure, axes = plt.subplots(2, 3, figsize=(9, 6.3), layout="constrained")
    window = np.s_[0:100, 190:299]
    for row, part, what in ((0, np.s_[:, :], ""), (1, window, ", top right")):
        show(axes[row, 0], exact[part], f"exact{what}")
        show(axes[row, 1], fast[part], f"fast{what}")
        difference = np.abs(exact - fast).mean(axis=2)[part]
        axes[row, 2].imshow(difference, cmap="magma", vmin=0, vmax=0.25, interpolation="nearest")
        axes[row, 2].set_title("|difference|, 0 to 0.25", fontsize=10)
        axes[row, 2].axis("off")
    figure.savefig(HERE / "views.jpg", dpi=110, pil_kwargs={"quality": 88})


def crops(data: bytes, whole: NDArray[np.uint8]) -> None:
    figure, axes = plt.subplots(
        1, 4, figsize=(10, 2.7), layout="constrained", width_ratios=[4 / 3, 1, 1, 1]
    )
    show(axes[0], cv2.resize(whole, (600, 450), interpolation=cv2.INTER_AREA), "the photo")
    for axis, crop in zip(axes[1:], CROPS, strict=True):
        show(axis, to_tensor(data, SIZE, SIZE, view="fast", crop=crop), crop)
    figure.savefig(HERE / "crops.jpg", dpi=110, pil_kwargs={"quality": 88})


def main() -> None:
    whole = photo()
    data = pictures.to_jpeg(whole, 92)
    views(data)
    crops(data, whole)


if __name__ == "__main__":
    main()
