"""Classifiers on photos of which one knows what they show: one, or several on the same photos."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from fungi_onnx.classifier import FungiClassifier
from fungi_onnx.errors import ImageError, TruthError
from fungi_onnx.evaluation.result import KS, Evaluation, Result
from fungi_onnx.evaluation.scores import rank_of
from fungi_onnx.evaluation.truth import UNKNOWN, Truth
from fungi_onnx.prediction import rank
from fungi_onnx.temperature import tempered


def evaluate(
    truth: Truth,
    classifiers: Sequence[FungiClassifier],
    *,
    workers: int | None = None,
    told: Callable[[int], None] = lambda _: None,
) -> Evaluation:
    """Looks at all photos with each classifier.

    Photos that one of them cannot look at are left out of all, so that they are compared on the
    same. A photo whose label a model does not have counts as missed by it.

    Args:
        truth: the photos.
        classifiers: at least one. Their temperatures are used.
        workers: as of `FungiClassifier.classify_many`.
        told: is told of each photo that a classifier has done, and how many failed by then.

    Raises:
        TruthError: none of the photos could be used, or see `Truth.ids`.
        DeviceUnavailableError: a GPU failed.
    """
    ids = [truth.ids(classifier.labels) for classifier in classifiers]
    errors: dict[int, ImageError] = {}
    looks = []
    for classifier, wanted in zip(classifiers, ids, strict=True):
        looks.append(_Look(classifier, wanted))
        rows = classifier.probabilities_many(
            (photo.path for photo in truth.photos), workers=workers
        )
        for number, row in enumerate(rows):
            if isinstance(row, ImageError):
                errors.setdefault(number, row)
            else:
                looks[-1].note(number, row)
            told(len(errors))
    used = np.array([n for n in range(len(truth.photos)) if n not in errors], np.int64)
    if not len(used):
        raise TruthError(
            f"{truth.source}: none of its {len(truth.photos)} photos can be used; the first:"
            f" {errors[0]}"
        )
    nowhere = np.all([wanted == UNKNOWN for wanted in ids], axis=0)
    unknown = Counter(
        photo.label for photo, none in zip(truth.photos, nowhere, strict=True) if none
    )
    return Evaluation(
        source=truth.source,
        photos=tuple(truth.photos[n] for n in used),
        failed=tuple((truth.photos[n], errors[n]) for n in sorted(errors)),
        unknown=dict(unknown),
        strays=truth.strays,
        results=tuple(
            look.result(name, used) for look, name in zip(looks, _names(classifiers), strict=True)
        ),
    )


class _Look:
    """What one classifier saw so far."""

    def __init__(self, classifier: FungiClassifier, truth: NDArray[np.int64]) -> None:
        count, best = len(truth), min(max(KS), len(classifier.labels))
        self._classifier, self._truth = classifier, truth
        self._ranks = np.zeros(count, np.int64)
        self._best = np.zeros((count, best), np.int64)
        self._probabilities = np.zeros((count, best))
        self._of_truth = np.full(count, np.nan)

    def note(self, number: int, row: NDArray[np.float32]) -> None:
        classifier, truth = self._classifier, int(self._truth[number])
        self._ranks[number] = rank_of(truth, row)
        values: NDArray[np.floating] = row
        if classifier.temperature is not None:
            values = tempered(row, classifier.temperature)
        matches = rank(values, classifier.labels, self._best.shape[1])
        self._best[number] = [match.id for match in matches]
        self._probabilities[number] = [match.probability for match in matches]
        if truth != UNKNOWN:
            self._of_truth[number] = values[truth]

    def result(self, name: str, used: NDArray[np.int64]) -> Result:
        return Result(
            name,
            self._classifier,
            self._truth[used],
            self._ranks[used],
            self._best[used],
            self._probabilities[used],
            self._of_truth[used],
        )


def _names(classifiers: Sequence[FungiClassifier]) -> list[str]:
    """Names that tell them apart: the file's, and what else differs."""
    paths = {classifier.path for classifier in classifiers}
    files = {path.name for path in paths}
    parts = [
        [str(one.path) if len(files) < len(paths) else one.path.name, one.view, one.crop]
        for one in classifiers
    ]
    differs = [len(set(column)) > 1 for column in zip(*parts, strict=True)]
    differs[0] = differs[0] or not any(differs)
    return [" ".join(itertools.compress(row, differs)) for row in parts]
