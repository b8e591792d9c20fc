"""The `fungi-onnx` command: parses, calls, prints.

Exit codes: 0 all done, 1 some inputs failed, 2 wrong usage, 3 no model or a wrong one,
4 device not available.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from typing import Any

from fungi_onnx import __version__, doctor, selftest
from fungi_onnx.classifier import FungiClassifier
from fungi_onnx.errors import DeviceUnavailableError, FungiOnnxError
from fungi_onnx.image import CROPS, DEFAULT_VIEW, VIEWS
from fungi_onnx.limits import Limits
from fungi_onnx.model_file import SCHEMA, ModelFile
from fungi_onnx.quiet import decoders_silenced


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    # A file name need not be UTF-8; it must still be printable.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except FungiOnnxError as error:
        print(f"fungi-onnx: {error}", file=sys.stderr)
        return 4 if isinstance(error, DeviceUnavailableError) else 3
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader (head, less) has seen enough; nothing more may be written at exit.
        sys.stdout = None
        return 0


def _classify(options: argparse.Namespace) -> int:
    limits = Limits(
        max_pixels=round(options.max_megapixels * 1e6), max_bytes=round(options.max_megabytes * 1e6)
    )
    classifier = _classifier(
        options,
        view=options.view,
        crop=options.crop,
        limits=limits,
        allow_truncated=options.allow_truncated,
    )
    failures = 0
    with decoders_silenced():
        for number, prediction in enumerate(classifier.classify_many(options.image, options.top_k)):
            failures += not prediction.ok
            if options.json:
                _print_json(prediction.to_dict())
            elif prediction.ok:
                print(f"{'' if number == 0 else chr(10)}{prediction}", flush=True)
            else:
                print(f"fungi-onnx: {prediction.error}", file=sys.stderr)
    print(f"\n{_notice(classifier.model)}", file=sys.stderr)
    return 1 if failures else 0


def _info(options: argparse.Namespace) -> int:
    classifier = FungiClassifier(options.model, device="cpu")
    model, parity, source = classifier.model, classifier.model.parity, classifier.model.source
    facts: dict[str, Any] = {
        "path": str(classifier.path),
        "schema": SCHEMA,
        "name": model.name,
        "source": model.source,
        "input": f"images float32 [N, {model.height}, {model.width}, 3], RGB in [0, 1]",
        "output": f"probabilities float32 [N, {len(model.labels)}]",
        "precision": model.precision,
        "labels": {"count": len(model.labels), "given": model.labels_given},
        "terms": vars(model.terms),
        "parity": vars(parity),
        "probes": len(model.probes.pictures),
        "tools": model.tools,
        "created": model.created,
    }
    if options.json:
        _print_json(facts)
        return 0
    labels = f"{len(model.labels)}, for example {model.labels[0]}"
    numbered = "none were given: the classes are numbered"
    noise = ""
    if parity.noise_floor is not None:
        noise = (
            f"; mean largest |Δp| {parity.mean_max_difference:.2g},"
            f" the reference against itself {parity.noise_floor:.2g}"
        )
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
            "parity": f"with {parity.reference} on {parity.pictures} pictures"
            f" ({parity.picture_set}): max |Δp| {parity.max_difference:.2g},"
            f" mean |Δp| {parity.mean_difference:.2g},"
            f" top-1 {parity.top1_agreement:.1%}, top-5 {parity.top5_agreement:.1%}" + noise,
            "gate": parity.gate,
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


def _selftest(options: argparse.Namespace) -> int:
    classifier = _classifier(options)
    report = selftest.run(classifier)
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


def _doctor(options: argparse.Namespace) -> int:
    facts = doctor.examine(options.model)
    if options.json:
        _print_json(facts)
    else:
        rows = {**facts["versions"], "machine": facts["machine"], "threads": facts["threads"]}
        rows["model"] = facts["model"].get("path", "none")
        rows.update({f"device {name}": state for name, state in facts["devices"].items()})
        _print_table(rows)
    if problem := facts["model"].get("error"):
        print(f"fungi-onnx: {problem}", file=sys.stderr)
        return 3
    return 0


def _classifier(options: argparse.Namespace, **looks: Any) -> FungiClassifier:
    try:
        return FungiClassifier(
            options.model, device=options.device, threads=options.threads, **looks
        )
    except ValueError as error:  # a device or a number of threads that there cannot be
        print(f"fungi-onnx: {error}", file=sys.stderr)
        raise SystemExit(2) from None


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


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def _positive_number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return number


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fungi-onnx",
        description="Classify photos with a self-describing ONNX model, without TensorFlow.",
        epilog="Example: fungi-onnx classify photo.jpg -m fungi.onnx",
    )
    parser.add_argument("--version", action="version", version=f"fungi-onnx {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Any, text: str, example: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(
            name, help=text, description=text, epilog=f"Example: fungi-onnx {example}"
        )
        sub.set_defaults(run=run)
        sub.add_argument(
            "-m",
            "--model",
            help="model file or installed model wheel"
            " (default: $FUNGI_ONNX_MODEL, else the installed model wheel)",
        )
        sub.add_argument("--json", action="store_true", help="print JSON, one object a line")
        return sub

    def on_device(sub: argparse.ArgumentParser) -> None:
        sub.add_argument("--device", default="auto", help="auto (default), cpu, cuda or cuda:N")
        sub.add_argument("--threads", type=_positive, metavar="N", help="CPU threads")

    classify = command(
        "classify", _classify, "Name what is on photos.", "classify photo.jpg other.png -k 3"
    )
    classify.add_argument("image", nargs="+", help="a picture: JPEG, PNG, WebP, TIFF, ...")
    classify.add_argument(
        "-k", "--top-k", type=_positive, default=5, metavar="K", help="how many names (default 5)"
    )
    classify.add_argument(
        "--view",
        choices=VIEWS,
        default=DEFAULT_VIEW,
        help="exact: the module's own recipe; fast: large JPEGs decoded at reduced size"
        f" (default {DEFAULT_VIEW})",
    )
    classify.add_argument(
        "--crop",
        choices=CROPS,
        default="whole",
        help="whole: squeezed to the model's size (default); centre: the middle only; letterbox:"
        " all of it, with bars",
    )
    limits = Limits()
    classify.add_argument(
        "--max-megapixels",
        type=_positive_number,
        default=limits.max_pixels / 1e6,
        metavar="N",
        help="refuse larger pictures (default %(default)g)",
    )
    classify.add_argument(
        "--max-megabytes",
        type=_positive_number,
        default=limits.max_bytes / 1e6,
        metavar="N",
        help="refuse larger files (default %(default)g)",
    )
    classify.add_argument(
        "--allow-truncated",
        action="store_true",
        help="take JPEGs that are cut short or damaged as far as they go",
    )
    on_device(classify)
    command("info", _info, "Show what the model file says about itself.", "info -m fungi.onnx")
    on_device(
        command(
            "selftest",
            _selftest,
            "Check on this machine that the model still answers as the original did.",
            "selftest -m fungi.onnx",
        )
    )
    command("doctor", _doctor, "Show versions, usable devices and a timed prediction.", "doctor")
    return parser
