"""`fungi-onnx selftest`."""

from __future__ import annotations

import argparse

from fungi_onnx import selftest
from fungi_onnx.commands import common


def run(options: argparse.Namespace) -> int:
    """Runs the golden probes."""
    classifier = common.classifier(options)
    report = selftest.run(classifier)
    if options.json:
        common.print_json(report.to_dict())
    else:
        for result in report.results:
            verdict = "ok    " if result.problem is None else "FAILED"
            print(f"{verdict}  {result.name:<24} {result.problem or ''}".rstrip())
        worst = max((result.difference for result in report.results), default=float("nan"))
        passed = sum(result.problem is None for result in report.results)
        print(
            f"{passed} of {len(report.results)} golden probes passed on {report.device}:"
            f" max |Δp| {worst:.2g}, allowed {report.tolerance:.2g}"
        )
    return 0 if report.ok else 1
