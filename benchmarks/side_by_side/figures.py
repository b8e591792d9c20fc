"""Figures of many rounds in few words."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

Series = dict[str, dict[str, list[float]]]  # part → who → one figure a round: seconds or bytes


@dataclass(frozen=True)
class Spread:
    """Median, least and greatest over the rounds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        return cls(statistics.median(values), min(values), max(values))


def ratio(numerators: list[float], denominators: list[float]) -> Spread:
    """Round by round: what slowed the machine down in one of them slowed both."""
    return Spread.of([a / b for a, b in zip(numerators, denominators, strict=True)])


def unit(part: str) -> str:
    """In which a part of the benchmark is shown."""
    if part.startswith("memory"):
        return "MB"
    if part.startswith("start"):
        return "s"
    return "images/s" if part == "bulk" else "ms"


def in_unit(part: str, values: list[float]) -> Spread:
    """The rounds' seconds or bytes in the part's unit."""
    match unit(part):
        case "MB":
            return Spread.of([value / 1e6 for value in values])
        case "images/s":
            return Spread.of([1 / value for value in values])
        case "ms":
            return Spread.of([value * 1e3 for value in values])
        case _:
            return Spread.of(values)


def judged_in(part: str) -> str:
    """The part whose answers also stand for this one's."""
    return part.replace("memory", "start")


def brief(value: float) -> str:
    """Three digits, or all of those before the point."""
    return f"{value:.0f}" if value >= 99.95 else f"{value:#.3g}"
