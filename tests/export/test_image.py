"""The runtime's pictures against TensorFlow itself."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import tensorflow as tf

from fungi_onnx.image import read_rgb, to_tensor
from fungi_onnx.jpeg import read_header
from fungi_onnx.orientation import turned
from fungi_onnx_export import pictures

SIZES = [(640, 480), (300, 299), (299, 299), (298, 301), (64, 48), (1, 1), (1, 500), (777, 3)]
REAL = Path(__file__).resolve().parents[2].parent / "shared" / "real"


def recipe(image: tf.Tensor, height: int = 299, width: int = 299) -> np.ndarray:
    """The hub module's own: resize(bilinear), in levels of 0..255."""
    return tf.image.resize(image, (height, width)).numpy()


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_the_whole_recipe(height: int, width: int) -> None:
    """decode_jpeg(INTEGER_ACCURATE) → resize(bilinear) → /255, to 0.01 of a level."""
    picture = cv2.resize(pictures.render(7, 640), (width, height), interpolation=cv2.INTER_AREA)
    for quality in (60, 95):
        data = pictures.to_jpeg(picture, quality)
        decoded = tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE")
        np.testing.assert_array_equal(read_rgb(data), decoded.numpy())
        assert np.abs(to_tensor(data, 299, 299) * 255 - recipe(decoded)).max() <= 0.01


@pytest.mark.parametrize(("height", "width"), [*SIZES, (3000, 4000), (40, 9000)])
def test_noise(height: int, width: int) -> None:
    """The hardest picture: the position of each sample counts to the last bit of a float32."""
    picture = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    for size in ((299, 299), (224, 299)):
        assert np.abs(to_tensor(picture, *size) * 255 - recipe(picture, *size)).max() <= 0.001


def test_png() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (431, 517, 3), np.uint8)
    data = tf.io.encode_png(picture).numpy()
    np.testing.assert_array_equal(read_rgb(data), picture)


@pytest.mark.parametrize("kind", ["png", "gif", "bmp"])
def test_decode_image(kind: str) -> None:
    picture = pictures.render(7, 100)[:60]
    data = cv2.imencode(f".{kind}", picture[..., ::-1])[1].tobytes()
    decoded = tf.io.decode_image(data, channels=3, expand_animations=False)
    np.testing.assert_array_equal(read_rgb(data), decoded.numpy())
    assert np.abs(to_tensor(data, 299, 299) * 255 - recipe(decoded)).max() <= 0.01


@pytest.mark.parametrize(("height", "width"), [(3000, 4000), (431, 517), (298, 301), (100, 400)])
def test_crops(height: int, width: int) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    boxed = tf.image.resize_with_pad(picture, 299, 299).numpy()
    ours = to_tensor(picture, 299, 299, crop="letterbox") * 255
    assert np.abs(ours - boxed).max() <= 0.001
    left = (width - height) // 2
    centre = recipe(picture[:, left : left + height])
    ours = to_tensor(picture, 299, 299, crop="centre") * 255
    assert np.abs(ours - centre).max() <= 0.001


@pytest.mark.skipif(not REAL.is_dir(), reason="no real photos beside the project (../shared/real)")
def test_real_photos() -> None:
    photos = [*(REAL / "photos").iterdir(), *(REAL / "orientation").glob("*.jpg")]
    assert len(photos) >= 12
    for path in photos:
        data = path.read_bytes()
        if path.suffix == ".bmp":
            upright = tf.io.decode_bmp(data, channels=3).numpy()
        else:
            decoded = tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE")
            upright = np.ascontiguousarray(turned(decoded.numpy(), read_header(data).orientation))
        np.testing.assert_array_equal(read_rgb(path), upright)
        assert np.abs(to_tensor(path, 299, 299) * 255 - recipe(upright)).max() <= 0.01
