"""The command as a user runs it: a real process, its output, its exit code."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import unicodedata
from pathlib import Path

import cv2
import numpy as np
import onnxruntime as ort
import pytest

import fungi_onnx
from fungi_onnx.views import CROPS, VIEWS

COMMAND = str(Path(sys.executable).with_name("fungi-onnx"))


def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    result = subprocess.run(
        [COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        check=False,
        timeout=60,
    )
    assert "Traceback" not in result.stderr
    return result


def test_classify_prints_a_table_and_the_terms_once(tiny: Path, sample: Path) -> None:
    result = run("classify", sample, sample, "-m", tiny, "-k", 2)
    assert result.returncode == 0
    blocks = result.stdout.strip().split("\n\n")
    assert len(blocks) == 2
    assert blocks[0] == blocks[1]
    head, first, second = blocks[0].splitlines()
    assert head == str(sample)
    assert first.startswith("   1  Stand-in species 0003 (")
    columns = [unicodedata.normalize("NFC", line).index("%") for line in (first, second)]
    assert columns[0] == columns[1]
    assert result.stderr.count("Licence: Apache-2.0") == 1
    assert "Not for telling edible from inedible mushrooms, not for foraging." in result.stderr


def test_json_lines(tiny: Path, sample: Path, tmp_path: Path) -> None:
    missing = tmp_path / "missing.jpg"
    result = run("classify", sample, missing, "-m", tiny, "--json")
    assert result.returncode == 1
    good, bad = map(json.loads, result.stdout.splitlines())
    assert good["image"] == str(sample)
    assert [set(match) for match in good["top"]] == [{"id", "name", "probability"}] * 5
    assert good == fungi_onnx.FungiClassifier(tiny).classify(sample).to_dict()
    assert bad == {
        "image": str(missing),
        "error": {"type": "ImageFileError", "message": f"{missing}: no such file"},
    }


def test_the_decoders_print_nothing(tiny: Path, sample: Path, tmp_path: Path) -> None:
    """libtiff, OpenCV and Pillow have much to say about these; the terminal is for answers."""
    sound = cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1].tobytes()
    at = sound.index(b"IDAT") + 6
    (tmp_path / "crc.png").write_bytes(sound[:at] + b"x" + sound[at + 1 :])
    tiff = cv2.imencode(".tiff", np.zeros((8, 8, 3), np.uint8))[1].tobytes()
    (tmp_path / "cut.tiff").write_bytes(tiff[:-40])
    packed = tiff.replace(b"\x03\x01\x03\0\x01\0\0\0\x05", b"\x03\x01\x03\0\x01\0\0\0\x08")
    assert packed != tiff
    (tmp_path / "deflate.tiff").write_bytes(packed)
    samples = b"\x15\x01\x03\0\x01\0\0\0"
    (tmp_path / "samples.tiff").write_bytes(tiff.replace(samples + b"\3\0", samples + b"\xff\xff"))
    (tmp_path / "cut.jpg").write_bytes(sample.read_bytes()[:4000])
    (tmp_path / "cut.jp2").write_bytes(
        cv2.imencode(".jp2", np.zeros((64, 64, 3), np.uint8))[1].tobytes()[:200]
    )
    broken = sorted(tmp_path.iterdir())
    code = "import fungi_onnx, sys; c = fungi_onnx.FungiClassifier(sys.argv[1])"
    noisy = subprocess.run(
        [sys.executable, "-c", f"{code}; list(c.classify_many(sys.argv[2:]))", tiny, *broken],
        capture_output=True,
        text=True,
        check=False,
    )
    for noise in ("libpng error", "ZIPDecode: Decoding error", "More samples per pixel"):
        assert noise in noisy.stderr
    result = run("classify", "-m", tiny, *broken)
    assert result.returncode == 1
    lines = result.stderr.strip().splitlines()
    assert len(lines) == len(broken) + 2
    for path, line in zip(broken, lines[: len(broken)], strict=True):
        assert line.startswith(f"fungi-onnx: {path}: is a ")
        assert "damaged or cut short" in line


def test_view_and_crop(tiny: Path, tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (400, 900, 3), np.uint8)
    path = tmp_path / "wide.jpg"
    path.write_bytes(cv2.imencode(".jpg", cv2.GaussianBlur(picture, (0, 0), 2))[1].tobytes())
    answers = set()
    for view in VIEWS:
        for crop in CROPS:
            result = run("classify", path, "-m", tiny, "--json", "--view", view, "--crop", crop)
            classifier = fungi_onnx.FungiClassifier(tiny, view=view, crop=crop)
            assert (classifier.view, classifier.crop) == (view, crop)
            assert json.loads(result.stdout) == classifier.classify(path).to_dict()
            answers.add(result.stdout)
    assert len(answers) == len(VIEWS) * len(CROPS)
    result = run("classify", path, "-m", tiny, "--json")
    assert result.stdout in answers
    result = run("classify", path, "-m", tiny, "--crop", "center")
    assert result.returncode == 2
    assert "choose from" in result.stderr


def test_limits(tiny: Path, sample: Path) -> None:
    result = run("classify", sample, "-m", tiny, "--max-megapixels", "0.1")
    assert result.returncode == 1
    assert (
        "320 × 320 = 102,400 pixels; the limit is 100,000 (--max-megapixels, Limits.max_pixels)"
        in result.stderr
    )
    size = sample.stat().st_size
    result = run("classify", sample, "-m", tiny, "--max-megabytes", "0.01")
    assert result.returncode == 1
    assert (
        f"has {size:,} bytes; the limit is 10,000 (--max-megabytes, Limits.max_bytes)"
        in result.stderr
    )
    for wrong in ("0", "-1", "nan", "inf", "many"):
        result = run("classify", sample, "-m", tiny, "--max-megapixels", wrong)
        assert result.returncode == 2
        assert f"'{wrong}' is not a number above 0" in result.stderr


def test_truncated_pictures_when_allowed(tiny: Path, sample: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.jpg"
    path.write_bytes(sample.read_bytes()[:12000])
    assert run("classify", path, "-m", tiny).returncode == 1
    result = run("classify", path, "-m", tiny, "--allow-truncated")
    assert result.returncode == 0
    assert result.stdout.startswith(str(path))


def test_a_bad_picture_does_not_stop_the_others(tiny: Path, sample: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_text("this is no picture")
    result = run("classify", broken, sample, "-m", tiny)
    assert result.returncode == 1
    assert "Stand-in species 0003" in result.stdout
    assert f"fungi-onnx: {broken}: is not a picture in a known format" in result.stderr


def test_a_name_that_is_not_utf8(tiny: Path, sample: Path, tmp_path: Path) -> None:
    name = os.fsdecode(bytes(tmp_path) + b"/f\xff.jpg")
    Path(name).write_bytes(sample.read_bytes())
    result = run("classify", name, "-m", tiny, "--json", PYTHONIOENCODING="utf-8")
    assert result.returncode == 0
    assert json.loads(result.stdout)["image"] == name


def test_the_model_from_the_environment(tiny: Path, sample: Path) -> None:
    assert run("classify", sample, FUNGI_ONNX_MODEL=str(tiny)).returncode == 0
    result = run("classify", sample, FUNGI_ONNX_MODEL="gone.onnx")
    assert result.returncode == 3
    assert "gone.onnx: no such model file" in result.stderr


def test_exit_codes(tiny: Path, bare: Path, sample: Path) -> None:
    no_model = run("classify", sample)
    assert no_model.returncode == 3
    assert no_model.stderr.startswith("fungi-onnx: no model: name a file with -m MODEL.onnx")
    assert run("info", "-m", bare).returncode == 3
    cuda = run("classify", sample, "-m", tiny, "--device", "cuda:7")
    assert cuda.returncode == 4
    assert "device 'cuda:7' was asked for" in cuda.stderr
    for wrong in (
        ["classify"],
        ["nonsense"],
        [],
        ["classify", sample, "-m", tiny, "-k", "0"],
        ["classify", sample, "-m", tiny, "-k", "many"],
        ["classify", sample, "-m", tiny, "--device", "gpu"],
        ["classify", sample, "-m", tiny, "--threads", "0"],
    ):
        result = run(*wrong)
        assert result.returncode == 2, wrong
        assert result.stderr
        assert result.stdout == ""


def test_info(tiny: Path) -> None:
    result = run("info", "-m", tiny)
    assert result.returncode == 0
    for text in ("stand-in", "schema 1", "[N, 48, 48, 3]", "max |Δp|", "Apache-2.0", "foraging"):
        assert text in result.stdout
    facts = json.loads(run("info", "-m", tiny, "--json").stdout)
    assert facts["labels"] == {"count": 12, "given": True}
    assert facts["parity"]["top1_agreement"] == 1
    assert facts["terms"]["licence"] == "Apache-2.0"


def test_selftest(tiny: Path) -> None:
    result = run("selftest", "-m", tiny)
    assert result.returncode == 0
    assert result.stdout.splitlines()[-1].startswith("8 of 8 golden probes passed on cpu:")
    report = json.loads(run("selftest", "-m", tiny, "--json", "--device", "cpu").stdout)
    assert report["ok"] is True


def test_selftest_fails_on_altered_weights(tiny: Path, tmp_path: Path) -> None:
    data = bytearray(tiny.read_bytes())
    # The last great block of weights before the metadata: zeros in place of 4 KB of it.
    end = data.index(b"fungi_onnx.schema") - 4096
    data[end - 4096 : end] = bytes(4096)
    path = tmp_path / "altered.onnx"
    path.write_bytes(data)
    result = run("selftest", "-m", path)
    assert result.returncode in (1, 3)
    assert result.returncode == 3 or "FAILED" in result.stdout


def test_doctor(tiny: Path) -> None:
    result = run("doctor", "-m", tiny)
    assert result.returncode == 0
    assert "device cpu" in result.stdout
    assert "works: loads in" in result.stdout
    facts = json.loads(run("doctor", "-m", tiny, "--json").stdout)
    assert facts["versions"]["fungi-onnx"] == fungi_onnx.__version__
    assert facts["model"]["path"] == str(tiny)
    if not facts["cuda"]["package"].startswith("built for CUDA"):
        assert facts["cuda"]["package"] == (
            f"the installed onnxruntime {ort.__version__} is built without CUDA: pip uninstall -y"
            " onnxruntime onnxruntime-gpu && pip install 'fungi-onnx[gpu]'"
        )
        assert list(facts["cuda"]) == ["package", "driver", "gpus"]
        assert re.search(r"^cuda package +the installed onnxruntime", result.stdout, re.M)
    without = run("doctor")
    assert without.returncode == 3
    assert "onnxruntime" in without.stdout
    assert "ModelNotFoundError: no model" in without.stderr


@pytest.mark.parametrize(
    "command",
    ["classify", "batch", "evaluate", "calibrate", "info", "selftest", "serve", "doctor", "bench"],
)
def test_every_help_has_an_example(command: str) -> None:
    result = run(command, "--help")
    assert result.returncode == 0
    assert f"Example: fungi-onnx {command}" in result.stdout


def test_version_and_a_closed_pipe(tiny: Path, sample: Path) -> None:
    assert run("--version").stdout == f"fungi-onnx {fungi_onnx.__version__}\n"
    line = f"'{COMMAND}' classify {' '.join([str(sample)] * 30)} -m {tiny} | head -n 1"
    result = subprocess.run(
        ["bash", "-c", line], capture_output=True, text=True, check=True, timeout=60
    )
    assert result.stdout == f"{sample}\n"
    assert "Traceback" not in result.stderr
    assert "BrokenPipe" not in result.stderr
