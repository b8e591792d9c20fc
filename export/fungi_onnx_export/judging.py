"""What all variants of a float model need: a place, pictures, and a comparison with that model."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from fungi_onnx import image
from fungi_onnx.classifier import FungiClassifier
from fungi_onnx.errors import ModelFormatError
from fungi_onnx.model_file import Parity
from fungi_onnx_export import parity, pictures
from fungi_onnx_export.errors import ExportError

Images = NDArray[np.float32]
Rows = NDArray[np.float32]
Say = Callable[[str], None]


def float_model(path: Path, target: Path, suffix: str, verb: str) -> FungiClassifier:
    """The float model that a variant is made of, once it is clear that this can be done.

    Args:
        path: of the float model.
        target: where the variant shall be written.
        suffix: that the variant's name has as a rule, such as ``".int8.onnx"``.
        verb: what is done to the model, for the error: ``"quantised"``.

    Raises:
        ExportError: the target is a folder, in none, or the model itself.
        ModelFormatError: the model is no float32 model of this project.
        ModelNotFoundError: there is no such file.
    """
    problem = None
    if target.is_dir():
        problem = "is a folder"
    elif not target.parent.is_dir():
        problem = f"there is no folder {target.parent}"
    elif target.exists() and path.exists() and target.samefile(path):
        problem = "is the float model itself"
    if problem:
        raise ExportError(f"{target}: {problem}; name a file to write: -o MODEL{suffix}")
    classifier = FungiClassifier(path, device="cpu")
    precision = classifier.model.precision
    if precision != "float32":
        raise ModelFormatError(f"{path} is {precision}: only a float32 model can be {verb}")
    return classifier


def drawings(classifier: FungiClassifier, first: int, count: int) -> Images:
    """Drawings of as many species as the model has classes, each in a photograph of its own.

    Returns:
        float32 [count, height, width, 3] in [0, 1]: those from number ``first`` on.
    """
    height, width = classifier.image_size
    classes, large = len(classifier.labels), max(height, width) * 5 // 4
    numbers = range(first, first + count)
    varied = (pictures.vary(pictures.render(k % classes, large), k) for k in numbers)
    return np.stack([image.to_tensor(picture, height, width) for picture in varied])


def compared(classifier: FungiClassifier, expected: Rows, answers: Rows, gate: str) -> Parity:
    """How near a variant comes to the float model, of which the classifier is.

    Args:
        classifier: of the float model.
        expected, answers: the float model's and the variant's, float32 [N, classes].
        gate: the sentence that the file has to satisfy.
    """
    difference = np.abs(answers.astype(np.float64) - expected)
    with classifier.path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Parity(
        reference=f"{classifier.path.name}, float32 (SHA-256 {digest}), in onnxruntime"
        f" {ort.__version__}",
        pictures=len(expected),
        picture_set="",
        max_difference=float(difference.max()),
        mean_difference=float(difference.mean()),
        mean_max_difference=float(difference.max(axis=1).mean()),
        top1_agreement=float((expected.argmax(axis=1) == answers.argmax(axis=1)).mean()),
        top5_agreement=parity.top5_agreement(expected, answers),
        gate=gate,
    )
