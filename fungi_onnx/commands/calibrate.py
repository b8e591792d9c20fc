"""`fungi-onnx calibrate`."""

from __future__ import annotations

import argparse
import sys
from contextlib import closing
from dataclasses import asdict

from fungi_onnx import cpus
from fungi_onnx.commands import common
from fungi_onnx.evaluation import calibrate, read_truth
from fungi_onnx.progress import Progress
from fungi_onnx.quiet import decoders_silenced
from fungi_onnx.temperature import Calibration


def run(options: argparse.Namespace) -> int:
    """Fits one temperature, and keeps it beside the model."""
    truth = read_truth(options.truth, options.synonyms)
    classifier = common.classifier(options, **common.looks(options))
    workers, total = options.workers or cpus.available(), len(truth.photos)
    with decoders_silenced(), closing(Progress(0, 0, lambda: total)) as progress:
        found, errors = calibrate(truth, classifier, workers=workers, told=progress.step)
    for error in errors:
        print(f"fungi-onnx: {error}", file=sys.stderr)
    path = found.save(classifier.path)
    if options.json:
        common.print_json({"path": str(path), **asdict(found)})
    else:
        common.print_table(_rows(found))
        print(
            f"\nIt is in {path}; nothing uses it until it is asked for:"
            f"\n  fungi-onnx classify photo.jpg -m {classifier.path} --temperature calibrated"
        )
    return 1 if errors else 0


def _rows(found: Calibration) -> dict[str, str]:
    folds = found.fold_temperatures
    helps = found.held_out_nll < found.nll
    return {
        "temperature": f"{found.temperature:.4g} (without each fifth of the photos in turn:"
        f" {min(folds):.4g} to {max(folds):.4g})",
        "photos": f"{found.photos:,} of {found.classes:,} classes; view {found.view},"
        f" crop {found.crop}",
        "on photos that it was not fitted on": "it helps" if helps else "it does not help",
        "  log-likelihood loss": f"{found.nll:.4g} → {found.held_out_nll:.4g} nats",
        "  calibration error": f"{found.ece:.3f} → {found.held_out_ece:.3f}",
    }
