"""`fungi-onnx batch`."""

from __future__ import annotations

import argparse
import contextlib
import sys

from fungi_onnx import bulk, cpus, listing, results
from fungi_onnx.classifier import FungiClassifier
from fungi_onnx.commands import common
from fungi_onnx.progress import Progress
from fungi_onnx.quiet import decoders_silenced


def run(options: argparse.Namespace) -> int:
    """Names what is on the photos of a folder or a list, into a file."""
    if options.engine == "ray":
        return _batch_on_ray(options)
    if options.address is not None or options.column is not None:
        return common.wrong("--address and --column are for --engine ray")
    if "://" in options.source:
        return common.wrong(f"{options.source}: addresses are for --engine ray")
    files = results.files(options.output)  # wrong usage is told before any work
    bursts = listing.bursts(options.source, files)
    looks = common.looks(options)
    classifier = common.classifier(options, **looks)
    run = bulk.description(
        classifier,
        options.source,
        options.top_k,
        options.min_probability,
        looks["limits"],
        looks["allow_truncated"],
    )
    best = min(options.top_k, len(classifier.labels))
    with (
        results.Results(options.output, run, best, resume=options.resume) as out,
        decoders_silenced(),
        bulk.stopped_by_sigterm(),
    ):
        progress = Progress(
            out.done.rows,
            out.failed.total(),
            lambda: listing.count(options.source, files),
        )
        summary = bulk.run(
            classifier,
            bursts,
            out,
            progress,
            top_k=options.top_k,
            min_probability=options.min_probability,
            workers=options.workers or cpus.available(),
        )
    return _summed_up(summary, classifier, options)


def _batch_on_ray(options: argparse.Namespace) -> int:
    from fungi_onnx.ray import archive
    from fungi_onnx.ray.data import Look

    try:
        # Ray, too, writes to descriptor 2 what it raises; and to stdout which machines it lost.
        with decoders_silenced(), contextlib.redirect_stdout(sys.stderr):
            summary, classifier = archive.batch(
                options.source,
                options.output,
                options.model,
                address=options.address,
                column=options.column,
                resume=options.resume,
                workers=options.workers,
                device=options.device,
                look=Look(
                    top_k=options.top_k,
                    min_probability=options.min_probability,
                    **common.looks(options),
                ),
            )
    except ValueError as error:
        return common.wrong(str(error))
    return _summed_up(summary, classifier, options)


def _summed_up(
    summary: bulk.Summary, classifier: FungiClassifier, options: argparse.Namespace
) -> int:
    """Prints what a run came to, and gives its code."""
    if options.json:
        common.print_json(summary.to_dict())
    else:
        print(f"fungi-onnx: {summary}", file=sys.stderr)
    if summary.stopped_by is not None:
        return 128 + summary.stopped_by
    print(f"\n{common.notice(classifier.model)}", file=sys.stderr)
    return 1 if summary.failed else 0
