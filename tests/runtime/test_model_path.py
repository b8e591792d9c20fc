"""Where the model file is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from fungi_onnx import FungiClassifier, ModelNotFoundError
from fungi_onnx.model_path import find


def test_find(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find(tiny) == tiny
    assert find(str(tiny)) == tiny
    with pytest.raises(ModelNotFoundError, match="missing.onnx: no such model file; make one"):
        find(tmp_path / "missing.onnx")
    with pytest.raises(ModelNotFoundError, match="is a folder"):
        find(tmp_path)
    with pytest.raises(ModelNotFoundError, match="no model: name a file with -m"):
        find()
    monkeypatch.setenv("FUNGI_ONNX_MODEL", str(tiny))
    assert find() == tiny
    assert FungiClassifier().path == tiny
    monkeypatch.setenv("FUNGI_ONNX_MODEL", "gone.onnx")
    with pytest.raises(ModelNotFoundError, match=r"from the environment variable FUNGI_ONNX_MODEL"):
        find()
