"""Where the model file is: the one that is named, or an installed model wheel's."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from fungi_onnx.errors import ModelNotFoundError
from fungi_onnx.model_file import HOW_TO_MAKE

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

ENTRY_POINTS = "fungi_onnx.models"


def find(model: str | os.PathLike[str] | None = None) -> Path:
    """Finds the model file.

    In this order: the file named; an installed model wheel of that name; where none is named,
    the file in the environment variable ``FUNGI_ONNX_MODEL``; the one installed model wheel.

    Raises:
        ModelNotFoundError: there is none, or several wheels to choose from.
    """
    origin = ""
    if model is None and (variable := os.environ.get("FUNGI_ONNX_MODEL")):
        model, origin = variable, " (from the environment variable FUNGI_ONNX_MODEL)"
    if model is not None and (path := Path(model)).is_file():
        return path
    from importlib.metadata import entry_points  # 20 ms, which one who names a file can save

    installed = {point.name: point for point in entry_points(group=ENTRY_POINTS)}
    if model is not None:
        if str(model) in installed:
            return _installed_file(installed[str(model)])
        problem = "is a folder" if path.is_dir() else "no such model file"
        raise ModelNotFoundError(f"{path}: {problem}{origin}; {HOW_TO_MAKE}")
    if len(installed) == 1:
        return _installed_file(next(iter(installed.values())))
    if installed:
        names = ", ".join(sorted(installed))
        raise ModelNotFoundError(f"several models are installed: name one of {names}")
    raise ModelNotFoundError(
        "no model: name a file with -m MODEL.onnx (in Python: FungiClassifier('MODEL.onnx')),"
        " set FUNGI_ONNX_MODEL, or pip install a model wheel; a file is made from a copy of the"
        " hub module with: fungi-onnx-export export SOURCE -o MODEL.onnx"
    )


def sha256_of(path: Path) -> str:
    """The digest by which a model file is known."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _installed_file(point: EntryPoint) -> Path:
    from importlib import resources

    path = Path(str(resources.files(point.value).joinpath("model.onnx")))
    if not path.is_file():
        raise ModelNotFoundError(
            f"the installed model wheel '{point.name}' has lost its file {path}; install it again"
        )
    return path
