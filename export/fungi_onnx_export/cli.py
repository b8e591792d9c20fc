"""The `fungi-onnx-export` command: parses, calls, prints.

Exit codes: 0 done, 1 the export or the verification failed, 2 wrong usage, 3 no module or a wrong
one. TensorFlow is imported by the commands, after they found the source, so that --help and a wrong
path are answered at once.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fungi_onnx.errors import FungiOnnxError, ModelFormatError, ModelNotFoundError
from fungi_onnx_export import __version__, source
from fungi_onnx_export.errors import ModuleError, SourceError
from fungi_onnx_export.known import BY_NAME


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    options = _parser().parse_args(arguments)
    try:
        with _quiet_tensorflow():
            return int(options.run(options))
    except FungiOnnxError as error:
        print(f"fungi-onnx-export: {error}", file=sys.stderr)
        no_module = (SourceError, ModuleError, ModelFormatError, ModelNotFoundError)
        return 3 if isinstance(error, no_module) else 1
    except OSError as error:  # a full disk, a folder that may not be read
        print(f"fungi-onnx-export: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _inspect(options: argparse.Namespace) -> int:
    with source.opened(options.source) as opened:
        from fungi_onnx_export import choice, module

        original = module.open_original(opened)
        try:
            taken: choice.Choice | None = choice.choose(
                original,
                signature=options.signature,
                output_key=options.output_key,
                size=options.image_size,
            )
            problem = None
        except ModuleError as error:
            taken, problem = None, error
        facts: dict[str, Any] = {
            "source": options.source,
            "format": opened.format,
            "standin": original.facts.standin,
            "image_size": original.facts.image_size,
            "quantised": original.facts.quantised,
            "fake_quantised": original.facts.noisy,
            "signatures": {
                signature.name: {
                    "inputs": [vars(tensor) for tensor in signature.inputs],
                    "outputs": [vars(tensor) for tensor in signature.outputs],
                }
                for signature in original.facts.signatures
            },
            "classifier": taken
            and {
                "signature": taken.candidate.signature,
                "output_key": taken.candidate.output.key,
                "height": taken.height,
                "width": taken.width,
                "classes": taken.candidate.classes,
                "behaviour": taken.candidate.behaviour,
                "softmax_added": taken.add_softmax,
                "why": taken.why,
            },
        }
    if options.json:
        print(json.dumps(facts, ensure_ascii=False))
    else:
        _print_inspection(facts, original.facts.signatures)
    if problem is not None:
        raise problem
    return 0


def _print_inspection(facts: dict[str, Any], signatures: Sequence[Any]) -> None:
    kind = " (8-bit quantised)" if facts["quantised"] else ""
    kind = " (fake-quantised, so noisy by itself)" if facts["fake_quantised"] else kind
    print(f"{facts['source']}: {facts['format']}{kind}")
    if facts["standin"]:
        print(f"  {facts['standin']}")
    if facts["image_size"]:
        height, width = facts["image_size"]
        print(f"  expected image size: {height}x{width} (ImageModuleInfo)")
    for signature in signatures:
        print(f"  signature {signature.name}")
        for tensor in signature.inputs:
            print(f"    in   {tensor}")
        for tensor in signature.outputs:
            print(f"    out  {tensor}")
    if taken := facts["classifier"]:
        print(
            f"  classifier: {taken['signature']} / {taken['output_key']},"
            f" {taken['height']}x{taken['width']}, {taken['classes']} classes: {taken['why']}"
        )


def _export(options: argparse.Namespace) -> int:
    with source.opened(options.source) as opened:
        from fungi_onnx_export import pipeline

        wishes = pipeline.Wishes(
            labels=options.labels,
            pictures=options.pictures,
            signature=options.signature,
            output_key=options.output_key,
            image_size=options.image_size,
            expect=BY_NAME[options.expect] if options.expect else None,
            name=options.name,
        )
        made = pipeline.export(opened, options.output, wishes, say=_say)
    size = options.output.stat().st_size / 1e6
    print(f"{options.output}: {made.name}, {len(made.labels)} classes, {size:.1f} MB")
    return 0


def _verify(options: argparse.Namespace) -> int:
    with source.opened(options.source) as opened:
        from fungi_onnx_export import pipeline, report

        wishes = pipeline.Wishes(
            pictures=options.pictures, signature=options.signature, output_key=options.output_key
        )
        description, comparison, shown = pipeline.verify(opened, options.model, wishes)
    page = options.report or options.model.with_suffix(".parity.html")
    report.write(page, options.source, options.model, description, comparison, shown)
    parity = comparison.parity
    verdict = "passed" if comparison.problem is None else f"FAILED: {comparison.problem}"
    print(
        f"{verdict}\n"
        f"  reference  {parity.reference}, {parity.pictures} pictures ({parity.picture_set})\n"
        f"  max |Δp| {parity.max_difference:.3g}, mean |Δp| {parity.mean_difference:.3g},"
        f" mean largest {parity.mean_max_difference:.3g}\n"
        f"  top-1 agreement {parity.top1_agreement:.2%}, top-5 {parity.top5_agreement:.2%}\n"
        f"  gate       {parity.gate}\n"
        f"  report     {page} and {page.with_suffix('.json')}"
    )
    return 0 if comparison.problem is None else 1


def _quantize(options: argparse.Namespace) -> int:
    from fungi_onnx_export import variants

    made = variants.quantize(options.model, options.output, options.pictures, say=_say)
    size = options.output.stat().st_size / 1e6
    print(f"{options.output}: {made.name}, {made.precision}, {size:.1f} MB")
    return 0


def _half(options: argparse.Namespace) -> int:
    from fungi_onnx_export import half

    made = half.convert(options.model, options.output, options.pictures, say=_say)
    size = options.output.stat().st_size / 1e6
    print(f"{options.output}: {made.name}, {made.precision}, {size:.1f} MB")
    return 0


def _standin(options: argparse.Namespace) -> int:
    from fungi_onnx_export import standin

    recall = standin.build(options.directory, say=_say)
    print(f"{options.directory}: a stand-in with Recall@1 {recall:.3f} on pictures made by code")
    return 0


def _wheel(options: argparse.Namespace) -> int:
    from fungi_onnx_export import packaging

    print(packaging.model_wheel(options.model, options.output))
    return 0


def _triton(options: argparse.Namespace) -> int:
    from fungi_onnx_export import triton

    print(triton.add_model(options.model, options.output, replace=options.replace))
    return 0


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@contextmanager
def _quiet_tensorflow() -> Iterator[None]:
    """Keeps TensorFlow's and the converter's chatter out of the user's terminal.

    Its C++ part writes to the file descriptor of standard error before any setting is read, so
    that is closed to it. Who sets TF_CPP_MIN_LOG_LEVEL hears all that TensorFlow then says.
    """
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")  # an export needs no GPU
    if "TF_CPP_MIN_LOG_LEVEL" in os.environ:
        yield
        return
    for logger in ("tensorflow", "tf2onnx", "absl"):
        logging.getLogger(logger).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"tensorflow|tf_keras|keras|tf2onnx")
    python, native = sys.stderr, os.dup(2)
    with os.fdopen(os.dup(2), "w", buffering=1, errors="backslashreplace") as own:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        sys.stderr = own
        try:
            yield
        finally:
            sys.stderr = python
            os.dup2(native, 2)
            os.close(native)


def _size(text: str) -> tuple[int, int]:
    height, cross, width = text.partition("x")
    if not (cross and height.isdecimal() and width.isdecimal() and int(height) and int(width)):
        raise argparse.ArgumentTypeError(f"{text!r} is not HEIGHTxWIDTH, such as 299x299")
    return int(height), int(width)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fungi-onnx-export",
        description="Convert a TensorFlow Hub image classifier to ONNX, with proof.",
        epilog="Example: fungi-onnx-export export fungi.tar.gz --labels labels.csv -o fungi.onnx",
    )
    parser.add_argument("--version", action="version", version=f"fungi-onnx-export {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Any, text: str, example: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(
            name, help=text, description=text, epilog=f"Example: fungi-onnx-export {example}"
        )
        sub.set_defaults(run=run)
        return sub

    def of_source(sub: argparse.ArgumentParser) -> None:
        sub.add_argument("source", help="module folder, .tar.gz, .tflite, or hub handle")
        sub.add_argument("--signature", metavar="NAME", help="overrule the choice of signature")
        sub.add_argument("--output-key", metavar="KEY", help="overrule the choice of output")

    def of_size(sub: argparse.ArgumentParser) -> None:
        sub.add_argument(
            "--image-size",
            type=_size,
            metavar="HxW",
            help="where the module leaves it open and has no ImageModuleInfo",
        )

    def of_pictures(sub: argparse.ArgumentParser) -> None:
        sub.add_argument(
            "--pictures", type=Path, metavar="DIR", help="compare on these (default: built-in ones)"
        )

    inspect = command(
        "inspect", _inspect, "Show a module's tensors and the one that would be taken.",
        "inspect fungi.tar.gz",
    )  # fmt: skip
    of_source(inspect)
    of_size(inspect)
    inspect.add_argument("--json", action="store_true", help="print one JSON object")

    export = command(
        "export", _export, "Convert a module to one self-describing ONNX file.",
        "export fungi.tar.gz --labels labels.csv -o fungi.onnx",
    )  # fmt: skip
    of_source(export)
    of_size(export)
    of_pictures(export)
    export.add_argument("-o", "--output", type=Path, required=True, metavar="MODEL.onnx")
    export.add_argument(
        "--labels", type=Path, metavar="FILE", help="CSV with id,name, or one name a line"
    )
    export.add_argument("--name", help="what the model is to be called")
    export.add_argument(
        "--expect", choices=sorted(BY_NAME), help="insist that the module is this one"
    )

    verify = command(
        "verify", _verify, "Compare a module and its ONNX file again, and write a report.",
        "verify fungi.tar.gz fungi.onnx --pictures photos/",
    )  # fmt: skip
    of_source(verify)
    verify.add_argument("model", type=Path, metavar="MODEL.onnx")
    of_pictures(verify)
    verify.add_argument(
        "--report",
        type=Path,
        metavar="PAGE.html",
        help="where to (default: MODEL.parity.html); a .json lies beside it",
    )

    quantize = command(
        "quantize", _quantize, "Make the int8 variant of a float model, with proof.",
        "quantize fungi.onnx -o fungi.int8.onnx --pictures photos/",
    )  # fmt: skip
    quantize.add_argument("model", type=Path, metavar="MODEL.onnx")
    quantize.add_argument("-o", "--output", type=Path, required=True, metavar="INT8.onnx")
    quantize.add_argument(
        "--pictures",
        type=Path,
        metavar="DIR",
        help="photos like those it will see, 150 or more (default: drawings)",
    )

    half = command(
        "half", _half, "Make the float16 variant of a float model, for GPUs, with proof.",
        "half fungi.onnx -o fungi.fp16.onnx --pictures photos/",
    )  # fmt: skip
    half.add_argument("model", type=Path, metavar="MODEL.onnx")
    half.add_argument("-o", "--output", type=Path, required=True, metavar="FP16.onnx")
    half.add_argument(
        "--pictures",
        type=Path,
        metavar="DIR",
        help="judge by these photos, 100 or more (default: drawings)",
    )

    standin = command(
        "standin", _standin, "Build an untrained module of the fungi module's form.",
        "standin build/standin",
    )  # fmt: skip
    standin.add_argument("directory", type=Path, metavar="DIR")

    wheel = command(
        "wheel", _wheel, "Pack a model file into a pip-installable wheel.",
        "wheel fungi.onnx -o dist",
    )  # fmt: skip
    wheel.add_argument("model", type=Path, metavar="MODEL.onnx")
    wheel.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")

    triton = command(
        "triton", _triton, "Add a model file to a Triton Inference Server's model repository.",
        "triton fungi.onnx -o model_repository",
    )  # fmt: skip
    triton.add_argument("model", type=Path, metavar="MODEL.onnx")
    triton.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    triton.add_argument(
        "--replace", action="store_true", help="write the model's folder anew if it is there"
    )
    return parser
