"""One family of exceptions: everything fungi-onnx raises on purpose is a `FungiOnnxError`.

Each text names what was wrong, with which file, and what to do. Wrong arguments from a program
(a type, a shape, a ``top_k`` of zero) stay Python's own ``TypeError`` and ``ValueError``.
"""


class FungiOnnxError(Exception):
    """Base of every error that fungi-onnx raises on purpose."""


class ModelNotFoundError(FungiOnnxError):
    """No model file was named or installed, or the one named is not there."""


class ModelFormatError(FungiOnnxError):
    """The file is not a self-describing fungi-onnx model, or it was altered."""


class DeviceUnavailableError(FungiOnnxError):
    """The device that was asked for cannot run the model here."""


class ImageError(FungiOnnxError):
    """A picture cannot be used.

    ``image`` names it, ``reason`` says why, and ``advice``, the end of the text, what whoever runs
    fungi-onnx can do about it: another option, another extra.
    """

    def __init__(self, image: str, reason: str, advice: str = "") -> None:
        # A name may hold anything, a line break or half a UTF-8 character; a message may not.
        shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in image)
        super().__init__(f"{shown}: {reason}{advice}")
        self.image = image
        self.reason = reason
        self.advice = advice

    def __reduce__(self) -> tuple[type["ImageError"], tuple[str, str, str]]:
        # Exceptions are pickled by their args, which here are one joined text.
        return type(self), (self.image, self.reason, self.advice)


class ImageFileError(ImageError):
    """The file cannot be read: missing, a folder, a pipe, no permission."""


class ImageTooLargeError(ImageError):
    """The picture is beyond a limit; nothing of it was decoded."""


class ImageDecodeError(ImageError):
    """The bytes were read but are not a complete picture in a known format."""


class SourceError(FungiOnnxError):
    """The folder or the list that names the pictures cannot be used."""


class ResultsError(FungiOnnxError):
    """Results cannot go into this file, or those in it cannot be gone on with."""


class ResultsWriteError(ResultsError):
    """A row could not be written (the disk is full, say); those before it are kept."""


class TruthError(FungiOnnxError):
    """The file or folder that says what is on photos cannot be used."""


class CalibrationError(FungiOnnxError):
    """A temperature cannot be fitted, kept or found."""


class ClusterError(FungiOnnxError):
    """The Ray cluster cannot be reached, or it failed."""
