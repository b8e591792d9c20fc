"""The example in JavaScript gives the Python package's answers, and refuses what it refuses."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms

from fungi_onnx import FungiClassifier
from fungi_onnx.image import to_tensor

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "node"
STANDIN = ROOT / "build" / "standin.onnx"
TINY = ROOT / "tests" / "data" / "tiny.onnx"
SAMPLE = ROOT / "tests" / "data" / "sample.jpg"
REAL = ROOT.parent / "shared" / "real"
TOLERANCE = 1e-4  # of a probability
# Writes the tensor of each picture, 299 × 299, beside it.
TENSORS = """
import { writeFileSync } from "node:fs";
import { readPicture } from "./picture.mjs";
import { toTensor } from "./tensor.mjs";
for (const path of process.argv.slice(2)) {
  writeFileSync(`${path}.tensor`, toTensor(await readPicture(path), 299, 299));
}
"""

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session", autouse=True)
def _a_cache_of_their_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FUNGI_ONNX_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def example(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of the example's folder with its packages, so that the clone stays clean."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("there is no node and npm here; `make node` installs them, if it may")
    folder = tmp_path_factory.mktemp("example") / "node"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("node_modules"))
    installed = execute(folder, "npm", "ci", "--no-audit", "--no-fund")
    assert installed.returncode == 0, installed.stderr
    (folder / "tensors.mjs").write_text(TENSORS)
    yield folder
    shutil.rmtree(folder / "node_modules")  # 165 MB, which pytest would keep for three runs


@pytest.fixture(scope="session")
def run(example: Path) -> Run:
    """Runs the example's `classify.mjs`."""
    return lambda *arguments: execute(example, "node", "classify.mjs", *arguments)


def execute(folder: Path, *command: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=300,
    )


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The samples, and one scene in all forms that a photo may come in."""
    folder = tmp_path_factory.mktemp("pictures")
    chance = np.random.default_rng(3)

    def scene(width: int, height: int, samples: int = 3) -> np.ndarray:
        """Soft spots with some grain, brighter towards one corner, so that each turn differs."""
        spots = cv2.resize(chance.random((7, 9, samples)) * 150, (width, height))
        slope = np.linspace(0, 90, width) * np.linspace(0, 1, height)[:, np.newaxis]
        grain = chance.normal(0, 6, (height, width, samples))
        whole = spots.reshape(grain.shape) + slope[..., np.newaxis] + grain
        return whole.clip(0, 255).astype(np.uint8)

    def save(name: str, pixels: np.ndarray, **options: object) -> None:
        Image.fromarray(pixels.squeeze()).save(folder / name, **options)

    photo = scene(400, 290)
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        save(f"turned_{orientation}.jpg", photo, exif=exif)
    save("turned_6.png", photo, exif=exif)
    save("larger.jpg", scene(1501, 1003), quality=88)
    save("smaller.jpg", scene(83, 61))
    save("exact.png", scene(299, 299))
    save("a_pixel.png", scene(1, 1))
    save("a_row.png", scene(700, 1))
    save("progressive.jpg", photo, progressive=True)
    save("no_subsampling.jpg", photo, subsampling=0)
    save("grey.jpg", photo[..., 0])
    save("grey.png", photo[..., 0])
    save("transparent.png", scene(333, 222, 4))
    save("transparent_grey.png", scene(333, 222, 2))
    save("lossy.webp", photo)
    save("transparent.webp", scene(333, 222, 4), lossless=True, exact=True)
    save("profile.jpg", photo, icc_profile=odd_profile())
    Image.fromarray(photo).quantize(40).save(folder / "palette.png", transparency=7)
    for name, samples in (("deep", 3), ("deep_transparent", 4), ("deep_grey", 1)):
        deep = chance.integers(0, 1 << 16, (97, 131, samples), np.uint16)
        cv2.imwrite(str(folder / f"{name}.png"), deep)
    shutil.copy(SAMPLE, folder)
    for sample in (ROOT / "build" / "standin" / "samples").glob("*.jpg"):
        shutil.copy(sample, folder)
    return sorted(folder.iterdir())


def odd_profile() -> bytes:
    """A colour profile in which red and green have changed places."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = {b"rXYZ": b"gXYZ", b"gXYZ": b"rXYZ"}
    return re.sub(b"rXYZ|gXYZ", lambda name: swapped[name[0]], srgb)


