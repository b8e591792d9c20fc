"""`evaluate` against TensorFlow's own function, on the stand-in's truth and on real birds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_hub as hub

from fungi_onnx import FungiClassifier
from fungi_onnx.cli import main
from fungi_onnx.evaluation import evaluate, read_truth, recall_at_k
from fungi_onnx.evaluation.scores import rank_of
from fungi_onnx.image import read_rgb
from fungi_onnx_export.pipeline import Wishes

from .test_real import BIRDS, REAL

v1 = tf.compat.v1
KS = (1, 5, 10)


def tensorflows(rows: np.ndarray, truth: np.ndarray, k: int) -> float:
    """``tf.compat.v1.metrics.recall_at_k``, fed in batches, as it is made for."""
    with tf.Graph().as_default(), v1.Session() as session:
        labels = v1.placeholder(tf.int64, [None, 1])
        predictions = v1.placeholder(tf.float32, [None, rows.shape[1]])
        value, update = v1.metrics.recall_at_k(labels, predictions, k)
        session.run(v1.local_variables_initializer())
        for start in range(0, len(rows), 7):
            part = slice(start, start + 7)
            session.run(update, {labels: truth[part, np.newaxis], predictions: rows[part]})
        return float(session.run(value))


def ours(rows: np.ndarray, truth: np.ndarray, k: int) -> float:
    ranks = [rank_of(int(label), row) for label, row in zip(truth, rows, strict=True)]
    return recall_at_k(np.array(ranks), k).value


@pytest.mark.parametrize("seed", range(8))
def test_recall_is_tensorflows_to_the_last_digit(seed: int) -> None:
    """Few levels, so that many are equal; labels that are no classes, below and above them."""
    random = np.random.default_rng(seed)
    photos, classes = int(random.integers(1, 200)), int(random.integers(1, 40))
    rows = random.integers(0, 6, (photos, classes)).astype(np.float32)
    rows /= np.float32(7)
    truth = random.integers(-1, classes + 1, photos)
    known = np.where(truth < classes, truth, -1)  # as `Truth.ids` gives them
    for k in {1, min(5, classes), min(10, classes), classes}:
        assert ours(rows, known, k) == tensorflows(rows, truth, k)


def test_classes_that_are_all_alike() -> None:
    rows, truth = np.full((12, 12), 1 / 12, np.float32), np.arange(12)
    for k in (1, 5, 12):
        assert ours(rows, truth, k) == tensorflows(rows, truth, k) == k / 12


def test_more_than_the_classes_are_all_of_them() -> None:
    """TensorFlow refuses to look for more than there are; all are what is left to mean."""
    rows = np.random.default_rng(0).random((9, 4), np.float32)
    truth = np.array([0, 1, 2, 3, -1, 0, 1, 2, 3])
    with pytest.raises(ValueError, match=">= k = 5 but is 4"):
        tensorflows(rows, truth, 5)
    assert ours(rows, truth, 5) == ours(rows, truth, 10) == tensorflows(rows, truth, 4) == 8 / 9


def check(model: Path, table: Path, say: Callable[[], str]) -> dict[str, float]:
    """What the command says, what TensorFlow says of the same answers: the same."""
    classifier = FungiClassifier(model, device="cpu")
    truth = read_truth(table)
    rows = np.stack(list(classifier.probabilities_many(photo.path for photo in truth.photos)))
    ids = truth.ids(classifier.labels)
    assert main(["evaluate", str(table), "-m", str(model), "--json"]) == 0
    found = json.loads(say())
    assert found["photos"] == len(ids)
    assert found["recall"] == {str(k): tensorflows(rows, ids, k) for k in KS}
    known = ids >= 0
    assert found["results"][0]["recall_of_known"] == {
        str(k): tensorflows(rows[known], ids[known], k) for k in KS
    }
    return found["recall"]


def test_on_the_standins_own_truth(
    export, standin_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And TensorFlow's answers to the same pictures have the same recall."""
    model = tmp_path / "standin.onnx"
    export(standin_dir, model, Wishes(labels=standin_dir / "labels.csv"))
    capsys.readouterr()
    table = standin_dir / "truth.csv"
    recall = check(model, table, lambda: capsys.readouterr().out)
    assert 0.2 < recall["1"] < 1
    module = hub.load(str(standin_dir)).signatures["image_classifier"]
    truth = read_truth(table)
    classifier = FungiClassifier(model, device="cpu")
    images = np.stack([classifier.prepare(photo.path) for photo in truth.photos])
    rows = module(images=tf.constant(images))["image_classifier"].numpy()
    for k in KS:
        assert tensorflows(rows, truth.ids(classifier.labels), k) == recall[str(k)]


@pytest.mark.skipif(not REAL.is_dir(), reason=f"{REAL} is not here")
def test_on_real_birds(export, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Photos of a parrot, an owl and a chickadee, cut, turned, dimmed and blurred: and one label
    that the model does not have.
    """
    model = tmp_path / "birds.onnx"
    export(BIRDS, model, Wishes(labels=REAL / "modules" / "labels_4128.csv"))
    capsys.readouterr()
    labels = FungiClassifier(model).labels
    named = {
        photo: next(name for name in labels if name.startswith(start))
        for photo, start in (
            ("parrot.jpg", "Ara macao"),
            ("owl.jpg", "Athene cunicularia"),
            ("bird.bmp", "Poecile atricapillus"),
        )
    }
    lines, random = ["image,label"], np.random.default_rng(3)
    for photo, name in named.items():
        rgb = read_rgb(REAL / "photos" / photo)
        for n in range(16):
            height, width = rgb.shape[:2]
            share = random.uniform(0.45, 1)
            top, left = (int(random.uniform(0, 1 - share) * side) for side in (height, width))
            cut = rgb[top : top + int(share * height), left : left + int(share * width)]
            cut = np.rot90(cut, int(random.choice(4, p=[0.7, 0.1, 0.1, 0.1])))
            cut = np.clip(cut * random.uniform(0.5, 1.3), 0, 255).astype(np.uint8)
            cut = cv2.GaussianBlur(cut, (0, 0), random.uniform(0.3, max(1, width / 150)))
            image = f"{photo}.{n}.png"
            cv2.imwrite(str(tmp_path / image), cut[..., ::-1])
            lines.append(f"{image},{name if n else 'Corvus nullius'}")
    table = tmp_path / "truth.csv"
    table.write_text("\n".join(lines))
    recall = check(model, table, lambda: capsys.readouterr().out)
    assert 0.2 < recall["1"] < recall["10"] < 1
    (result,) = evaluate(read_truth(table), [FungiClassifier(model)]).results
    assert (result.truth == -1).sum() == 3
