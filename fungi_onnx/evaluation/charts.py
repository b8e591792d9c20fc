"""The charts of a report, as SVG elements for a page."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.style import context

from fungi_onnx.evaluation.confidence import Step
from fungi_onnx.evaluation.result import KS, Result

# Wong, "Points of view: Color blindness", 2011, without black and yellow, the darker ones first.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
_INK, _GRID = "#3d4a41", "#dfe5df"
_STYLE = {
    "svg.fonttype": "none",  # text stays text: small, and in the page's own type
    "svg.hashsalt": "fungi-onnx",  # the same ids each time
    "font.family": "sans-serif",
    "font.size": 11,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _GRID,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": _GRID,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "figure.constrained_layout.use": True,
}


def colour(number: int) -> str:
    """Of the n-th result, in all charts."""
    return COLOURS[number % len(COLOURS)]


def recall(results: tuple[Result, ...]) -> str:
    """Recall@k of each result, with its 95 % interval."""
    with _drawn(10, 0.9 + 0.26 * len(results) * len(KS)) as (figure, axes):
        for row, k in enumerate(KS):
            for number, result in enumerate(results):
                share = result.recall[k]
                low, high = share.interval
                at = row + 0.7 * (number - (len(results) - 1) / 2) / len(results)
                axes.plot([low, high], [at, at], color=colour(number), alpha=0.35, linewidth=5)
                axes.plot(share.value, at, "o", color=colour(number), markersize=7)
                axes.annotate(
                    f"{share.value:.3f}",
                    (high, at),
                    xytext=(6, 0),
                    textcoords="offset points",
                    va="center",
                )
        axes.set_yticks(range(len(KS)), [f"Recall@{k}" for k in KS])
        axes.set_ylim(len(KS) - 0.5, -0.5)
        axes.set_xlim(0, 1.1)
        axes.set_xticks(np.linspace(0, 1, 6))
        axes.grid(axis="y", visible=False)
        axes.tick_params(length=0)
        return _svg(figure, "Recall at 1, 5 and 10 of each result, with 95 % intervals")


def reliability(results: tuple[Result, ...]) -> str:
    """How often answers are right, by the probability that they are given with."""
    with _drawn(4.8, 4.2) as (figure, axes):
        axes.plot([0, 1], [0, 1], color=_INK, linewidth=1, linestyle=(0, (3, 3)))
        for number, result in enumerate(results):
            bins = result.reliability
            x = [one.confidence for one in bins]
            y = [one.right.value for one in bins]
            if len(results) == 1:
                intervals = np.array([one.right.interval for one in bins]).T
                axes.vlines(x, *intervals, color=colour(number), alpha=0.35, linewidth=3)
            largest = max(one.right.of for one in bins)
            sizes = [12 + 90 * one.right.of / largest for one in bins]
            axes.plot(x, y, color=colour(number), linewidth=1, alpha=0.6)
            axes.scatter(x, y, s=sizes, color=colour(number), zorder=3, clip_on=False)
        _percent(axes, "probability that the answer is given with", "answers that are right")
        return _svg(figure, "Reliability: share of right answers by their probability")


def coverage(results: tuple[Result, ...]) -> str:
    """How many of the answers are right if only the surest are accepted."""
    with _drawn(4.8, 4.2) as (figure, axes):
        for number, result in enumerate(results):
            # As many points as one can see, of however many photos; the last one is all of them.
            steps = result.coverage[:: -max(1, len(result.coverage) // 500)]
            x = [step.kept.value for step in steps]
            y = [step.right.value for step in steps]
            axes.plot(x, y, color=colour(number), linewidth=2, clip_on=False)
            if len(results) == 1:
                _mark(axes, result.accepted)
        _percent(axes, "answers that are accepted, the surest first", "of these right")
        return _svg(figure, "Share of right answers among the surest, by how many are accepted")


def _mark(axes: Axes, steps: list[Step]) -> None:
    """Names points of the curve by their thresholds, as far apart as the names are wide."""
    last = 1.0
    for step in steps[1:]:
        x, y = step.kept.value, step.right.value
        if step.right.of and last - x >= 0.15:
            last = x
            axes.plot(x, y, "o", color=colour(0), clip_on=False, zorder=3)
            axes.annotate(
                f"p ≥ {step.threshold:g}",
                (x, y),
                xytext=(0, -16 if y > 0.5 else 8),
                textcoords="offset points",
                ha="center",
                fontsize=9,
            )


def _percent(axes: Axes, x: str, y: str) -> None:
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(ticker.PercentFormatter(1.0))
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel=x, ylabel=y)


@contextmanager
def _drawn(width: float, height: float) -> Iterator[tuple[Figure, Axes]]:
    with context(_STYLE):
        figure = Figure(figsize=(width, height))  # without pyplot: no window, nothing to close
        yield figure, figure.subplots()


def _svg(figure: Figure, title: str) -> str:
    text = io.StringIO()
    figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Title": title})
    svg = text.getvalue()
    return svg[svg.index("<svg") :].replace("<svg", f'<svg role="img" aria-label="{title}"', 1)
