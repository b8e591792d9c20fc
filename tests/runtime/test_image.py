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
from fungi_onnx.views import CROPS, Crop

RED, GREEN = (255, 0, 0), (0, 255, 0)


def png(rgb: np.ndarray) -> bytes:
    return cv2.imencode(".png", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))[1].tobytes()


def jpeg(rgb: np.ndarray) -> bytes:
    return cv2.imencode(".jpg", np.ascontiguousarray(rgb[:, :, ::-1]))[1].tobytes()


def turned_jpeg(upright: np.ndarray, orientation: int) -> bytes:
    """What a camera stores so that the EXIF orientation gives the upright picture."""
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
    data = jpeg(stored)
    exif = (
        b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0"
        + bytes([orientation])
        + b"\0\0\0\0\0\0"
    )
    return data[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + data[2:]


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
    np.testing.assert_allclose(ours, in_float, atol=2e-3)
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
    rgb = read_rgb(turned_jpeg(upright, orientation))
    assert rgb.shape == (32, 48, 3)
    assert np.abs(rgb[8, 8].astype(int) - RED).max() < 40
    assert np.abs(rgb[24, 40].astype(int) - 128).max() < 40


@pytest.mark.parametrize("crop", CROPS)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_turning_the_small_result_is_turning_the_picture(orientation: int, crop: Crop) -> None:
    """The resize works on the picture as stored; no sample may move by that."""
    noise = np.random.default_rng(0).integers(0, 256, (301, 400, 3), np.uint8)
    data = turned_jpeg(noise, orientation)
    expected = to_tensor(read_rgb(data), 77, 50, crop=crop)
    np.testing.assert_allclose(to_tensor(data, 77, 50, crop=crop), expected, atol=1e-6)


# Solid bands, so that geometry is exact: a picture of 40 rows by 80 columns, black, red, green,
# blue, white, each 16 columns wide.
BANDS = np.repeat(
    np.array([[(0, 0, 0), RED, GREEN, (0, 0, 255), (255, 255, 255)]], np.uint8).repeat(40, axis=0),
    16,
    axis=1,
)


def test_the_whole_picture_is_squeezed() -> None:
    tensor = to_tensor(BANDS, 20, 20)
    np.testing.assert_array_equal(tensor[0, ::4], BANDS[0, ::16] / 255)
    np.testing.assert_array_equal(tensor[0, 3::4], BANDS[0, ::16] / 255)


def test_centre_cuts_the_sides() -> None:
    tensor = to_tensor(BANDS, 40, 40, crop="centre")
    np.testing.assert_array_equal(tensor, BANDS[:, 20:60] / np.float32(255))
    upright = to_tensor(BANDS.transpose(1, 0, 2), 40, 40, crop="centre")
    np.testing.assert_array_equal(upright, tensor.transpose(1, 0, 2))
    wide = to_tensor(BANDS, 20, 60, crop="centre")  # three to one: 26 of 40 rows
    np.testing.assert_array_equal(wide[:, 30], np.tile(np.float32([0, 1, 0]), (20, 1)))
    np.testing.assert_array_equal(wide[0, [0, -1]], [[0, 0, 0], [1, 1, 1]])


def test_letterbox_keeps_all_in_proportion() -> None:
    white = np.full_like(BANDS, 255)
    tensor = to_tensor(white, 80, 80, crop="letterbox")
    assert (tensor[:20] == 0).all()
    assert (tensor[20:60] == 1).all()
    assert (tensor[60:] == 0).all()
    upright = to_tensor(white.transpose(1, 0, 2), 80, 80, crop="letterbox")
    np.testing.assert_array_equal(upright, tensor.transpose(1, 0, 2))
    thin = to_tensor(np.full((1, 1000, 3), 255, np.uint8), 9, 9, crop="letterbox")
    assert (thin[4] == 1).all()
    assert thin.sum() == 27


@pytest.mark.parametrize("crop", CROPS)
def test_fast_is_the_mean_of_what_lies_under_a_pixel(crop: Crop) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    means = noise.reshape(16, 4, 16, 4, 3).mean(axis=(1, 3))
    tensor = to_tensor(png(noise), 16, 16, view="fast", crop=crop)
    assert np.abs(tensor * 255 - means).max() <= 0.5


@pytest.mark.parametrize(
    ("size", "crop", "flag"),
    [
        (60, "whole", cv2.IMREAD_REDUCED_COLOR_8),
        (61, "whole", cv2.IMREAD_REDUCED_COLOR_4),
        (121, "whole", cv2.IMREAD_REDUCED_COLOR_2),
        (241, "whole", cv2.IMREAD_COLOR),
        (60, "centre", cv2.IMREAD_REDUCED_COLOR_8),
        (61, "centre", cv2.IMREAD_REDUCED_COLOR_4),
        (120, "letterbox", cv2.IMREAD_REDUCED_COLOR_8),
    ],
)
def test_fast_decodes_a_jpeg_no_larger_than_needed(size: int, crop: Crop, flag: int) -> None:
    """OpenCV's reduced decode is the reference: 1000×480 noise at 1/8 is 125×60, and so on."""
    noise = np.random.default_rng(0).integers(0, 256, (480, 1000, 3), np.uint8)
    data = jpeg(cv2.GaussianBlur(noise, (0, 0), 3))
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), flag)[..., ::-1]
    expected = to_tensor(np.ascontiguousarray(decoded), size, size, view="fast", crop=crop)
    ours = to_tensor(data, size, size, view="fast", crop=crop)
    np.testing.assert_array_equal(ours, expected)
    exact = to_tensor(data, size, size, view="exact", crop=crop)
    assert np.abs(ours - exact).max() > 0.01


