"""What an evaluation gives: the figures of each classifier, and of each two."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fungi_onnx.classifier import FungiClassifier
from fungi_onnx.errors import ImageError
from fungi_onnx.evaluation import scores
from fungi_onnx.evaluation.confidence import (
    Bin,
    Step,
    accepted,
    calibration_error,
    coverage,
    reliability,
)
from fungi_onnx.evaluation.scores import ClassScore, Confusion, McNemar, Share
from fungi_onnx.evaluation.truth import UNKNOWN, Photo

KS = (1, 5, 10)
THRESHOLDS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)


@dataclass(frozen=True)
class Result:
    """What one classifier made of the photos.

    Attributes:
        name: tells it from the others of an evaluation.
        classifier: the classifier.
        truth: int64 [photos], each one's class; -1 if the model does not have it.
        ranks: int64 [photos], see `fungi_onnx.evaluation.scores`.
        best: int64 [photos, 10], the most probable classes; fewer if the model has fewer.
        probabilities: float64 [photos, 10], theirs.
        of_truth: float64 [photos], the probability of the true class; NaN if there is none.
    """

    name: str
    classifier: FungiClassifier
    truth: NDArray[np.int64]
    ranks: NDArray[np.int64]
    best: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    of_truth: NDArray[np.float64]

    @cached_property
    def recall(self) -> dict[int, Share]:
        """By k, the proportion of photos whose class is among the best k."""
        return {k: scores.recall_at_k(self.ranks, k) for k in KS}

    @cached_property
    def recall_of_known(self) -> dict[int, Share]:
        """The same without the photos of classes that the model does not have."""
        known = self.ranks[self.truth != UNKNOWN]
        return {k: scores.recall_at_k(known, k) for k in KS}

    @cached_property
    def macro(self) -> dict[int, tuple[float, float, float]]:
        """By k, the mean of the classes' own recalls, and its 95 % interval."""
        known = self.truth != UNKNOWN
        return {k: scores.macro_recall(self.truth[known], self.ranks[known] < k) for k in KS}

    @cached_property
    def classes(self) -> list[ClassScore]:
        """How each class fares."""
        return scores.by_class(self.truth, self.ranks, self.best[:, 0], KS)

    @cached_property
    def confusions(self) -> list[Confusion]:
        """Which classes are taken for which, the most frequent first."""
        return scores.confusions(self.truth, self.best[:, 0])

    @property
    def confidence(self) -> NDArray[np.float64]:
        """[photos], the probability of each answer."""
        return self.probabilities[:, 0]

    @property
    def right(self) -> NDArray[np.bool_]:
        """[photos], whether each answer is right."""
        right: NDArray[np.bool_] = self.ranks == 0
        return right

    @cached_property
    def reliability(self) -> list[Bin]:
        """Whether the answers are as often right as their probabilities say."""
        return reliability(self.confidence, self.right)

    @property
    def calibration_error(self) -> float:
        """The expected calibration error."""
        return calibration_error(self.reliability)

    @cached_property
    def coverage(self) -> list[Step]:
        """The risk-coverage curve."""
        return coverage(self.confidence, self.right)

    @cached_property
    def accepted(self) -> list[Step]:
        """The same at round thresholds."""
        return [accepted(self.confidence, self.right, p) for p in THRESHOLDS]

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON's types, without the single photos."""
        labels, classifier = self.classifier.labels, self.classifier
        return {
            "name": self.name,
            "model": str(classifier.path),
            "view": classifier.view,
            "crop": classifier.crop,
            "device": classifier.device,
            "temperature": classifier.temperature,
            "photos": len(self.truth),
            "unknown": int((self.truth == UNKNOWN).sum()),
            "recall": {str(k): share.value for k, share in self.recall.items()},
            "interval": {str(k): list(share.interval) for k, share in self.recall.items()},
            "recall_of_known": {
                str(k): _number(one.value) for k, one in self.recall_of_known.items()
            },
            "macro_recall": {str(k): _number(mean) for k, (mean, _, _) in self.macro.items()},
            "macro_interval": {str(k): [low, high] for k, (_, low, high) in self.macro.items()},
            "calibration_error": self.calibration_error,
            "reliability": [
                {
                    "low": one.low,
                    "high": one.high,
                    "photos": one.right.of,
                    "confidence": one.confidence,
                    "right": one.right.value,
                }
                for one in self.reliability
            ],
            "accepted": [
                {
                    "from": step.threshold,
                    "kept": step.kept.value,
                    "right": _number(step.right.value),
                }
                for step in self.accepted
            ],
            "classes": [
                {
                    "id": one.id,
                    "name": labels[one.id],
                    "photos": one.photos,
                    "recall": {str(k): share.value for k, share in one.recall.items()},
                    "answers": one.answers,
                    "right": one.right,
                    "mistaken_for": one.mistaken_for,
                }
                for one in self.classes
            ],
            "confusions": [
                {"truth": labels[one.truth], "answer": labels[one.answer], "photos": one.photos}
                for one in self.confusions[:100]
            ],
        }


@dataclass(frozen=True)
class Comparison:
    """Two results on the same photos: by k, who found what the other missed."""

    first: str
    second: str
    at: dict[int, McNemar]

    def to_dict(self) -> dict[str, Any]:
        """As JSON's types."""
        at = {str(k): found._asdict() for k, found in self.at.items()}
        return {"first": self.first, "second": self.second, "at": at}


@dataclass(frozen=True)
class Evaluation:
    """What came out.

    Attributes:
        source: where the truth is from.
        photos: those that all classifiers could look at, in order.
        failed: those that one could not, with the error.
        unknown: labels that no model has, and how many photos have each.
        strays: files of the folder that lie in no class.
        results: of each classifier.
    """

    source: str
    photos: tuple[Photo, ...]
    failed: tuple[tuple[Photo, ImageError], ...]
    unknown: dict[str, int]
    strays: tuple[str, ...]
    results: tuple[Result, ...]

    @cached_property
    def comparisons(self) -> list[Comparison]:
        """Of each two results."""
        return [
            Comparison(
                first.name,
                second.name,
                {k: scores.mcnemar(first.ranks < k, second.ranks < k) for k in KS},
            )
            for first, second in itertools.combinations(self.results, 2)
        ]

    def to_dict(self) -> dict[str, Any]:
        """As JSON's types; ``recall`` is that of the first result."""
        results = [result.to_dict() for result in self.results]
        return {
            "truth": self.source,
            "photos": len(self.photos),
            "failed": [
                {"image": photo.image, "type": type(error).__name__, "message": str(error)}
                for photo, error in self.failed
            ],
            "unknown_labels": self.unknown,
            "strays": list(self.strays),
            "recall": results[0]["recall"],
            "results": results,
            "comparisons": [one.to_dict() for one in self.comparisons],
        }


def _number(value: float) -> float | None:
    """JSON has no NaN."""
    return None if math.isnan(value) else value
