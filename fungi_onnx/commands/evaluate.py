"""`fungi-onnx evaluate`."""

from __future__ import annotations

import argparse
import itertools
import os
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import BinaryIO

from fungi_onnx import cpus
from fungi_onnx.classifier import FungiClassifier
from fungi_onnx.commands import common
from fungi_onnx.errors import ResultsWriteError
from fungi_onnx.evaluation import evaluate, read_truth, tables
from fungi_onnx.files import replaced
from fungi_onnx.progress import Progress
from fungi_onnx.quiet import decoders_silenced
from fungi_onnx.views import DEFAULT_VIEW


def run(options: argparse.Namespace) -> int:
    """Tells how often models are right on photos of which one knows what they show."""
    truth = read_truth(options.truth, options.synonyms)
    if options.html is not None:
        from fungi_onnx.evaluation import report  # wrong usage is told before any work
    for path in filter(None, (options.html, options.csv)):
        if os.path.isdir(path):
            return common.wrong(f"{path}: is a folder")
        if not os.path.isdir(folder := os.path.dirname(path) or "."):
            return common.wrong(f"{path}: there is no folder {folder}")
    classifiers = [_classifier(options, *one) for one in _asked(options)]
    workers = options.workers or cpus.available()
    total = len(truth.photos) * len(classifiers)
    with decoders_silenced():
        with closing(Progress(0, 0, lambda: total)) as progress:
            found = evaluate(truth, classifiers, workers=workers, told=progress.step)
        for remark in tables.remarks(found):
            print(f"fungi-onnx: {remark}", file=sys.stderr)
        # First what nothing can keep from being told.
        if options.json:
            common.print_json(found.to_dict())
        else:
            print(tables.summary(found), flush=True)
        print(f"\n{common.notice(classifiers[0].model)}", file=sys.stderr)
        if options.csv is not None:
            _write(options.csv, lambda file: tables.write_photos(found, file))
        if options.html is not None:
            _write(options.html, lambda file: file.write(report.page(found).encode()))
    return 1 if found.failed else 0


def _write(path: str, write: Callable[[BinaryIO], object]) -> None:
    try:
        with replaced(Path(path)) as file:
            write(file)
    except OSError as error:
        raise ResultsWriteError(f"{path}: cannot be written: {error.strerror}") from None


def _asked(options: argparse.Namespace) -> list[tuple[str | None, str, str]]:
    """The models, views and crops to compare, each once."""
    every = itertools.product(
        options.model or [None], options.view or [DEFAULT_VIEW], options.crop or ["whole"]
    )
    return list(dict.fromkeys(every))


def _classifier(
    options: argparse.Namespace, model: str | None, view: str, crop: str
) -> FungiClassifier:
    one = argparse.Namespace(**{**vars(options), "model": model, "view": view, "crop": crop})
    return common.classifier(one, **common.looks(one))
