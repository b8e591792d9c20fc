"""The bodies of the `fungi-onnx` command: each calls the library, prints, and gives a code."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from typing import TYPE_CHECKING, Any

from fungi_onnx import doctor as machine
from fungi_onnx import selftest as probes
from fungi_onnx.classifier import FungiClassifier
from fungi_onnx.limits import Limits
from fungi_onnx.model_file import SCHEMA, ModelFile, Parity
from fungi_onnx.quiet import decoders_silenced

if TYPE_CHECKING:
    from fungi_onnx.bulk import Summary


def classify(options: argparse.Namespace) -> int:
    """Names what is on photos."""
    classifier = _classifier(options, **_looks(options))
    failures = 0
    workers = min(len(options.image), classifier.threads)
    predictions = classifier.classify_many(options.image, options.top_k, workers=workers)
    with decoders_silenced():
        for number, prediction in enumerate(predictions):
            failures += not prediction.ok
            if options.json:
                _print_json(prediction.to_dict())
            elif prediction.ok:
                print(f"{'' if number == 0 else chr(10)}{prediction}", flush=True)
            else:
                print(f"fungi-onnx: {prediction.error}", file=sys.stderr)
    print(f"\n{_notice(classifier.model)}", file=sys.stderr)
    return 1 if failures else 0


def batch(options: argparse.Namespace) -> int:
    """Names what is on the photos of a folder or a list, into a file."""
    if options.engine == "ray":
        return _batch_on_ray(options)
    if options.address is not None or options.column is not None:
        return _wrong("--address and --column are for --engine ray")
    if "://" in options.source:
        return _wrong(f"{options.source}: addresses are for --engine ray")
    from fungi_onnx import bulk, cpus, listing, results
    from fungi_onnx.progress import Progress

    files = results.files(options.output)  # wrong usage is told before any work
    bursts = listing.bursts(options.source, files)
    looks = _looks(options)
    classifier = _classifier(options, **looks)
    run = bulk.description(
        classifier,
        options.source,
        options.top_k,
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
            workers=options.workers or cpus.available(),
        )
    return _summed_up(summary, classifier, options)


def _batch_on_ray(options: argparse.Namespace) -> int:
    from fungi_onnx import ray

    try:
        # Ray, too, writes to descriptor 2 what it raises; and to stdout which machines it lost.
        with decoders_silenced(), contextlib.redirect_stdout(sys.stderr):
            summary, classifier = ray.batch(
                options.source,
                options.output,
                options.model,
                address=options.address,
                column=options.column,
                resume=options.resume,
                workers=options.workers,
                device=options.device,
                look=ray.Look(top_k=options.top_k, **_looks(options)),
            )
    except ValueError as error:
        return _wrong(str(error))
    return _summed_up(summary, classifier, options)


def _summed_up(summary: Summary, classifier: FungiClassifier, options: argparse.Namespace) -> int:
    """Prints what a run came to, and gives its code."""
    if options.json:
        _print_json(summary.to_dict())
    else:
        print(f"fungi-onnx: {summary}", file=sys.stderr)
    if summary.stopped_by is not None:
        return 128 + summary.stopped_by
    print(f"\n{_notice(classifier.model)}", file=sys.stderr)
    return 1 if summary.failed else 0


def _wrong(text: str) -> int:
    print(f"fungi-onnx: {text}", file=sys.stderr)
    return 2


def info(options: argparse.Namespace) -> int:
    """Shows what the model file says about itself."""
    classifier = FungiClassifier(options.model, device="cpu")
    model, parity, source = classifier.model, classifier.model.parity, classifier.model.source
    facts = {"path": str(classifier.path), **model.to_dict()}
    if options.json:
        _print_json(facts)
        return 0
    labels = f"{len(model.labels)}, for example {model.labels[0]}"
    numbered = "none were given: the classes are numbered"
    _print_table(
        {
            "model": model.name,
            "file": f"{classifier.path} (schema {SCHEMA})",
            "source": f"{source['location']} ({source['format']}),"
            f" {source['signature']} / {source['output_key']}"
            + (", softmax added" if source["softmax_added"] else ""),
            "input": facts["input"],
            "output": facts["output"],
            "precision": model.precision,
            "labels": labels if model.labels_given else numbered,
            "parity": _parity(parity),
            "gate": parity.gate,
            **({"parity of that": _parity(parity.of_source)} if parity.of_source else {}),
            "probes": f"{len(model.probes.pictures)}, run them with: fungi-onnx selftest",
            "licence": model.terms.licence,
            "suitable": "; ".join(model.terms.suitable) or "not stated",
            "unsuitable": "; ".join(model.terms.unsuitable),
            "limits": "; ".join(model.terms.limits) or "not stated",
            "made": f"{model.created} with "
            + ", ".join(f"{tool} {version}" for tool, version in model.tools.items()),
        }
    )
    return 0


def _parity(parity: Parity) -> str:
    noise = ""
    if parity.noise_floor is not None:
        noise = (
            f"; mean largest |Δp| {parity.mean_max_difference:.2g},"
            f" the reference against itself {parity.noise_floor:.2g}"
        )
    return (
        f"with {parity.reference} on {parity.pictures} pictures"
        f" ({parity.picture_set}): max |Δp| {parity.max_difference:.2g},"
        f" mean |Δp| {parity.mean_difference:.2g},"
        f" top-1 {parity.top1_agreement:.1%}, top-5 {parity.top5_agreement:.1%}{noise}"
    )


def selftest(options: argparse.Namespace) -> int:
    """Runs the golden probes."""
    classifier = _classifier(options)
    report = probes.run(classifier)
    if options.json:
        _print_json(report.to_dict())
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


def doctor(options: argparse.Namespace) -> int:
    """Shows versions, usable devices and a timed prediction."""
    facts = machine.examine(options.model)
    if options.json:
        _print_json(facts)
    else:
        rows = {**facts["versions"], **{key: facts[key] for key in ("machine", "threads", "cache")}}
        rows["model"] = facts["model"].get("path", "none")
        rows.update({f"cuda {link}": state for link, state in facts["cuda"].items()})
        rows.update({f"device {name}": state for name, state in facts["devices"].items()})
        _print_table(rows)
    if problem := facts["model"].get("error"):
        print(f"fungi-onnx: {problem}", file=sys.stderr)
        return 3
    return 0


def serve(options: argparse.Namespace) -> int:
    """Serves the model by HTTP."""
    from concurrent.futures import ThreadPoolExecutor

    from fungi_onnx import cpus

    limits = _limits(options)
    with ThreadPoolExecutor(1) as pool:
        # The model is loaded while the framework is imported, which takes longer.
        loading = pool.submit(
            _classifier, options, limits=limits, allow_truncated=options.allow_truncated
        )
        try:
            from fungi_onnx.server import run
            from fungi_onnx.server.settings import Settings
        except ModuleNotFoundError as error:
            print(
                f"fungi-onnx: serve needs {error.name}: pip install 'fungi-onnx[serve]'",
                file=sys.stderr,
            )
            return 2
        classifier = loading.result()
    workers = options.workers or cpus.available()
    settings = Settings(
        workers=workers,
        queue=options.queue,
        max_bytes=limits.max_bytes,
        max_files=min(options.max_files, workers + options.queue),  # more could never be taken
        max_pending_bytes=round(options.max_pending_megabytes * 1e6),
        max_connections=options.max_connections,
        timeout=options.timeout,
        grace=options.grace,
        batch=options.batch or (1 if classifier.device == "cpu" else 16),
        batch_delay=options.batch_delay_ms / 1e3,
        token=options.token,
        cors_origins=options.cors_origins,
        root_path=options.root_path,
        log_requests=options.log_requests,
    )
    try:
        listener = run.bind(options.host, options.port)
    except OSError as error:
        print(
            f"fungi-onnx: cannot listen at {options.host}, port {options.port}:"
            f" {os.strerror(error.errno) if error.errno and error.errno > 0 else error}",
            file=sys.stderr,
        )
        return 2
    with decoders_silenced():
        run.serve(classifier, listener, settings, limits)
    return 0


def _classifier(options: argparse.Namespace, **looks: Any) -> FungiClassifier:
    try:
        return FungiClassifier(
            options.model, device=options.device, threads=options.threads, **looks
        )
    except ValueError as error:  # a device or a number of threads that there cannot be
        print(f"fungi-onnx: {error}", file=sys.stderr)
        raise SystemExit(2) from None


def _looks(options: argparse.Namespace) -> dict[str, Any]:
    """The options of how pictures are looked at, as the classifier takes them."""
    return {
        "view": options.view,
        "crop": options.crop,
        "limits": _limits(options),
        "allow_truncated": options.allow_truncated,
    }


def _limits(options: argparse.Namespace) -> Limits:
    return Limits(
        max_pixels=round(options.max_megapixels * 1e6),
        max_bytes=round(options.max_megabytes * 1e6),
    )


def bench(options: argparse.Namespace) -> int:
    """Measures what this machine does with this model."""
    from fungi_onnx import bench as measurements

    classifier = _classifier(options)
    if sys.stderr.isatty():
        print("fungi-onnx: measuring for half a minute ...", file=sys.stderr)
    facts = measurements.run(classifier)
    if options.json:
        _print_json(facts)
        return 0
    _print_table(
        {
            "model": f"{facts['model']} ({facts['precision']})",
            "device": f"{facts['device']}, {facts['threads']} threads; {facts['machine']}",
            "versions": ", ".join(f"{name} {found}" for name, found in facts["versions"].items()),
            "photo": facts["photo"],
        }
    )
    percentiles = measurements.PERCENTILES
    print(f"\n{'latency of one, ms':<22}" + "".join(f"{name:>9}" for name in percentiles))
    for what, found in facts["latency_ms"].items():
        print(f"  {what:<20}" + "".join(f"{found[name]:9.1f}" for name in percentiles))
    print(f"\n{'throughput, a second':<22}{'all CPUs':>9}")
    for what, rate in facts["throughput"].items():
        print(f"  {what:<20}{rate:9.1f}")
    start, memory = facts["cold_start_ms"], facts["peak_memory_mb"]
    print(f"\n{'a process':<22}")
    print(
        f"  {'start to answer, ms':<20}{start['median']:9.1f}"
        f"  (of {start['runs']}: {start['min']:.1f} to {start['max']:.1f})"
    )
    print(f"  {'peak memory, MB':<20}" + (f"{memory:9.1f}" if memory else f"{'unknown':>9}"))
    return 0


def _notice(model: ModelFile) -> str:
    """The card's licence and warnings, under every result."""
    warnings = ", ".join(f"not for {use}" for use in model.terms.unsuitable)
    return f"{model.name}. Licence: {model.terms.licence}. {warnings[:1].upper()}{warnings[1:]}."


def _print_json(value: dict[str, Any]) -> None:
    print(json.dumps(value, ensure_ascii=False), flush=True)


def _print_table(rows: dict[str, Any]) -> None:
    width = max(map(len, rows))
    for key, value in rows.items():
        print(f"{key:<{width}}  {value}")
