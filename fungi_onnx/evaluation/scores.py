"""How often answers are right: Recall@k and what goes with it, of ranks.

The rank of a photo is how many classes come before its true one; 0 is right. Classes of the same
probability come in the order of their ids, as in ``tf.math.top_k``, and a photo whose class the
model does not have has the rank `MISSED`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Ranks = NDArray[np.int64]
Ids = NDArray[np.int64]
MISSED = np.iinfo(np.int64).max
_Z = 1.959963984540054  # of the normal distribution 95 % lie within ± this
_RESAMPLES, _SEED = 1000, 1


@dataclass(frozen=True, slots=True)
class Share:
    """A proportion of photos, with its 95 % interval."""

    hits: int
    of: int

    @property
    def value(self) -> float:
        """The proportion; NaN if there are no photos."""
        return self.hits / self.of if self.of else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """The score interval of E. B. Wilson, "Probable Inference", 1927; without photos [0, 1]."""
        if not self.of:
            return 0.0, 1.0
        shrink = 1 + _Z**2 / self.of
        middle = (self.value + _Z**2 / (2 * self.of)) / shrink
        spread = _Z * math.sqrt(self.value * (1 - self.value) / self.of + (_Z / self.of / 2) ** 2)
        return max(0.0, middle - spread / shrink), min(1.0, middle + spread / shrink)


def rank_of(truth: int, probabilities: NDArray[np.floating]) -> int:
    """How many classes come before the true one.

    Args:
        truth: its id; a negative one is none of the model's.
        probabilities: [classes].
    """
    if truth < 0:
        return int(MISSED)
    mine = probabilities[truth]
    return int((probabilities > mine).sum() + (probabilities[:truth] == mine).sum())


def recall_at_k(ranks: Ranks, k: int) -> Share:
    """The proportion of photos whose class is among the best k.

    This is ``tf.compat.v1.metrics.recall_at_k`` with one label a photo: a label outside the classes
    counts as missed. More than all classes are all classes, where TensorFlow refuses.
    """
    return Share(int((ranks < k).sum()), len(ranks))


def macro_recall(truth: Ids, hits: NDArray[np.bool_]) -> tuple[float, float, float]:
    """The mean over classes of the proportion of their photos that are hits: rare ones count alike.

    Args:
        truth: [photos], each one's class.
        hits: [photos].

    Returns:
        It, and its 95 % interval: percentiles of 1,000 bootstrap samples of the photos. Without
        photos NaN, and from 0 to 1.
    """
    if not len(truth):
        return math.nan, 0.0, 1.0
    _, classes = np.unique(truth, return_inverse=True)

    def mean(chosen: NDArray[np.int64]) -> float:
        photos = np.bincount(classes[chosen])
        found = np.bincount(classes[chosen], weights=hits[chosen])
        return float((found[photos > 0] / photos[photos > 0]).mean())

    random, count = np.random.default_rng(_SEED), len(truth)
    means = [mean(random.integers(count, size=count)) for _ in range(_RESAMPLES)]
    low, high = np.percentile(means, [2.5, 97.5])
    return mean(np.arange(count)), float(low), float(high)


class McNemar(NamedTuple):
    """Photos that one of two is right about and the other is not, and how likely that is by chance.

    ``p`` is the exact two-sided one of the binomial test.
    """

    only_first: int
    only_second: int
    p: float


def mcnemar(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> McNemar:
    """Compares two on the same photos (Q. McNemar, 1947).

    Args:
        first, second: [photos], whether each is right.
    """
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    count, fewer = only_first + only_second, min(only_first, only_second)
    tail = sum(math.comb(count, hits) for hits in range(fewer + 1))
    return McNemar(only_first, only_second, min(1.0, 2 * tail / 2**count))


class Confusion(NamedTuple):
    """A class that was taken for another, and how often."""

    truth: int
    answer: int
    photos: int


def confusions(truth: Ids, answers: Ids) -> list[Confusion]:
    """All pairs of a class and a wrong answer, the most frequent first."""
    wrong = (truth != answers) & (truth >= 0)
    pairs, counts = np.unique(
        np.stack([truth[wrong], answers[wrong]], axis=1), axis=0, return_counts=True
    )
    order = np.argsort(-counts, kind="stable")
    return [Confusion(int(pairs[i][0]), int(pairs[i][1]), int(counts[i])) for i in order]


@dataclass(frozen=True, slots=True)
class ClassScore:
    """How a class fares.

    Attributes:
        id: of the class.
        photos: how many show it.
        recall: by k, how many of these are found.
        answers: how many photos were given its name, and ``right`` of them rightly.
        mistaken_for: the class that it is most often taken for, if any.
    """

    id: int
    photos: int
    recall: dict[int, Share]
    answers: int
    right: int
    mistaken_for: int | None


def by_class(truth: Ids, ranks: Ranks, answers: Ids, ks: tuple[int, ...]) -> list[ClassScore]:
    """The score of each class that has photos, in id order."""
    instead: dict[int, int] = {}
    for confusion in confusions(truth, answers):
        instead.setdefault(confusion.truth, confusion.answer)
    given = dict(zip(*np.unique(answers, return_counts=True), strict=True))
    scores = []
    for one in np.unique(truth[truth >= 0]):
        mine = ranks[truth == one]
        scores.append(
            ClassScore(
                id=int(one),
                photos=len(mine),
                recall={k: recall_at_k(mine, k) for k in ks},
                answers=int(given.get(one, 0)),
                right=int((mine == 0).sum()),
                mistaken_for=instead.get(int(one)),
            )
        )
    return scores
