"""An evaluation as one HTML page that needs nothing beside it, to look at and to print."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from importlib import resources
from typing import Any

import cv2
import numpy as np

from fungi_onnx import __version__
from fungi_onnx.errors import ImageError, ResultsError
from fungi_onnx.evaluation import tables
from fungi_onnx.evaluation.result import KS, Evaluation, Result
from fungi_onnx.evaluation.truth import UNKNOWN
from fungi_onnx.image import read_rgb

try:
    from jinja2 import Environment, StrictUndefined

    from fungi_onnx.evaluation import charts
except ModuleNotFoundError as missing:
    raise ResultsError(
        f"a report needs {missing.name}: pip install 'fungi-onnx[report]', or leave out --html"
    ) from None

WORST, CONFUSED, _THUMBNAIL = 24, 25, 200  # photos, pairs, pixels


def page(evaluation: Evaluation) -> str:
    """The report: charts, tables, and thumbnails of the surest wrong answers of the first result.

    Raises:
        ResultsError: Jinja2 or Matplotlib is not installed.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters |= {
        "share": tables.share,
        "mean": lambda found: tables.interval(*found),
        "percent": "{:.1%}".format,
        "count": "{:,}".format,
    }
    template = resources.files("fungi_onnx.evaluation").joinpath("report.html")
    first, results = evaluation.results[0], evaluation.results
    return environment.from_string(template.read_text("utf-8")).render(
        evaluation=evaluation,
        first=first,
        model=first.classifier.model,
        labels=first.classifier.labels,
        counted=tables.counted(evaluation),
        remarks=list(tables.remarks(evaluation)),
        ks=KS,
        any_unknown=any((one.truth == UNKNOWN).any() for one in results),
        colours=[charts.colour(n) for n in range(len(results))],
        charts={
            "recall": charts.recall(results),
            "reliability": charts.reliability(results),
            "coverage": charts.coverage(results),
        },
        chance=tables.chance,
        classes=sorted(first.classes, key=lambda one: (one.recall[1].value, -one.photos, one.id)),
        confused=first.confusions[:CONFUSED],
        worst=_worst(evaluation, first),
        version=__version__,
        now=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )


def _worst(evaluation: Evaluation, result: Result) -> list[dict[str, Any]]:
    """The wrong answers that were given with the highest probability."""
    labels = result.classifier.labels
    wrong = np.flatnonzero(~result.right)
    shown = wrong[np.argsort(-result.confidence[wrong], kind="stable")][:WORST]
    return [
        {
            "image": evaluation.photos[n].image,
            "thumbnail": _thumbnail(evaluation.photos[n].path),
            "label": evaluation.photos[n].label,
            "truth": None if result.truth[n] == UNKNOWN else labels[result.truth[n]],
            "rank": tables.rank_told(int(result.ranks[n])),
            "of_truth": float(result.of_truth[n]),
            "answer": labels[result.best[n, 0]],
            "confidence": float(result.confidence[n]),
        }
        for n in shown
    ]


def _thumbnail(path: str) -> str | None:
    """A photo as a data URL; None if it is gone since."""
    try:
        rgb = read_rgb(path)
    except ImageError:
        return None
    height, width = rgb.shape[:2]
    scale = min(1.0, _THUMBNAIL / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    _, jpeg = cv2.imencode(
        ".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 82]
    )
    return "data:image/jpeg;base64," + base64.b64encode(jpeg.tobytes()).decode()
