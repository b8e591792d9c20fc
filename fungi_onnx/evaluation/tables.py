"""An evaluation as text for a terminal, and as a table with a row for each photo."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from typing import BinaryIO

from fungi_onnx.evaluation.result import KS, Evaluation, Result
from fungi_onnx.evaluation.scores import MISSED, McNemar, Share
from fungi_onnx.evaluation.truth import UNKNOWN, did_you_mean
from fungi_onnx.rows import encoded

_SHOWN = 10


def summary(evaluation: Evaluation) -> str:
    """What came out, for a terminal."""
    results = evaluation.results
    parts = [counted(evaluation), _table(results)]
    if len(results) > 1:
        parts.append(_comparisons(evaluation))
    parts.append(_accepted(results[0]))
    if results[0].confusions:
        parts.append(_confusions(results[0]))
    return "\n\n".join(parts)


def counted(evaluation: Evaluation) -> str:
    """How many photos of how many classes there are, in a sentence."""
    ids = evaluation.results[0].truth.tolist()
    classes = {  # a label may be a name here and an id there
        photo.label if one == UNKNOWN else one
        for photo, one in zip(evaluation.photos, ids, strict=True)
    }
    return f"{evaluation.source}: {len(ids):,} photos of {len(classes):,} classes"


def remarks(evaluation: Evaluation) -> Iterator[str]:
    """What whoever reads the numbers has to know of the photos that were not as they should be."""
    if evaluation.unknown:
        labels = evaluation.results[0].classifier.labels
        shown = list(evaluation.unknown.items())[:_SHOWN]
        told = [f"{label} ({photos}){did_you_mean(label, labels)}" for label, photos in shown]
        more = len(evaluation.unknown) - len(shown)
        yield (
            "the model does not know some labels, and their photos count as missed:"
            f" {', '.join(told)}{f' and {more:,} more' if more else ''}"
        )
    if evaluation.strays:
        more = len(evaluation.strays) - 1
        yield (
            f"what lies in no class's folder was left out: {evaluation.strays[0]}"
            f"{f' and {more:,} more' if more else ''}"
        )
    for _, error in evaluation.failed:
        yield str(error)


def write_photos(evaluation: Evaluation, file: BinaryIO) -> None:
    """Writes a CSV with a row for each photo and result: UTF-8, RFC 4180.

    ``rank`` is 1 where the answer is right; it and ``probability`` are the true class's, and empty
    if the model does not have it. Photos that could not be used have an ``error``.
    """
    columns = "image,label,id,result,rank,probability,answer_id,answer,answer_probability,error"
    file.write(_line(columns.split(",")))
    for result in evaluation.results:
        labels = result.classifier.labels
        for n, photo in enumerate(evaluation.photos):
            known = result.truth[n] != UNKNOWN
            mine = [result.truth[n], result.name, result.ranks[n] + 1, result.of_truth[n]]
            answer = int(result.best[n, 0])
            file.write(
                _line(
                    [
                        photo.image,
                        photo.label,
                        *(mine if known else ["", result.name, "", ""]),
                        answer,
                        labels[answer],
                        result.probabilities[n, 0],
                        "",
                    ]
                )
            )
    for photo, error in evaluation.failed:
        file.write(_line([photo.image, photo.label, *[""] * 7, str(error)]))


def _line(values: Sequence[object]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerow(values)
    return encoded(text.getvalue())


def _table(results: tuple[Result, ...]) -> str:
    rows = [["", *(result.name for result in results)]]
    rows += [[f"Recall@{k}", *(share(one.recall[k]) for one in results)] for k in KS]
    rows += [[f"  mean of classes @{k}", *(interval(*one.macro[k]) for one in results)] for k in KS]
    if any((one.truth == UNKNOWN).any() for one in results):
        rows += [
            [f"  of known classes @{k}", *(share(one.recall_of_known[k]) for one in results)]
            for k in KS
        ]
    rows.append(["calibration error", *(f"{one.calibration_error:.3f}" for one in results)])
    if any(one.classifier.temperature for one in results):
        told = [one.classifier.temperature for one in results]
        rows.append(["temperature", *("none" if t is None else f"{t:.4g}" for t in told)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join(lines)


def share(found: Share) -> str:
    """A proportion with its interval."""
    return interval(found.value, *found.interval)


def interval(value: float, low: float, high: float) -> str:
    """A figure with its interval."""
    return f"{value:.3f}  ({low:.3f} to {high:.3f})"


def _comparisons(evaluation: Evaluation) -> str:
    lines = ["found by one alone (McNemar's exact test)"]
    for one in evaluation.comparisons:
        for k, found in one.at.items():
            lines.append(
                f"  @{k:<2}  {one.first} {found.only_first}, {one.second} {found.only_second}:"
                f" {chance(found)}"
            )
    return "\n".join(lines)


def chance(found: McNemar) -> str:
    """What a difference may be worth."""
    return f"p = {found.p:.2g}" if found.p >= 0.001 else "p < 0.001"


def _accepted(result: Result) -> str:
    lines = [f"{'answers from':<14}{'kept':>8}{'right':>9}"]
    for step in result.accepted:
        right = f"{step.right.value:9.3f}" if step.right.of else f"{'-':>9}"
        lines.append(f"  {step.threshold:<12g}{step.kept.value:>8.1%}{right}")
    return "\n".join(lines)


def _confusions(result: Result) -> str:
    labels = result.classifier.labels
    shown = result.confusions[:_SHOWN]
    lines = ["most often taken for another"]
    lines += [f"  {c.photos:>4} ×  {labels[c.truth]} → {labels[c.answer]}" for c in shown]
    return "\n".join(lines)


def rank_told(rank: int) -> str:
    """A rank for people: the first is 1."""
    return "unknown to the model" if rank == MISSED else f"rank {rank + 1:,}"
