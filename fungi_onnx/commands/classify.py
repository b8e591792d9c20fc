"""`fungi-onnx classify`."""

from __future__ import annotations

import argparse
import sys

from fungi_onnx.commands import common
from fungi_onnx.quiet import decoders_silenced


def run(options: argparse.Namespace) -> int:
    """Names what is on photos."""
    classifier = common.classifier(options, **common.looks(options))
    failures = 0
    workers = min(len(options.image), classifier.threads)
    predictions = classifier.classify_many(
        options.image, options.top_k, workers=workers, min_probability=options.min_probability
    )
    with decoders_silenced():
        for number, prediction in enumerate(predictions):
            failures += not prediction.ok
            if options.json:
                common.print_json(prediction.to_dict())
            elif prediction.ok:
                print(f"{'' if number == 0 else chr(10)}{prediction}", flush=True)
            else:
                print(f"fungi-onnx: {prediction.error}", file=sys.stderr)
    print(f"\n{common.notice(classifier.model)}", file=sys.stderr)
    return 1 if failures else 0
