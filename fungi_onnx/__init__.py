"""fungi-onnx: TensorFlow Hub image classifiers as self-describing ONNX files, without TensorFlow.

>>> from fungi_onnx import FungiClassifier
>>> print(FungiClassifier("fungi.onnx").classify("photo.jpg"))
"""

from importlib.util import find_spec

if find_spec("onnxruntime") is None:
    raise ModuleNotFoundError(
        "fungi-onnx needs onnxruntime: pip install 'fungi-onnx[cpu]', or 'fungi-onnx[gpu]' for"
        " CUDA",
        name="onnxruntime",
    )

from fungi_onnx.classifier import FungiClassifier
from fungi_onnx.errors import (
    DeviceUnavailableError,
    FungiOnnxError,
    ImageDecodeError,
    ImageError,
    ImageFileError,
    ImageTooLargeError,
    ModelFormatError,
    ModelNotFoundError,
)
from fungi_onnx.image import read_rgb
from fungi_onnx.limits import Limits
from fungi_onnx.prediction import Match, Prediction

__version__ = "0.1.0"

__all__ = [
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
    "read_rgb",
]
