"""Fits the temperature of a model, and measures on photos it has not seen what it brings."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from fungi_onnx.classifier import FungiClassifier
from fungi_onnx.errors import CalibrationError, ImageError
from fungi_onnx.evaluation.confidence import Logs, calibration_error, fit_temperature, reliability
from fungi_onnx.evaluation.truth import UNKNOWN, Truth
from fungi_onnx.model_path import sha256_of
from fungi_onnx.temperature import Calibration

FOLDS, LEAST, _SEED = 5, 50, 1


def calibrate(
    truth: Truth,
    classifier: FungiClassifier,
    *,
    workers: int | None = None,
    told: Callable[[int], None] = lambda _: None,
) -> tuple[Calibration, list[ImageError]]:
    """Fits one temperature to the photos of classes that the model has.

    All their rows are in memory at once: 4 bytes for each photo and class.

    Args:
        truth: at least 50 such photos.
        classifier: the model, with the view and crop that are meant. Its own temperature is not
            used.
        workers, told: as of `fungi_onnx.evaluation.evaluate`.

    Returns:
        The calibration, which is kept nowhere yet, and what was wrong with photos that could not be
        used.

    Raises:
        CalibrationError: there are too few photos, or no temperature fits.
        TruthError, DeviceUnavailableError: as of `fungi_onnx.evaluation.evaluate`.
    """
    ids = truth.ids(classifier.labels)
    photos = [photo for photo, known in zip(truth.photos, ids != UNKNOWN, strict=True) if known]
    ids = ids[ids != UNKNOWN]
    rows = np.empty((len(photos), len(classifier.labels)), np.float32)
    used: list[int] = []
    errors: list[ImageError] = []
    found = classifier.probabilities_many((photo.path for photo in photos), workers=workers)
    for number, row in enumerate(found):
        if isinstance(row, ImageError):
            errors.append(row)
        else:
            rows[len(used)] = row
            used.append(number)
        told(len(errors))
    if len(used) < LEAST:
        raise CalibrationError(
            f"{truth.source}: a temperature needs at least {LEAST} photos of classes that the model"
            f" has, and {len(used)} could be used"
        )
    return _fitted(classifier, rows[: len(used)], ids[used]), errors


def _fitted(
    classifier: FungiClassifier, rows: NDArray[np.float32], ids: NDArray[np.int64]
) -> Calibration:
    count, answers = len(rows), rows.argmax(axis=1)
    right = answers == ids
    before = rows[np.arange(count), answers]  # a copy: the rows become logarithms
    logs = Logs(rows, ids)
    everything = np.arange(count)
    temperature = fit_temperature(logs, everything)
    fold = np.random.default_rng(_SEED).permutation(count) % FOLDS
    temperatures, losses, after = [], np.empty(count), np.empty(count)
    for one in range(FOLDS):
        held_out = everything[fold == one]
        temperatures.append(fit_temperature(logs, everything[fold != one]))
        beta = 1 / temperatures[-1]
        losses[held_out] = logs.moments(held_out, beta)[0]
        # The answer's own loss is what its tempered probability is the exponential of.
        loss_of_answer = losses[held_out] + beta * (
            logs.of_truth[held_out] - logs.rows[held_out, answers[held_out]]
        )
        after[held_out] = np.exp(-loss_of_answer)
    return Calibration(
        temperature=temperature,
        model_sha256=sha256_of(classifier.path),
        view=classifier.view,
        crop=classifier.crop,
        photos=count,
        classes=len(np.unique(ids)),
        fold_temperatures=tuple(temperatures),
        nll=float(logs.moments(everything, 1.0)[0].mean()),
        ece=calibration_error(reliability(before, right)),
        held_out_nll=float(losses.mean()),
        held_out_ece=calibration_error(reliability(after, right)),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
