"""Decoding and resizing, against hand-computed values; TensorFlow itself is in tests/export."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest

from fungi_onnx import ImageDecodeError, ImageError, ImageFileError
from fungi_onnx.image import name_of, read_rgb, to_tensor

RED, GREEN = (255, 0, 0), (0, 255, 0)


def png(rgb: np.ndarray) -> bytes:
    return cv2.imencode(".png", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))[1].tobytes()


def test_rgb_order() -> None:
    picture = np.zeros((2, 3, 3), np.uint8)
    picture[0], picture[1] = RED, GREEN
    np.testing.assert_array_equal(read_rgb(png(picture)), picture)


def test_bilinear_by_hand() -> None:
    """Half-pixel centres: 2 → 4 samples at -0.25, 0.25, 0.75, 1.25, clamped at the edges."""
    picture = np.zeros((1, 2, 3), np.uint8)
    picture[0, 1] = 200
    row = to_tensor(picture, 1, 4)[0, :, 0] * 255
    np.testing.assert_allclose(row, [0, 50, 150, 200], atol=1e-3)


def test_no_antialiasing() -> None:
    """4 → 2 takes the means of the middle pairs only, as tf.image.resize does by default."""
    picture = np.zeros((1, 8, 3), np.uint8)
    picture[0, :, 0] = [0, 10, 20, 30, 40, 50, 60, 70]
    row = to_tensor(picture, 1, 2)[0, :, 0] * 255
    np.testing.assert_allclose(row, [15, 55], atol=1e-3)


def test_float_and_not_uint8_bilinear() -> None:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (37, 53, 3), np.uint8)
    ours = to_tensor(picture, 29, 31) * 255
    in_float = cv2.resize(picture.astype(np.float32), (31, 29), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(ours, in_float, atol=1e-4)
    rounded = cv2.resize(picture, (31, 29), interpolation=cv2.INTER_LINEAR)
    assert np.abs(ours - rounded).max() > 0.3


def test_same_size_is_untouched() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    tensor = to_tensor(picture, 5, 7)
    assert tensor.dtype == np.float32
    np.testing.assert_array_equal(np.rint(tensor * 255), picture)
    assert tensor.max() <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation: int) -> None:
    """A red top-left corner must come out top left, whatever way the camera was held."""
    upright = np.full((32, 48, 3), 128, np.uint8)
    upright[:16, :16] = RED
    # What the sensor recorded, so that the tag's transform gives the upright picture.
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    jpeg = cv2.imencode(".jpg", np.ascontiguousarray(stored[:, :, ::-1]))[1].tobytes()
    exif = (
        b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0"
        + bytes([orientation])
        + b"\0\0\0\0\0\0"
    )
    tagged = jpeg[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + jpeg[2:]
    rgb = read_rgb(tagged)
    assert rgb.shape == (32, 48, 3)
    assert np.abs(rgb[8, 8].astype(int) - RED).max() < 40
    assert np.abs(rgb[24, 40].astype(int) - 128).max() < 40


def test_every_truncation_is_an_error_and_not_half_a_picture(sample: Path) -> None:
    data = sample.read_bytes()
    read_rgb(data)
    for length in range(1, len(data) - 2, 997):
        with pytest.raises(ImageDecodeError, match=r"^\(bytes\): is not a complete picture"):
            read_rgb(data[:length])


@pytest.mark.parametrize(
    ("make", "error", "reason"),
    [
        (lambda _: None, ImageFileError, "no such file"),
        (lambda path: path.mkdir(), ImageFileError, "is a folder, not a picture"),
        (lambda path: path.write_bytes(b""), ImageDecodeError, r"is empty \(0 bytes\)"),
        (lambda path: path.write_text("hello"), ImageDecodeError, "is not a complete picture"),
        (lambda path: path.symlink_to(path), ImageFileError, "cannot be read: Too many levels"),
    ],
    ids=["missing", "folder", "empty", "text", "loop"],
)
def test_files_that_are_no_pictures(tmp_path: Path, make, error, reason) -> None:
    path = tmp_path / "photo.jpg"
    make(path)
    with pytest.raises(error, match=reason) as caught:
        read_rgb(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert caught.value.image == str(path)


def test_names() -> None:
    assert name_of("a.jpg") == name_of(Path("a.jpg")) == "a.jpg"
    assert name_of(b"") is None
    with pytest.raises(ImageFileError, match="null"):
        read_rgb("a\0b.jpg")


@pytest.mark.parametrize(
    ("image", "error", "text"),
    [
        (7, TypeError, "not int"),
        (np.zeros((4, 4, 3), np.float32), TypeError, "uint8 RGB in 0..255, not float32"),
        (np.zeros((4, 4), np.uint8), ValueError, "height×width×3 RGB, not 4×4"),
        (np.zeros((4, 4, 4), np.uint8), ValueError, "not 4×4×4"),
        (np.zeros((0, 4, 3), np.uint8), ValueError, "not 0×4×3"),
    ],
)
def test_other_things(image, error, text) -> None:
    with pytest.raises(error, match=text):
        read_rgb(image)


def test_a_text_file_object(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text("x")
    with path.open() as file, pytest.raises(TypeError, match="binary mode"):
        read_rgb(file)  # type: ignore[arg-type]


def test_no_permission(tmp_path: Path) -> None:
    path = tmp_path / "secret.jpg"
    path.write_bytes(b"x")
    path.chmod(0)
    root = os.geteuid() == 0
    if root:  # who may read everything
        os.seteuid(65534)
    try:
        with pytest.raises(ImageFileError, match="cannot be read: Permission denied"):
            read_rgb(path)
    finally:
        if root:
            os.seteuid(0)


def test_errors_survive_pickling() -> None:
    error = pickle.loads(pickle.dumps(ImageDecodeError("a.jpg", "is broken")))
    assert (type(error), str(error)) == (ImageDecodeError, "a.jpg: is broken")
    assert isinstance(error, ImageError)
