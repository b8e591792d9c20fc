"""The `fungi-onnx-export` command: parses, and hands over to `fungi_onnx_export.commands`.

Exit codes: 0 done, 1 the export or the verification failed, 2 wrong usage, 3 no module or a wrong
one. TensorFlow is imported by the commands, after they found the source, so that --help and a wrong
path are answered at once.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fungi_onnx.errors import FungiOnnxError, ModelFormatError, ModelNotFoundError
from fungi_onnx_export import __version__
from fungi_onnx_export import commands as bodies
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

    def of_float_model(sub: argparse.ArgumentParser, output: str, pictures: str) -> None:
        sub.add_argument("model", type=Path, metavar="MODEL.onnx")
        sub.add_argument("-o", "--output", type=Path, required=True, metavar=output)
        sub.add_argument(
            "--pictures", type=Path, metavar="DIR", help=f"{pictures} (default: drawings)"
        )

    inspect = command(
        "inspect", bodies.inspect, "Show a module's tensors and the one that would be taken.",
        "inspect fungi.tar.gz",
    )  # fmt: skip
    of_source(inspect)
    of_size(inspect)
    inspect.add_argument("--json", action="store_true", help="print one JSON object")

    export = command(
        "export", bodies.export, "Convert a module to one self-describing ONNX file.",
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
        "verify", bodies.verify, "Compare a module and its ONNX file again, and write a report.",
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
        "quantize", bodies.quantize, "Make the int8 variant of a float model, with proof.",
        "quantize fungi.onnx -o fungi.int8.onnx --pictures photos/",
    )  # fmt: skip
    of_float_model(quantize, "INT8.onnx", "photos like those it will see, 150 or more")

    half = command(
        "half", bodies.half, "Make the float16 variant of a float model, for GPUs, with proof.",
        "half fungi.onnx -o fungi.fp16.onnx --pictures photos/",
    )  # fmt: skip
    of_float_model(half, "FP16.onnx", "judge by these photos, 100 or more")

    standin = command(
        "standin", bodies.standin, "Build an untrained module of the fungi module's form.",
        "standin build/standin",
    )  # fmt: skip
    standin.add_argument("directory", type=Path, metavar="DIR")

    wheel = command(
        "wheel", bodies.wheel, "Pack a model file into a pip-installable wheel.",
        "wheel fungi.onnx -o dist",
    )  # fmt: skip
    wheel.add_argument("model", type=Path, metavar="MODEL.onnx")
    wheel.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")

    triton = command(
        "triton", bodies.triton,
        "Add a model file to a Triton Inference Server's model repository.",
        "triton fungi.onnx -o model_repository",
    )  # fmt: skip
    triton.add_argument("model", type=Path, metavar="MODEL.onnx")
    triton.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    triton.add_argument(
        "--replace", action="store_true", help="write the model's folder anew if it is there"
    )
    return parser
