"""The parity report: one JSON file, and one HTML page that needs nothing beside it."""

from __future__ import annotations

import base64
import json
from dataclasses import asdict
from html import escape
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fungi_onnx.model_file import ModelFile
from fungi_onnx_export.errors import ExportError
from fungi_onnx_export.parity import Comparison, PictureSet

WORST, THUMBNAIL = 12, 132
_SIDE, _MARGIN, _DECADES = 440, 56, 6  # the scatter: pixels, pixels, 1e-6 to 1


def write(
    page: Path, source: str, model: Path, description: ModelFile, comparison: Comparison,
    shown: PictureSet,
) -> None:  # fmt: skip
    """Writes ``page`` and, beside it, the same facts as ``.json``.

    Raises:
        ExportError: they cannot be written.
    """
    expected, ours = comparison.reference.probabilities, comparison.onnx
    largest = np.abs(expected - ours).max(axis=1)
    labels = description.labels
    rows = [
        {
            "picture": name,
            "max_difference": float(largest[i]),
            "reference_top": _top(expected[i], labels),
            "onnx_top": _top(ours[i], labels),
        }
        for i, name in enumerate(shown.names)
    ]
    facts = {
        "source": Path(source).name if Path(source).exists() else source,
        "model": model.name,
        "passed": comparison.problem is None,
        "problem": comparison.problem,
        "parity": asdict(comparison.parity),
        "pictures": rows,
    }
    order = [int(i) for i in np.argsort(-largest, kind="stable")[:WORST]]
    thumbnails = _thumbnails(shown, order)
    try:
        page.with_suffix(".json").write_text(json.dumps(facts, ensure_ascii=False, indent=1))
        page.write_text(
            _page(facts, _scatter(expected, ours), [(rows[i], thumbnails[i]) for i in order]),
            encoding="utf-8",
        )
    except OSError as error:
        raise ExportError(f"{page}: cannot be written: {error.strerror}") from None


def _top(probabilities: NDArray[np.float32], labels: tuple[str, ...]) -> dict[str, Any]:
    best = int(probabilities.argmax())
    return {"id": best, "name": labels[best], "probability": float(probabilities[best])}


def _thumbnails(shown: PictureSet, wanted: list[int]) -> dict[int, str]:
    """The pictures as the model saw them, small, as data URIs."""
    found, start = {}, 0
    for chunk in shown.chunks():
        for index in wanted:
            if start <= index < start + len(chunk):
                pixels = (chunk[index - start] * 255).round().astype(np.uint8)
                small = cv2.resize(pixels, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)
                _, data = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR))
                found[index] = "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()
        start += len(chunk)
    return found


def _scatter(expected: NDArray[np.float32], ours: NDArray[np.float32]) -> str:
    """An SVG of the reference's best five of each picture, logarithmic on both axes."""
    best = np.argsort(-expected, axis=1)[:, :5]
    x, y = (np.take_along_axis(p, best, axis=1).ravel() for p in (expected, ours))
    inner = _SIDE - 2 * _MARGIN

    def place(p: NDArray[np.float32]) -> NDArray[np.float64]:
        logs = np.log10(np.maximum(p.astype(np.float64), 10.0**-_DECADES))
        return np.asarray((logs + _DECADES) / _DECADES * inner)

    points = "".join(
        f'<circle cx="{_MARGIN + a:.1f}" cy="{_SIDE - _MARGIN - b:.1f}" r="3"/>'
        for a, b in zip(place(x), place(y), strict=True)
    )
    grid, end = "", _SIDE - _MARGIN
    for decade in range(_DECADES + 1):
        at = inner * decade / _DECADES
        left, low = _MARGIN + at, _SIDE - _MARGIN - at
        exponent = decade - _DECADES
        text = "1" if exponent == 0 else f'10<tspan dy="-4" font-size="9">{exponent}</tspan>'
        grid += (
            f'<path d="M{left:.1f} {_MARGIN}V{end}M{_MARGIN} {low:.1f}H{end}"/>'
            f'<text x="{left:.1f}" y="{end + 18}" text-anchor="middle">{text}</text>'
            f'<text x="{_MARGIN - 8}" y="{low + 4:.1f}" text-anchor="end">{text}</text>'
        )
    return f"""\
<svg viewBox="0 0 {_SIDE} {_SIDE}" role="img" aria-label="Reference against ONNX probabilities">
<g class="grid">{grid}</g>
<path class="diagonal" d="M{_MARGIN} {end}L{end} {_MARGIN}"/>
<g class="points">{points}</g>
<text x="{_SIDE / 2}" y="{_SIDE - 12}" text-anchor="middle">reference probability</text>
<text transform="translate(14 {_SIDE / 2}) rotate(-90)" text-anchor="middle">ONNX probability</text>
</svg>"""


