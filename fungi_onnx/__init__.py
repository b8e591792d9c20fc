"""fungi-onnx: TensorFlow Hub image classifiers as self-describing ONNX files, without TensorFlow.

>>> from fungi_onnx import FungiClassifier
>>> print(FungiClassifier("fungi.onnx").classify("photo.jpg"))
"""

import os
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fungi_onnx.classifier import FungiClassifier
    from fungi_onnx.errors import (
        CalibrationError,
        DeviceUnavailableError,
        FungiOnnxError,
        ImageDecodeError,
        ImageError,
        ImageFileError,
        ImageTooLargeError,
        ModelFormatError,
        ModelNotFoundError,
        ResultsError,
        ResultsWriteError,
        SourceError,
        TruthError,
    )
    from fungi_onnx.image import read_rgb
    from fungi_onnx.limits import Limits
    from fungi_onnx.prediction import Match, Prediction

if find_spec("onnxruntime") is None:
    raise ModuleNotFoundError(
        "fungi-onnx needs onnxruntime: pip install 'fungi-onnx[cpu]', or 'fungi-onnx[gpu]' for"
        " CUDA",
        name="onnxruntime",
    )

# Since 1.29 onnxruntime reports its use to its maker, unless it is told not to before it is loaded.
# Whoever wants that sets the variable to 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = "0.1.0"

__all__ = [
    "CalibrationError",
    "DeviceUnavailableError",
    "FungiClassifier",
    "FungiOnnxError",
    "ImageDecodeError",
    "ImageError",
    "ImageFileError",
    "ImageTooLargeError",
    "Limits",
    "Match",
    "ModelFormatError",
    "ModelNotFoundError",
    "Prediction",
    "ResultsError",
    "ResultsWriteError",
    "SourceError",
    "TruthError",
    "read_rgb",
]

_ROOMS = {
    "FungiClassifier": "classifier",
    "Limits": "limits",
    "Match": "prediction",
    "Prediction": "prediction",
    "read_rgb": "image",
}


def __getattr__(name: str) -> object:
    """Opens the room of a name when it is first asked for: the import itself costs nothing."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"fungi_onnx.{_ROOMS.get(name, 'errors')}"), name)
    globals()[name] = value  # the next time it is simply there
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
