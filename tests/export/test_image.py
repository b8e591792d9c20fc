"""The runtime's pictures against TensorFlow itself."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import tensorflow as tf

from fungi_onnx.image import read_rgb, to_tensor
from fungi_onnx_export import pictures

SIZES = [(640, 480), (300, 299), (299, 299), (298, 301), (64, 48), (1, 1), (1, 500), (777, 3)]


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_the_whole_recipe(height: int, width: int) -> None:
    """decode_jpeg(INTEGER_ACCURATE) → resize(bilinear) → /255, to 0.01 of a level."""
    picture = cv2.resize(pictures.render(7, 640), (width, height), interpolation=cv2.INTER_AREA)
    for quality in (60, 95):
        data = pictures.to_jpeg(picture, quality)
        decoded = tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE")
        np.testing.assert_array_equal(read_rgb(data), decoded.numpy())
        expected = tf.image.resize(decoded, (299, 299)).numpy()
        ours = to_tensor(read_rgb(data), 299, 299) * 255
        assert np.abs(ours - expected).max() <= 0.01


def test_png_and_noise() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (431, 517, 3), np.uint8)
    data = tf.io.encode_png(picture).numpy()
    np.testing.assert_array_equal(read_rgb(data), picture)
    expected = tf.image.resize(picture, (224, 299)).numpy() / 255
    assert np.abs(to_tensor(picture, 224, 299) - expected).max() <= 0.01 / 255
