"""What no variant can be made of, or written to: the same for all that makes one of a file."""

from __future__ import annotations

from pathlib import Path

from fungi_onnx import ModelFormatError, ModelNotFoundError
from fungi_onnx_export import pictures
from fungi_onnx_export.errors import ExportError

Case = tuple[Path, Path, Path | None, type[Exception], str]  # model, target, photos, error, text
NAMES = [
    "no model",
    "no fungi-onnx file",
    "no folder",
    "a folder",
    "itself",
    "no pictures",
    "few pictures",
]


def cases(tiny: Path, tmp_path: Path, suffix: str, least: int) -> dict[str, Case]:
    """Each of `NAMES`; whatever is written in spite of it is ``out.onnx``.

    Args:
        tiny: the model.
        tmp_path: for the files.
        suffix: of the variant, such as ``".int8.onnx"``.
        least: how many pictures it takes.
    """
    few = tmp_path / "few"
    few.mkdir()
    (few / "one.jpg").write_bytes(pictures.to_jpeg(pictures.render(0, 60), 90))
    (tmp_path / "none").mkdir()
    copy = tmp_path / "copy.onnx"
    copy.write_bytes(tiny.read_bytes())
    bare = tiny.with_name("bare.onnx")
    out = tmp_path / "out.onnx"
    a_folder = f"is a folder; name a file to write: -o MODEL{suffix}"
    too_few = f"holds 1 pictures; .* takes at least {least}"
    return {
        "no model": (tmp_path / "x.onnx", out, None, ModelNotFoundError, "no such model file"),
        "no fungi-onnx file": (bare, out, None, ModelFormatError, "not a self-describing"),
        "no folder": (tiny, tmp_path / "no" / "x.onnx", None, ExportError, "there is no folder"),
        "a folder": (tiny, tmp_path, None, ExportError, a_folder),
        "itself": (copy, copy, None, ExportError, "is the float model itself"),
        "no pictures": (tiny, out, tmp_path / "none", ExportError, "holds no pictures"),
        "few pictures": (tiny, out, few, ExportError, too_few),
    }
