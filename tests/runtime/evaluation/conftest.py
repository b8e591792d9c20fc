"""Photos with labels, some of them right, and what a model says to them by its plainest way."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from fungi_onnx import FungiClassifier

PHOTOS = 90


@dataclass(frozen=True)
class Shown:
    """Photos with a table.

    ``rows`` are the model's probabilities [photos, classes] and ``truth`` the labels' ids.
    """

    folder: Path
    table: Path
    rows: np.ndarray
    truth: np.ndarray


@pytest.fixture(scope="session")
def shown(tmp_path_factory: pytest.TempPathFactory, classifier: FungiClassifier) -> Shown:
    folder = tmp_path_factory.mktemp("shown")
    random = np.random.default_rng(4)
    lines, rows, truth = ["image,label"], [], []
    for n in range(PHOTOS):
        small = random.integers(0, 256, (4, 5, 3), np.uint8)
        photo = cv2.resize(small, (200, 160), interpolation=cv2.INTER_CUBIC)
        image = f"photo {n:02d}.png"
        cv2.imwrite(str(folder / image), photo)
        (row,) = classifier(classifier.prepare(folder / image)[np.newaxis])
        # Drawn from a softened answer, so that the first is not always right.
        soft = row**0.5 / (row**0.5).sum()
        label = int(random.choice(len(row), p=soft / soft.sum()))
        lines.append(f"{image},{classifier.labels[label] if n % 2 else label}")
        rows.append(row)
        truth.append(label)
    table = folder / "truth.csv"
    table.write_text("\n".join(lines) + "\n")
    return Shown(folder, table, np.array(rows), np.array(truth))