def test_fast_enlarges_as_exact_does() -> None:
    small = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    np.testing.assert_array_equal(
        to_tensor(small, 40, 40, view="fast"), to_tensor(small, 40, 40, view="exact")
    )
    tall = to_tensor(small.repeat(10, axis=0), 40, 40, view="fast")
    np.testing.assert_allclose(tall[2, 20], to_tensor(small, 20, 40)[1, 20], atol=0.5 / 255)


def test_every_truncation_is_an_error_and_not_half_a_picture(sample: Path) -> None:
    data = sample.read_bytes()
    read_rgb(data)
    for length in range(3, len(data) - 2, 997):
        with pytest.raises(
            ImageDecodeError, match=r"^\(bytes\): is a JPEG picture that is damaged or cut short"
        ):
            read_rgb(data[:length])


def test_a_truncated_jpeg_is_taken_when_allowed(sample: Path) -> None:
    data = sample.read_bytes()
    whole = read_rgb(data)
    part = read_rgb(data[: len(data) // 2], allow_truncated=True)
    assert part.shape == whole.shape
    np.testing.assert_array_equal(part[:80], whole[:80])
    np.testing.assert_array_equal(part[-80:], np.full_like(part[-80:], 128))
    with pytest.raises(ImageDecodeError, match="is a JPEG picture that is damaged or cut short"):
        read_rgb(data[:200], allow_truncated=True)


def test_what_is_missing_of_a_damaged_picture_is_not_another_ones() -> None:
    """Of a damaged progressive file libjpeg leaves parts of the memory as they were."""
    scene = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    large = np.asarray(cv2.resize(scene, (900, 600), interpolation=cv2.INTER_CUBIC), np.uint8)
    progressive = [cv2.IMWRITE_JPEG_QUALITY, 90, cv2.IMWRITE_JPEG_PROGRESSIVE, 1]
    whole = cv2.imencode(".jpg", large, progressive)[1].tobytes()
    random, compared = np.random.default_rng(1), 0
    for _ in range(60):
        damaged = bytearray(whole)
        for at in random.integers(600, len(damaged), 30):
            damaged[at] = random.integers(256)
        answers = []
        for colour in (0, 255):
            to_tensor(jpeg(np.full((1000, 1000, 3), colour, np.uint8)), 60, 60)
            try:
                answers.append(to_tensor(bytes(damaged), 60, 60, allow_truncated=True))
            except ImageDecodeError:
                break
        else:
            compared += 1
            np.testing.assert_array_equal(*answers)
    assert compared > 20


def test_a_picture_that_was_read_is_the_callers() -> None:
    """`to_tensor` decodes into memory that it uses again; `read_rgb` does not."""
    first = read_rgb(jpeg(np.full((64, 64, 3), 200, np.uint8)))
    to_tensor(jpeg(np.zeros((64, 64, 3), np.uint8)), 8, 8)
    read_rgb(jpeg(np.zeros((64, 64, 3), np.uint8)))
    assert (first == 200).all()


def test_the_orientation_may_stand_in_the_second_of_two_exif_segments() -> None:
    upright = np.full((40, 60, 3), 90, np.uint8)
    turned = turned_jpeg(upright, 6)
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"  # a directory without entries
    segment = b"\xff\xe1" + (len(exif) + 2).to_bytes(2) + exif
    assert read_rgb(turned).shape == (40, 60, 3)
    assert read_rgb(turned[:2] + segment + turned[2:]).shape == (40, 60, 3)


def test_names() -> None:
    assert name_of("a.jpg") == name_of(Path("a.jpg")) == "a.jpg"
    assert name_of(b"") is None
    with pytest.raises(ImageFileError, match="null"):
        read_rgb("a\0b.jpg")


def test_arrays() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (4, 5, 3), np.uint8)
    np.testing.assert_array_equal(read_rgb(rgb), rgb)
    np.testing.assert_array_equal(read_rgb(rgb.astype(np.uint16) * 257), rgb)
    np.testing.assert_array_equal(read_rgb((rgb / 255).astype(np.float32)), rgb)
    np.testing.assert_array_equal(read_rgb(rgb / 255), rgb)
    np.testing.assert_array_equal(read_rgb(rgb[::-1, ::-1]), rgb[::-1, ::-1])
    np.testing.assert_array_equal(read_rgb(rgb[..., 0]), rgb[..., [0, 0, 0]])
    np.testing.assert_array_equal(read_rgb(rgb[..., :1]), rgb[..., [0, 0, 0]])
    rgba = np.dstack((rgb, np.full((4, 5), 51, np.uint8)))  # a fifth
    np.testing.assert_allclose(read_rgb(rgba), rgb * 0.2 + 255 * 0.8, atol=0.5)


@pytest.mark.parametrize(
    ("image", "error", "text"),
    [
        (7, TypeError, "not int"),
        (None, TypeError, "not NoneType"),
        (
            np.zeros((4, 4, 3), np.int64),
            TypeError,
            r"uint8, uint16 or float in \[0, 1\], not int64",
        ),
        (np.zeros((4, 4, 3), bool), TypeError, "not bool"),
        (np.full((4, 4, 3), 2.0), ValueError, r"must lie in \[0, 1\], these lie in \[2, 2\]"),
        (
            np.full((4, 4, 3), np.nan),
            ValueError,
            r"must lie in \[0, 1\], these lie in \[nan, nan\]",
        ),
        (np.zeros((4, 4, 2), np.uint8), ValueError, "height×width×3 .RGB.*, not 4×4×2"),
        (np.zeros((2, 4, 4, 3), np.uint8), ValueError, "not 2×4×4×3"),
        (np.zeros((0, 4, 3), np.uint8), ValueError, "not 0×4×3"),
    ],
)
def test_other_things(image, error, text) -> None:
    with pytest.raises(error, match=text):
        read_rgb(image)


def test_unknown_options() -> None:
    with pytest.raises(ValueError, match="view must be one of 'exact', 'fast', not 'quick'"):
        to_tensor(BANDS, 8, 8, view="quick")  # type: ignore[arg-type]
    with pytest.raises(
        ValueError, match="crop must be one of 'whole', 'centre', 'letterbox', not 'center'"
    ):
        to_tensor(BANDS, 8, 8, crop="center")  # type: ignore[arg-type]


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