def check_tensors(example: Path, paths: list[Path]) -> None:
    """To the last bit but for photos on their side, which are blended in another order."""
    made = execute(example, "node", "tensors.mjs", *paths)
    assert made.returncode == 0, made.stderr
    for path in paths:
        tensor = np.fromfile(f"{path}.tensor", np.float32).reshape(299, 299, 3)
        levels = 255 * np.abs(tensor - to_tensor(path, 299, 299)).max()
        assert levels <= 1e-4, f"{path.name}: {levels} levels"


def check_answers(run: Run, model: Path, paths: list[Path], top_k: int) -> None:
    """Names, order and probabilities; equal ones by id."""
    answered = run("-m", model, "--json", "-k", top_k, *paths)
    assert answered.returncode == 0, answered.stderr
    answers = [json.loads(line) for line in answered.stdout.splitlines()]
    assert [answer["image"] for answer in answers] == [str(path) for path in paths]
    classifier = FungiClassifier(model, device="cpu")
    classes = len(classifier.labels)
    largest = 0.0
    for path, answer in zip(paths, answers, strict=True):
        expected = classifier.classify(path, top_k=classes).top
        by_id = {match.id: match for match in expected}
        assert len(answer["top"]) == min(top_k, classes)
        for match, there in zip(answer["top"], expected, strict=False):
            same = by_id[match["id"]]
            assert match == {"id": same.id, "name": same.name, "probability": match["probability"]}
            largest = max(largest, abs(match["probability"] - same.probability))
            if match["id"] != there.id:
                assert abs(there.probability - same.probability) <= TOLERANCE, path.name
        order = [(-match["probability"], match["id"]) for match in answer["top"]]
        assert order == sorted(order)
    print(f"{model.name}: the largest difference of a probability is {largest:.2g}")
    assert largest <= TOLERANCE


def test_the_tensors(example: Path, pictures: list[Path]) -> None:
    check_tensors(example, pictures)


@pytest.mark.parametrize("model", [STANDIN, TINY], ids=lambda model: model.stem)
@pytest.mark.parametrize("top_k", [5, 5000])  # the latter is all classes
def test_the_answers(run: Run, pictures: list[Path], model: Path, top_k: int) -> None:
    assert model.is_file(), f"there is no {model.name}: make {STANDIN.relative_to(ROOT)}"
    check_answers(run, model, pictures, top_k)


@pytest.mark.skipif(not REAL.is_dir(), reason="the real photos are not here")
def test_real_photographs(example: Path, run: Run, tmp_path: Path) -> None:
    photos = [*(REAL / "photos").glob("*.jpg"), *(REAL / "orientation").glob("*.jpg")]
    paths = [Path(shutil.copy(photo, tmp_path)) for photo in photos]
    assert len(paths) > 8
    check_tensors(example, paths)
    check_answers(run, STANDIN, paths, 5)


def test_the_readme(example: Path) -> None:
    """Its commands, with the text for people as the Python package prints it, but for the bars."""
    shutil.copy(TINY, example / "fungi.onnx")
    shutil.copy(SAMPLE, example / "photo.jpg")
    (example / "photos").mkdir()
    shutil.copy(SAMPLE, example / "photos")
    (block,) = re.findall(r"```sh\n(.*?)```", (example / "README.md").read_text(), re.DOTALL)
    install, plain, as_json = block.splitlines()
    assert install == "npm ci"  # `example` has done just this
    printed = execute(example, "sh", "-c", plain)
    assert printed.returncode == 0, printed.stderr
    prediction = FungiClassifier(TINY, device="cpu").classify(SAMPLE)
    lines = re.sub(r"  [█▏▎▍▌▋▊▉]+$", "", str(prediction), flags=re.MULTILINE).splitlines()
    assert printed.stdout.splitlines() == ["photo.jpg", *lines[1:]]
    assert "Not for telling edible from inedible mushrooms, not for foraging." in printed.stderr
    printed = execute(example, "sh", "-c", as_json)
    assert printed.returncode == 0, printed.stderr
    assert len(json.loads(printed.stdout)["top"]) == 3


def test_the_lock_file_names_no_registry() -> None:
    lock = (EXAMPLE / "package-lock.json").read_text()
    assert '"integrity"' in lock
    assert '"resolved"' not in lock