def _page(facts: dict[str, Any], scatter: str, worst: list[tuple[dict[str, Any], str]]) -> str:
    parity = facts["parity"]
    figures = {
        "reference": parity["reference"],
        "pictures": f"{parity['pictures']} ({parity['picture_set']})",
        "max |Δp|": f"{parity['max_difference']:.3g}",
        "mean |Δp|": f"{parity['mean_difference']:.3g}",
        "mean of the largest": f"{parity['mean_max_difference']:.3g}",
        "top-1 agreement": f"{parity['top1_agreement']:.2%}",
        "top-5 agreement": f"{parity['top5_agreement']:.2%}",
        "gate": parity["gate"],
    }
    if parity["noise_floor"] is not None:
        figures["noise floor"] = f"{parity['noise_floor']:.3g}, the reference against itself"
    table = "".join(
        f"<tr><th scope='row'>{escape(key)}</th><td>{escape(value)}</td></tr>"
        for key, value in figures.items()
    )
    cards = "".join(
        f"<figure><img src='{thumbnail}' alt='' width='{THUMBNAIL}' height='{THUMBNAIL}'>"
        f"<figcaption><b>{escape(row['picture'])}</b><br>max |Δp| {row['max_difference']:.2g}<br>"
        f"{_answer('reference', row['reference_top'])}<br>{_answer('ONNX', row['onnx_top'])}"
        "</figcaption></figure>"
        for row, thumbnail in worst
    )
    verdict = "passed" if facts["passed"] else f"failed: {facts['problem']}"
    return f"""\
<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Parity of {escape(facts["model"])}</title>
<style>{_STYLE}</style>
<main>
<h1>Parity of {escape(facts["model"])}</h1>
<p>with {escape(facts["source"])}</p>
<p class="verdict {"good" if facts["passed"] else "bad"}">Gate {escape(verdict)}</p>
<div class="columns"><table>{table}</table>{scatter}</div>
<h2>The worst pictures</h2>
<div class="cards">{cards}</div>
</main></html>
"""


def _answer(who: str, top: dict[str, Any]) -> str:
    return f"{who}: {escape(top['name'])} {top['probability']:.2%}"


_STYLE = """\
:root{color-scheme:light dark;--line:#8884;--ink:#2e7d32;--bad:#c62828}
body{font:15px/1.5 system-ui,sans-serif;margin:0}
main{max-width:60rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem;margin:0}h2{font-size:1.1rem;margin:2rem 0 .5rem}p{margin:.2rem 0}
.verdict{display:inline-block;margin:1rem 0;padding:.3rem .8rem;border-radius:1rem;color:#fff}
.good{background:var(--ink)}.bad{background:var(--bad)}
.columns{display:flex;flex-wrap:wrap;gap:1.5rem;align-items:flex-start}
table{border-collapse:collapse;flex:1 1 22rem}
th,td{text-align:left;vertical-align:top;padding:.3rem .8rem .3rem 0}
tr{border-bottom:1px solid var(--line)}
th{font-weight:600;white-space:nowrap}
svg{flex:0 1 440px;width:100%;max-width:440px;font-size:12px;fill:currentColor}
.grid path{stroke:var(--line);fill:none}.diagonal{stroke:currentColor;opacity:.4}
.points circle{fill:var(--ink);fill-opacity:.55}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(17rem,1fr));gap:1rem}
figure{margin:0;display:flex;gap:.8rem;font-size:.85rem;overflow-wrap:anywhere}
img{border-radius:6px;flex:none}figcaption{min-width:0}
@media print{main{margin:0;max-width:none}figure{break-inside:avoid}}
"""
