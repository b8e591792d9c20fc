"""The pictures that are shown to every variant, and the answers that they should get."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fungi_onnx import FungiClassifier, image
from fungi_onnx.session import Session

COUNT = 256
_CHUNK = 16
_COARSE = (4, 7, 14, 28)  # pixels a side, from blobs of colour to fine texture


@dataclass(frozen=True)
class Materials:
    """Pictures in both forms and the float file's answers on the CPU to each.

    Attributes:
        floats: float32 [N, height, width, 3] in [0, 1].
        levels: the same, rounded to uint8.
        of_floats, of_levels: float32 [N, classes]. Rounding moves the float file's own answers,
            too; to tell that from the variant's doing, each form has its own right answers.
    """

    floats: NDArray[np.float32]
    levels: NDArray[np.uint8]
    of_floats: NDArray[np.float32]
    of_levels: NDArray[np.float32]

    def form(self, *, uint8: bool) -> tuple[NDArray[Any], NDArray[np.float32]]:
        """The pictures in one form, and the answers to it."""
        return (self.levels, self.of_levels) if uint8 else (self.floats, self.of_floats)


def make(model: Path, folder: Path | None) -> Materials:
    """`COUNT` pictures, seeded, and the CPU's answers.

    The golden probes; up to the half parts of them, or of the photos in a folder, in other
    colours; then smooth random ones.
    """
    classifier = FungiClassifier(model, device="cpu")
    height, width = classifier.image_size
    chance = np.random.default_rng(0)
    shown = [image.read_rgb(probe.png) for probe in classifier.model.probes.pictures]
    files = sorted(path for path in folder.iterdir() if path.is_file()) if folder else []
    whole = [image.read_rgb(file) for file in files] or list(shown)
    shown += whole if files else []
    while whole and len(shown) < COUNT // 2:
        shown.append(_part(whole[len(shown) % len(whole)], chance))
    while len(shown) < COUNT:
        side = _COARSE[len(shown) % len(_COARSE)]
        shown.append(chance.integers(0, 256, (side, side, 3), np.uint8))
    floats = np.stack([image.to_tensor(one, height, width) for one in shown])
    levels = image.to_levels(floats)
    session = Session(model, "cpu")

    def answers(images: NDArray[np.float32]) -> NDArray[np.float32]:
        starts = range(0, len(images), _CHUNK)
        return np.concatenate([session.run(images[at : at + _CHUNK]) for at in starts])

    rounded = levels.astype(np.float32) / np.float32(255)
    return Materials(floats, levels, answers(floats), answers(rounded))


def _part(picture: NDArray[np.uint8], chance: np.random.Generator) -> NDArray[np.uint8]:
    """A half to all of each side, as it is or mirrored, each colour up to a fifth lighter."""
    tall, wide = (max(1, int(side * chance.uniform(0.5, 1))) for side in picture.shape[:2])
    top, left = (int(chance.integers(whole - part + 1))
                 for whole, part in zip(picture.shape, (tall, wide), strict=False))  # fmt: skip
    part = picture[top : top + tall, left : left + wide][:, :: int(chance.choice((1, -1)))]
    return np.minimum(part * chance.uniform(0.8, 1.2, 3), 255).astype(np.uint8)