def test_bad_pictures(run: Run, tmp_path: Path) -> None:
    """Each is told, in its place, and the others go on."""
    text = tmp_path / "text.jpg"
    text.write_text("no picture")
    empty = tmp_path / "empty.jpg"
    empty.touch()
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(SAMPLE.read_bytes()[:-2000])
    tiff = tmp_path / "photo.tif"
    Image.open(SAMPLE).save(tiff)
    inks = tmp_path / "inks.jpg"
    Image.open(SAMPLE).convert("CMYK").save(inks)
    missing = tmp_path / "missing.jpg"
    reasons = {
        text: ("ImageDecodeError", "is not a JPEG, PNG or WebP picture"),
        empty: ("ImageDecodeError", "is not a JPEG, PNG or WebP picture"),
        tiff: ("ImageDecodeError", "is not a JPEG, PNG or WebP picture"),
        cut: ("ImageDecodeError", "cannot be decoded: "),
        inks: ("ImageDecodeError", "cannot be decoded: it is in CMYK; save it as RGB"),
        missing: ("ImageFileError", "no such file"),
        tmp_path: ("ImageFileError", "is a folder, not a picture"),
    }
    result = run("-m", TINY, "--json", *reasons, SAMPLE)
    assert result.returncode == 1
    *failed, last = (json.loads(line) for line in result.stdout.splitlines())
    assert last["image"] == str(SAMPLE)
    assert last["top"][0]["id"] == 3
    for answer, (path, (kind, reason)) in zip(failed, reasons.items(), strict=True):
        assert answer.keys() == {"image", "error"}
        assert answer["error"]["type"] == kind
        assert answer["error"]["message"].startswith(f"{path}: {reason}")

    result = run("-m", TINY, text, SAMPLE)
    assert result.returncode == 1
    assert f"classify: {text}: is not a JPEG, PNG or WebP picture\n" in result.stderr
    assert "Stand-in species 0003" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "no model is named"),
        (["-m", TINY], "no picture is named"),
        (["-m", TINY, "-k", "0", SAMPLE], "'0' is not a whole number above 0"),
        (["-m", TINY, "-k", "few", SAMPLE], "'few' is not a whole number above 0"),
        (["-m", TINY, "--crop", SAMPLE], "Unknown option '--crop'"),
    ],
)
def test_wrong_usage(run: Run, arguments: list[object], sentence: str) -> None:
    result = run(*arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith(f"classify: {sentence}")
    assert "usage: node classify.mjs -m MODEL.onnx [-k 5] [--json] IMAGE..." in result.stderr


def altered(old: bytes, new: bytes) -> Callable[[Path], None]:
    """The tiny model with some bytes in the place of as many others."""

    def write(path: Path) -> None:
        data = TINY.read_bytes()
        assert len(old) == len(new)
        assert old in data
        path.write_bytes(data.replace(old, new, 1))

    return write


@pytest.mark.parametrize(
    ("write", "sentence"),
    [
        (lambda path: None, "model.onnx: no such model file"),  # noqa: ARG005
        (lambda path: path.mkdir(), "model.onnx: is a folder"),
        (lambda path: path.write_text("no model"), "model.onnx is not an ONNX file ("),
        (
            lambda path: shutil.copy(ROOT / "tests" / "data" / "bare.onnx", path),
            "model.onnx is not a self-describing fungi-onnx model (it has no 'fungi_onnx.schema');"
            " make one with: fungi-onnx-export export SOURCE -o MODEL.onnx",
        ),
        (
            altered(b"fungi_onnx.schema\x12\x011", b"fungi_onnx.schema\x12\x012"),
            "model.onnx has schema 2, this example reads schema 1",
        ),
        (
            altered(b"Stand-in species 0003", b"Stand-in species 0007"),
            "model.onnx: its metadata is damaged"
            " (the label list does not match its SHA-256 digest)",
        ),
        (
            altered(b'"shape":["N",12]', b'"shape":["N",13]'),
            "model.onnx: its metadata is damaged (12 labels for 13 classes)",
        ),
        (
            altered(b'{"name":"stand-in', b'["name":"stand-in'),
            "model.onnx: its metadata is damaged",
        ),
        (
            altered(b"Softmax", b"Hardmux"),
            "model.onnx is not a model that onnxruntime-web can load: ",
        ),
    ],
    ids=["missing", "folder", "text", "bare", "schema", "labels", "classes", "json", "graph"],
)
def test_wrong_models(
    run: Run, tmp_path: Path, write: Callable[[Path], object], sentence: str
) -> None:
    path = tmp_path / "model.onnx"
    write(path)
    result = run("-m", path, SAMPLE)
    assert (result.returncode, result.stdout) == (3, "")
    assert result.stderr.startswith(f"classify: {path.parent}/{sentence}")
    assert len(result.stderr.splitlines()) == 1
