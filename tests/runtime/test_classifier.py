"""One picture by every way in gives one answer; wrong arguments are told so."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

import fungi_onnx
from fungi_onnx import (
    FungiClassifier,
    ImageDecodeError,
    ImageFileError,
    Match,
    ModelFormatError,
)


def test_the_sample_is_recognised(classifier: FungiClassifier, sample: Path) -> None:
    prediction = classifier.classify(sample)
    assert prediction.image == str(sample)
    assert prediction.ok
    assert prediction.top[0].id == 3
    assert prediction.top[0].name.startswith("Stand-in species 0003")
    assert len(prediction.top) == 5
    values = [match.probability for match in prediction.top]
    assert values == sorted(values, reverse=True)


def test_path_bytes_file_and_array_are_one(classifier: FungiClassifier, sample: Path) -> None:
    data = sample.read_bytes()
    rgb = cv2.cvtColor(cv2.imread(str(sample)), cv2.COLOR_BGR2RGB)
    with sample.open("rb") as file:
        ways = [
            str(sample),
            sample,
            data,
            bytearray(data),
            memoryview(data),
            file,
            io.BytesIO(data),
        ]
        answers = [classifier.classify(way).top for way in ways]
    answers.append(classifier.classify(rgb).top)
    assert all(answer == answers[0] for answer in answers)


def test_colours_are_not_swapped(classifier: FungiClassifier, sample: Path) -> None:
    rgb = cv2.cvtColor(cv2.imread(str(sample)), cv2.COLOR_BGR2RGB)
    swapped = np.ascontiguousarray(rgb[:, :, ::-1])
    assert classifier.classify(swapped).top[0].probability != pytest.approx(
        classifier.classify(rgb).top[0].probability, abs=1e-3
    )


def test_single_equals_batch_equals_call(classifier: FungiClassifier, sample: Path) -> None:
    """The hub module's own call on tensors, one by one and in a batch, against classify."""
    height, width = classifier.image_size
    rgb = cv2.cvtColor(cv2.imread(str(sample)), cv2.COLOR_BGR2RGB)
    parts = [rgb, rgb[:160], rgb[:, 100:], rgb[::-1].copy()]
    tensors = np.stack(
        [cv2.resize(part.astype(np.float32), (width, height)) / np.float32(255) for part in parts]
    )
    together = classifier(tensors)
    assert together.shape == (4, 12)
    assert together.dtype == np.float32
    np.testing.assert_allclose(together.sum(axis=1), 1, atol=1e-5)
    for part, tensor, row in zip(parts, tensors, together, strict=True):
        (alone,) = classifier(tensor[np.newaxis])
        np.testing.assert_allclose(alone, row, atol=1e-6)
        top = classifier.classify(np.ascontiguousarray(part), top_k=1).top[0]
        assert top.id == row.argmax()
        assert top.probability == pytest.approx(float(row.max()), abs=1e-6)


