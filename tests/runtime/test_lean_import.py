"""What is slow to import is imported where it is first needed, and not before."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import fungi_onnx

HEAVY = ("PIL", "cv2", "imagesize", "numpy", "onnxruntime", "simplejpeg", "tqdm")


def loaded_after(code: str, *arguments: object) -> set[str]:
    """The heavy packages that a process has loaded when it is through with the code."""
    end = f"\nprint(*[name for name in {HEAVY} if name in sys.modules], file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}{end}", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stderr.split())


def test_the_import_loads_nothing() -> None:
    assert loaded_after("import fungi_onnx; fungi_onnx.__version__; dir(fungi_onnx)") == set()
    assert loaded_after("from fungi_onnx import FungiOnnxError, Limits") == set()


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["batch", "--help"], ["what"]])
def test_the_command_answers_before_it_loads_anything(arguments: list[str]) -> None:
    code = (
        "from fungi_onnx.cli import main\n"
        "try:\n    main(sys.argv[1:])\n"
        "except SystemExit:\n    sys.stderr = sys.__stderr__"
    )
    words = loaded_after(code, *arguments)
    assert not words & set(HEAVY)


def test_the_class_alone_needs_no_onnxruntime_and_no_opencv() -> None:
    loaded = loaded_after("from fungi_onnx import FungiClassifier")
    assert not loaded & {"PIL", "cv2", "imagesize", "onnxruntime"}


def test_a_jpeg_needs_neither_opencv_nor_pillow(tiny: Path, sample: Path) -> None:
    code = "import fungi_onnx; fungi_onnx.FungiClassifier(sys.argv[1]).classify(sys.argv[2])"
    assert loaded_after(code, tiny, sample) == {"numpy", "onnxruntime", "simplejpeg"}


def test_onnxruntime_does_not_report_to_its_maker(tiny: Path, sample: Path, tmp_path: Path) -> None:
    """Where it does, it first leaves a device's id and a database in the user's home."""
    code = (
        "import os, sys, fungi_onnx\n"
        "fungi_onnx.FungiClassifier(sys.argv[1]).classify(sys.argv[2])\n"
        "print(os.environ.get('ORT_DISABLE_TELEMETRY'))"
    )

    def told(**more: str) -> str:
        kept = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
        done = subprocess.run(
            [sys.executable, "-c", code, str(tiny), str(sample)],
            capture_output=True,
            text=True,
            check=True,
            env={**kept, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path), **more},
        )
        return done.stdout.strip()

    answer = told()
    assert list(tmp_path.rglob("*onnxruntime*")) == []
    assert answer == "1"
    assert told(ORT_DISABLE_TELEMETRY="0") == "0"  # who wants it


def test_every_name_is_there_all_the_same() -> None:
    assert set(fungi_onnx.__all__) <= set(dir(fungi_onnx))
    for name in fungi_onnx.__all__:
        assert getattr(fungi_onnx, name).__name__ == name
    with pytest.raises(AttributeError, match="module 'fungi_onnx' has no attribute 'nothing'"):
        _ = fungi_onnx.nothing
