"""What probabilities are worth: how often they are right, and what is left if one demands more."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fungi_onnx.errors import CalibrationError
from fungi_onnx.evaluation.scores import Share

BINS = 15  # as Guo et al., 2017
COOLEST, HOTTEST = 0.05, 20.0
_BLOCK = 256  # rows at a time: 8 MB of 4,128 classes


class Bin(NamedTuple):
    """Answers of about the same confidence.

    ``low`` and ``high`` are its bounds, the upper one included, ``confidence`` is the mean of its
    answers' probabilities, and ``right`` how many of them are right.
    """

    low: float
    high: float
    confidence: float
    right: Share


def reliability(confidence: NDArray[np.floating], right: NDArray[np.bool_]) -> list[Bin]:
    """The answers in 15 bins of the same width, without empty ones.

    Args:
        confidence: [photos], the probability of each answer.
        right: [photos].
    """
    edges = np.linspace(0, 1, BINS + 1)
    which = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, BINS - 1)
    return [
        Bin(
            float(edges[n]),
            float(edges[n + 1]),
            float(confidence[which == n].mean(dtype=np.float64)),
            Share(int(right[which == n].sum()), int((which == n).sum())),
        )
        for n in range(BINS)
        if (which == n).any()
    ]


def calibration_error(bins: list[Bin]) -> float:
    """The expected calibration error (Guo et al., 2017): the mean |confidence - accuracy|."""
    photos = sum(one.right.of for one in bins)
    return sum(abs(one.confidence - one.right.value) * one.right.of for one in bins) / photos


class Step(NamedTuple):
    """What is left if answers below ``threshold`` are not accepted, and how much of it is right."""

    threshold: float
    kept: Share
    right: Share


def coverage(confidence: NDArray[np.floating], right: NDArray[np.bool_]) -> list[Step]:
    """The risk-coverage curve: a step for each confidence that there is, the highest first."""
    order = np.argsort(-confidence, kind="stable")
    ordered, count = confidence[order], len(confidence)
    hits = np.cumsum(right[order])
    # Answers of the same confidence are accepted together.
    ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
    return [
        Step(float(ordered[i]), Share(int(i) + 1, count), Share(int(hits[i]), int(i) + 1))
        for i in ends
    ]


def accepted(confidence: NDArray[np.floating], right: NDArray[np.bool_], threshold: float) -> Step:
    """What is left at one threshold."""
    kept = confidence >= threshold
    of = int(kept.sum())
    return Step(threshold, Share(of, len(kept)), Share(int(right[kept].sum()), of))


class Logs:
    """Natural logarithms of rows of probabilities, and those of their true classes.

    A probability of exactly 0 says: less than can be told. Tempering leaves it at 0, so that such
    classes have no part in the sums; where it is the true class's, the least probability that was
    told anywhere stands for it.
    """

    _NOTHING = -1e5  # over any temperature its exponential is 0

    def __init__(self, probabilities: NDArray[np.float32], truth: NDArray[np.int64]) -> None:
        """Takes over ``probabilities``, [photos, classes], in place: there may be gigabytes."""
        told = probabilities > 0
        least = np.log(probabilities.min(initial=1.0, where=told))
        np.log(probabilities, out=probabilities, where=told)
        probabilities[~told] = self._NOTHING
        mine = probabilities[np.arange(len(truth)), truth]
        self.of_truth = np.maximum(mine, least).astype(np.float64)
        self.rows = probabilities

    def moments(
        self, chosen: NDArray[np.int64], beta: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """The loss of each chosen row and its first two derivatives by ``beta``, 1/T."""
        found = []
        for start in range(0, len(chosen), _BLOCK):
            block = chosen[start : start + _BLOCK]
            logs = self.rows[block].astype(np.float64)
            scaled = beta * logs
            top = scaled.max(axis=1)
            shares = np.exp(scaled - top[:, np.newaxis])
            total = shares.sum(axis=1)
            shares /= total[:, np.newaxis]
            mean = (shares * logs).sum(axis=1)
            spread = (shares * (logs - mean[:, np.newaxis]) ** 2).sum(axis=1)
            mine = self.of_truth[block]
            found.append((top + np.log(total) - beta * mine, mean - mine, spread))
        loss, slope, curve = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return loss, slope, curve


def fit_temperature(logs: Logs, chosen: NDArray[np.int64]) -> float:
    """The temperature that makes the mean negative log-likelihood of the true classes least.

    The loss is convex in 1/T, so that Newton's steps, held within what is known, find its only
    minimum.

    Args:
        logs: of all photos.
        chosen: the rows to fit.

    Raises:
        CalibrationError: it is not within 0.05 and 20.
    """
    low, high = 1 / HOTTEST, 1 / COOLEST
    ends = [logs.moments(chosen, beta)[1].mean() for beta in (low, high)]
    if not ends[0] < 0 < ends[1]:
        why = (
            "the answers are hardly better than chance"
            if ends[0] >= 0
            else "nearly all answers are right"
        )
        raise CalibrationError(
            f"no temperature from {COOLEST:g} to {HOTTEST:g} fits these {len(chosen)} photos:"
            f" {why}; take more, and such as the model will see"
        )
    beta = 1.0
    for _ in range(60):
        _, slopes, curves = logs.moments(chosen, beta)
        slope, curve = float(slopes.mean()), float(curves.mean())
        low, high = (beta, high) if slope < 0 else (low, beta)
        step = beta - slope / curve if curve > 0 else 0.0
        following = step if low < step < high else float(np.sqrt(low * high))
        if abs(following - beta) < 1e-10 * beta:
            break
        beta = following
    return 1 / beta
