"""Who gives the right answers: only these are timed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

TOLERANCE = 1e-4  # of a probability, for the float32 network on the very same tensor


@dataclass(frozen=True)
class Verdict:
    """How a peer's answers differ from those of the hub module in TensorFlow.

    Attributes:
        pictures: how many were compared.
        wrong: how many have another first answer.
        largest, mean: of |Δp|. For the network over all classes of all pictures; for photos, of
            which a peer tells only its five best, that of the right first answer.
        tolerance: what ``largest`` may be; None: only the first answers count.
    """

    pictures: int
    wrong: int
    largest: float
    mean: float
    tolerance: float | None = None

    @property
    def same(self) -> bool:
        """True if it may be timed."""
        within = self.tolerance is None or self.largest <= self.tolerance
        return self.pictures > 0 and self.wrong == 0 and within

    def __str__(self) -> str:
        first = f"{self.wrong} of {self.pictures} first answers differ"
        if self.tolerance is not None:
            return f"{first}, max |Δp| {self.largest:.1e} where {self.tolerance:.0e} is allowed"
        return f"{first}, mean |Δp| {self.mean:.1e}"

    def to_dict(self) -> dict[str, Any]:
        """For the results file; ``Verdict(**…)`` but for ``same``."""
        return asdict(self) | {"same": self.same}


def of_probabilities(
    given: NDArray[Any], right: NDArray[np.float32], tolerance: float | None
) -> Verdict:
    """Compares whole answers, [pictures, classes] each."""
    difference = np.abs(np.asarray(given, np.float64) - right)
    if not np.isfinite(difference).all():
        return Verdict(len(right), len(right), 1.0, 1.0, tolerance)
    wrong = int((given.argmax(axis=1) != right.argmax(axis=1)).sum())
    return Verdict(len(right), wrong, float(difference.max()), float(difference.mean()), tolerance)


def of_best(given: list[list[list[float]]], right: list[tuple[int, float]]) -> Verdict:
    """Compares the [class, probability] pairs of each photo with its right first answer."""
    assert len(given) == len(right), "a peer left photos out"
    differences = [
        abs({int(k): p for k, p in pairs}.get(first, 0.0) - probability)
        for pairs, (first, probability) in zip(given, right, strict=True)
    ]
    wrong = sum(
        not pairs or pairs[0][0] != first for pairs, (first, _) in zip(given, right, strict=True)
    )
    return Verdict(len(right), wrong, max(differences), sum(differences) / len(differences))
