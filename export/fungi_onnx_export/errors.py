"""What can go wrong in an export; each text names the thing and the way out."""

from fungi_onnx.errors import FungiOnnxError


class ExportError(FungiOnnxError):
    """Base of every error that the exporter raises on purpose."""


class SourceError(ExportError):
    """The source is not there, or not a module, archive or TF Lite file."""


class ModuleError(ExportError):
    """The module is no image classifier, or it is not clear which of its tensors is one."""


class LabelError(ExportError):
    """The label map does not fit; the text names the line."""


class ConversionError(ExportError):
    """The converter could not make an ONNX graph of the module."""


class ParityError(ExportError):
    """The ONNX graph does not give the original's numbers, so no file is written."""
