"""The results as bars: medians, with whiskers from the least to the greatest round."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .figures import brief, in_unit, judged_in
from .peers import OURS

OWN, OTHER, INK, FAINT = "#b5452c", "#c9c4ba", "#2b2b2b", "#77726a"
BULK_UNIT = (
    "images a second, longer is better; dotted: CPUs / (decode + network), each measured alone"
)
_FONT = {"font.size": 9, "text.color": INK, "axes.labelcolor": FAINT, "xtick.color": FAINT}


def draw(results: dict[str, Any], folder: Path) -> None:
    """Writes ``latency.png``, ``bulk.png`` and ``start.png``."""
    with mpl.rc_context(_FONT):
        _chart(
            results,
            folder / "latency.png",
            [
                ("network", "Network only, one image", "ms, shorter is better"),
                ("photo", "12-MP JPEG → five best classes", "ms, shorter is better"),
            ],
        )
        _chart(
            results,
            folder / "start.png",
            [
                ("start", "Process start → first answer", "s, shorter is better"),
                ("memory", "Peak memory of that process", "MB, shorter is better"),
            ],
        )
        _chart(
            results,
            folder / "bulk.png",
            [("bulk", "Many 12-MP JPEG files, all CPUs", BULK_UNIT)],
        )


def _chart(results: dict[str, Any], path: Path, panels: list[tuple[str, str, str]]) -> None:
    rows = max(len(_verdicts(results, part)) for part, _, _ in panels)
    figure = Figure(figsize=(10, 0.9 + 0.27 * rows), layout="constrained", facecolor="white")
    for place, (part, title, unit) in enumerate(panels):
        axis = figure.add_subplot(1, len(panels), place + 1)
        _panel(axis, results, part)
        axis.set_ylim(rows - 0.5, -0.5)  # the first on top, and bars alike in all panels
        axis.set_title(title, loc="left", fontsize=11, fontweight="bold")
        axis.set_xlabel(unit, loc="left")
    figure.savefig(path, dpi=160, metadata={"Software": None})


def _panel(axis: Axes, results: dict[str, Any], part: str) -> None:
    """The best on top; at the bottom who was not timed."""
    series = results["series"].get(part, {})
    values = {name: in_unit(part, rounds) for name, rounds in series.items()}
    longest_first = part == "bulk"
    names = sorted(values, key=lambda name: values[name].median, reverse=longest_first)
    limits = {
        name: in_unit(part, rounds).median
        for name, rounds in results["series"].get("limit", {}).items()
        if part == "bulk" and name in values
    }
    most = max([*(spread.high for spread in values.values()), *limits.values()])
    for place, name in enumerate(names):
        spread, own = values[name], name.startswith(OURS)
        axis.barh(place, spread.median, height=0.66, color=OWN if own else OTHER)
        axis.hlines(place, spread.low, spread.high, color=INK, linewidth=0.9)
        weight = "bold" if own else "normal"
        limit = limits.get(name, 0)
        end = max(spread.high, limit) if limit < spread.high + most * 0.1 else spread.high
        axis.text(end + most * 0.012, place, brief(spread.median), va="center", fontweight=weight)
    for name, limit in limits.items():  # if the CPUs did nothing but decode and compute
        place = names.index(name)
        axis.vlines(limit, place - 0.33, place + 0.33, color=INK, linewidth=1.2, linestyles=":")
    for name in _verdicts(results, part):
        if name not in values:
            axis.text(0, len(names), " another answer: not timed", va="center", color=FAINT)
            names.append(name)
    axis.set_yticks(range(len(names)), names)
    for label in axis.get_yticklabels():
        label.set_fontweight("bold" if label.get_text().startswith(OURS) else "normal")
    axis.set_xlim(0, most * 1.12)
    axis.tick_params(length=0)
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.spines["bottom"].set_color(OTHER)


def _verdicts(results: dict[str, Any], part: str) -> dict[str, Any]:
    return dict(results["verdicts"].get(judged_in(part), {}))
