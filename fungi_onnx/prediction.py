"""What a classification gives: frozen, typed, printable results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fungi_onnx.errors import FungiOnnxError


@dataclass(frozen=True, slots=True)
class Match:
    """One class and how probable the model finds it.

    ``id`` is the index of the class in the model's output, ``name`` its label and
    ``probability`` the softmax value in [0, 1].
    """

    id: int
    name: str
    probability: float


@dataclass(frozen=True, slots=True)
class Prediction:
    """The most probable classes of one picture, or the error that stopped it.

    ``image`` is the path as it was given, or None for bytes, file objects and arrays. ``unsure``
    says whether the best match is less probable than what was asked for; None if nothing was.
    """

    image: str | None
    matches: tuple[Match, ...]
    error: FungiOnnxError | None = None
    unsure: bool | None = None

    @property
    def ok(self) -> bool:
        """True if the picture was classified."""
        return self.error is None

    @property
    def top(self) -> tuple[Match, ...]:
        """The matches, most probable first.

        Raises:
            FungiOnnxError: the picture's own error, if it could not be classified.
        """
        if self.error is not None:
            raise self.error
        return self.matches

    def to_dict(self) -> dict[str, Any]:
        """The prediction as the JSON object that every front of fungi-onnx answers."""
        if self.error is not None:
            kind = type(self.error).__name__
            return {"image": self.image, "error": {"type": kind, "message": str(self.error)}}
        top = [{"id": m.id, "name": m.name, "probability": m.probability} for m in self.matches]
        unsure = {} if self.unsure is None else {"unsure": self.unsure}
        return {"image": self.image, "top": top, **unsure}

    def __str__(self) -> str:
        head = self.image or "(picture)"
        if self.error is not None:
            return f"{head}\n  {type(self.error).__name__}: {self.error}"
        if self.unsure:
            head += "  (not sure)"
        width = max((len(match.name) for match in self.matches), default=0)
        rows = [
            f"  {rank:>2}  {match.name:<{width}}  {match.probability:6.1%}"
            f"  {_bar(match.probability)}".rstrip()
            for rank, match in enumerate(self.matches, start=1)
        ]
        return "\n".join([head, *rows])

    def _repr_html_(self) -> str:
        """A small table with bars, for notebooks."""
        from html import escape

        head = escape(self.image or "picture") + (" (not sure)" if self.unsure else "")
        caption = f"<caption style='text-align:left'>{head}</caption>"
        if self.error is not None:
            return f"<table>{caption}<tr><td>{escape(str(self.error))}</td></tr></table>"
        rows = "".join(
            f"<tr><td style='text-align:left'>{escape(match.name)}</td>"
            f"<td style='text-align:right'>{match.probability:.1%}</td>"
            "<td style='width:160px;text-align:left'><div style='background:#2e7d32;height:10px;"
            f"border-radius:2px;width:{match.probability:.1%}'></div></td></tr>"
            for match in self.matches
        )
        return f"<table>{caption}{rows}</table>"


def rank(
    probabilities: NDArray[np.floating], labels: Sequence[str], top_k: int
) -> tuple[Match, ...]:
    """The ``top_k`` most probable classes, best first; equal ones in the order of their ids.

    Args:
        probabilities: float [classes] in [0, 1].
        labels: one name a class, in id order.
        top_k: how many; all classes if there are fewer.
    """
    best = np.argsort(-probabilities, kind="stable")[:top_k]
    return tuple(Match(int(i), labels[i], float(probabilities[i])) for i in best)


def _bar(fraction: float, width: int = 20) -> str:
    """A bar of eighths of a character, so that small probabilities still differ."""
    eighths = round(fraction * width * 8)
    return "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()
