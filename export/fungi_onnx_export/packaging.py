"""A model file as a pip-installable wheel, which `fungi-onnx` finds without being told."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from fungi_onnx.classifier import FungiClassifier
from fungi_onnx.model_file import ModelFile
from fungi_onnx.model_path import ENTRY_POINTS
from fungi_onnx_export.errors import ExportError


def model_wheel(model: Path, folder: Path) -> Path:
    """Packs a model file into a data wheel.

    The wheel holds the file, an empty package around it and an entry point in the group
    ``fungi_onnx.models``. Its version is the day the model was made, its licence the model's own.

    Args:
        model: a self-describing model file.
        folder: where the wheel goes; made if it is not there.

    Returns:
        The path of the wheel.

    Raises:
        FungiOnnxError: the model file is not one, or the wheel could not be built.
    """
    description = FungiClassifier(model, device="cpu").model
    slug = description.slug
    package = f"fungi_onnx_model_{slug.replace('-', '_')}"
    with tempfile.TemporaryDirectory(prefix="fungi-onnx-") as name:
        project = Path(name)
        (project / package).mkdir()
        (project / package / "__init__.py").touch()
        shutil.copyfile(model, project / package / "model.onnx")
        (project / "README.md").write_text(_readme(description), encoding="utf-8")
        (project / "pyproject.toml").write_text(
            _pyproject(description, slug, package), encoding="utf-8"
        )
        built = project / "dist"
        result = subprocess.run(
            [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(built)],
            cwd=project,
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode != 0:
            raise ExportError(f"the wheel could not be built: {result.stderr.strip()[-500:]}")
        (wheel,) = built.glob("*.whl")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            return Path(shutil.move(wheel, folder / wheel.name))
        except OSError as error:
            raise ExportError(f"{folder}: cannot be written: {error.strerror}") from None


def _pyproject(description: ModelFile, slug: str, package: str) -> str:
    day = description.created[:10].split("-")
    return f"""\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "fungi-onnx-model-{slug}"
version = "{".".join(str(int(part)) for part in day)}"
description = "A model file for fungi-onnx"
readme = "README.md"
requires-python = ">=3.11"
dependencies = ["fungi-onnx"]

[project.entry-points."{ENTRY_POINTS}"]
{slug} = "{package}"

[tool.hatch.build.targets.wheel]
only-include = ["{package}"]
"""


def _readme(description: ModelFile) -> str:
    def items(texts: tuple[str, ...]) -> str:
        return "\n".join(f"- {text}" for text in texts) or "- not stated"

    terms = description.terms
    return f"""\
# {description.name}

{len(description.labels)} classes. Licence: {terms.licence}.

Not for:
{items(terms.unsuitable)}

Suitable for:
{items(terms.suitable)}

Limits:
{items(terms.limits)}
"""