def test_many_are_lazy_and_ordered_and_go_on_after_a_bad_one(
    classifier: FungiClassifier, sample: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(sample.read_bytes()[:5000])
    taken = []

    def inputs():
        for path in (sample, broken, tmp_path / "missing.jpg", sample, sample):
            taken.append(path)
            yield path

    predictions = classifier.classify_many(inputs(), top_k=2)
    assert taken == []
    first = next(predictions)
    assert taken[0] == sample
    assert first == classifier.classify(sample, top_k=2)
    second, third, fourth, fifth = predictions
    assert (second.ok, third.ok, fourth.ok) == (False, False, True)
    assert fourth == fifth == first
    assert isinstance(second.error, ImageDecodeError)
    assert isinstance(third.error, ImageFileError)
    with pytest.raises(ImageDecodeError, match="is a JPEG picture that is damaged or cut short"):
        _ = second.top
    assert second.to_dict() == {
        "image": str(broken),
        "error": {"type": "ImageDecodeError", "message": str(second.error)},
    }


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_any_number_of_workers_gives_the_serial_answers(
    classifier: FungiClassifier, sample: Path, workers: int
) -> None:
    pictures = [sample, sample.read_bytes(), np.zeros((9, 9, 3), np.uint8), "missing.jpg"] * 6
    together = list(classifier.classify_many(pictures, workers=workers))
    assert [one.ok for one in together] == [True, True, True, False] * 6
    for picture, one in zip(pictures, together, strict=True):
        if one.ok:
            assert one == classifier.classify(picture)


def test_endless_pictures_are_read_a_few_ahead(classifier: FungiClassifier, sample: Path) -> None:
    given = itertools.count()
    endless = (sample for _ in given)
    predictions = classifier.classify_many(endless, workers=2)
    for _ in range(20):
        assert next(predictions).ok
    assert next(given) <= 20 + 2 * 4 + 1
    predictions.close()


def test_workers_must_be_some(classifier: FungiClassifier, sample: Path) -> None:
    with pytest.raises(ValueError, match="workers must be at least 1, not 0"):
        classifier.classify_many([sample], workers=0)


def test_a_model_that_is_replaced_meanwhile_is_not_mixed_in(
    altered: Callable[[bytes, bytes], Path], tiny: Path, sample: Path
) -> None:
    """The session for several workers is made when it is first needed."""
    name = FungiClassifier(tiny).model.name.encode()
    path = altered(name, name.upper())
    classifier = FungiClassifier(path, device="cpu", threads=2)
    path.write_bytes(tiny.read_bytes())
    with pytest.raises(ModelFormatError, match="is no longer the file that was loaded"):
        classifier.classify_many([sample])
    assert classifier.classify(sample).ok


def test_top_k(classifier: FungiClassifier, sample: Path) -> None:
    assert len(classifier.classify(sample, top_k=1).top) == 1
    assert len(classifier.classify(sample, top_k=500).top) == 12
    with pytest.raises(ValueError, match="top_k must be at least 1, not 0"):
        classifier.classify(sample, top_k=0)
    with pytest.raises(TypeError, match="top_k must be a whole number, not float"):
        classifier.classify(sample, top_k=2.0)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="not bool"):
        classifier.classify_many([sample], top_k=True)


def test_attributes(classifier: FungiClassifier, tiny: Path) -> None:
    assert classifier.image_size == (48, 48)
    assert classifier.device == "cpu"
    assert classifier.path == tiny
    assert len(classifier.labels) == 12
    assert classifier.threads >= 1
    assert classifier.model.name.startswith("stand-in")


@pytest.mark.parametrize(
    ("images", "error", "text"),
    [
        (np.zeros((1, 48, 48, 3), np.uint8), TypeError, "must be float in \\[0, 1\\], not uint8"),
        (np.zeros((48, 48, 3), np.float32), ValueError, "shape \\[N, 48, 48, 3\\]"),
        (np.zeros((1, 47, 48, 3), np.float32), ValueError, "not \\[1, 47, 48, 3\\]"),
        (np.zeros((1, 3, 48, 48), np.float32), ValueError, "not \\[1, 3, 48, 48\\]"),
        (np.full((1, 48, 48, 3), 255, np.float32), ValueError, "lie in \\[255, 255\\]"),
        (np.full((1, 48, 48, 3), -1, np.float32), ValueError, "must lie in \\[0, 1\\]"),
        (np.full((1, 48, 48, 3), np.nan, np.float32), ValueError, "nan"),
    ],
)
def test_the_call_refuses(classifier, images, error, text) -> None:
    with pytest.raises(error, match=text):
        classifier(images)


def test_the_call_takes_float64_and_none(classifier: FungiClassifier) -> None:
    images = np.random.default_rng(0).uniform(size=(2, 48, 48, 3))
    np.testing.assert_array_equal(classifier(images), classifier(images.astype(np.float32)))
    assert classifier(images[:0]).shape == (0, 12)


def test_threads(tiny: Path, sample: Path, classifier: FungiClassifier) -> None:
    one = FungiClassifier(tiny, threads=1)
    assert one.threads == 1
    assert one.classify(sample).top[0].id == classifier.classify(sample).top[0].id
    with pytest.raises(ValueError, match="threads must be at least 1, not 0"):
        FungiClassifier(tiny, threads=0)


def test_everything_promised_is_exported() -> None:
    assert issubclass(fungi_onnx.ImageDecodeError, fungi_onnx.ImageError)
    assert issubclass(fungi_onnx.ImageFileError, fungi_onnx.ImageError)
    for name in ("ModelNotFoundError", "ModelFormatError", "DeviceUnavailableError", "ImageError"):
        assert issubclass(getattr(fungi_onnx, name), fungi_onnx.FungiOnnxError)
    assert Match(1, "a", 0.5) == Match(1, "a", 0.5)
