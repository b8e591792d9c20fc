"""The `fungi-onnx` command: parses, and hands over to `fungi_onnx.commands`.

Exit codes: 0 all done, 1 some inputs failed, 2 wrong usage, 3 no model or a wrong one,
4 device not available, 130 stopped by Ctrl-C. Nothing heavy is imported before the arguments are
understood, so that --help and a wrong option are answered at once.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

from fungi_onnx import __version__, options
from fungi_onnx.errors import (
    ClusterError,
    DeviceUnavailableError,
    FungiOnnxError,
    ResultsError,
    ResultsWriteError,
    SourceError,
)
from fungi_onnx.limits import Limits
from fungi_onnx.views import CROPS, DEFAULT_VIEW, VIEWS

_EXIT_CODES: tuple[tuple[type[FungiOnnxError], int], ...] = (
    (ResultsWriteError, 1),
    (ResultsError, 2),
    (SourceError, 2),
    (ClusterError, 1),
    (DeviceUnavailableError, 4),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    # A file name need not be UTF-8; it must still be printable.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    chosen = _parser().parse_args(arguments)
    try:
        body = import_module(f"fungi_onnx.commands.{chosen.command}")
        return int(body.run(chosen))
    except FungiOnnxError as error:
        print(f"fungi-onnx: {error}", file=sys.stderr)
        return next((code for kind, code in _EXIT_CODES if isinstance(error, kind)), 3)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader (head, less) has seen enough; nothing more may be written at exit.
        sys.stdout = None
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fungi-onnx",
        description="Classify photos with a self-describing ONNX model, without TensorFlow.",
        epilog="Example: fungi-onnx classify photo.jpg -m fungi.onnx",
    )
    parser.add_argument("--version", action="version", version=f"fungi-onnx {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(
        name: str, text: str, example: str, *, json: bool = True
    ) -> argparse.ArgumentParser:
        sub = commands.add_parser(
            name, help=text, description=text, epilog=f"Example: fungi-onnx {example}"
        )
        sub.add_argument(
            "-m",
            "--model",
            help="model file or installed model wheel"
            " (default: $FUNGI_ONNX_MODEL, else the installed model wheel)",
        )
        if json:
            sub.add_argument("--json", action="store_true", help="print JSON, one object a line")
        return sub

    def on_device(sub: argparse.ArgumentParser, parallel: str = "--threads") -> None:
        sub.add_argument(
            "--device",
            default="auto",
            help="cpu, cuda, cuda:N, or several as cuda:0,cuda:1; auto (default): CUDA if it really"
            " works here, else the CPU",
        )
        sub.add_argument(
            parallel,
            type=options.positive,
            metavar="N",
            help=f"CPU {parallel[2:]} (default: one for each CPU that may be used)",
        )

    def looks(sub: argparse.ArgumentParser) -> None:
        sub.add_argument(
            "-k",
            "--top-k",
            type=options.positive,
            default=5,
            metavar="K",
            help="how many names (default 5)",
        )
        sub.add_argument(
            "--view",
            choices=VIEWS,
            default=DEFAULT_VIEW,
            help="exact: the module's own recipe; fast: large JPEGs decoded at reduced size"
            f" (default {DEFAULT_VIEW})",
        )
        sub.add_argument(
            "--crop",
            choices=CROPS,
            default="whole",
            help="whole: squeezed to the model's size (default); centre: the middle only;"
            " letterbox: all of it, with bars",
        )
        limits(sub, Limits(), "files")

    def limits(sub: argparse.ArgumentParser, default: Limits, what: str) -> None:
        sub.add_argument(
            "--max-megapixels",
            type=options.positive_number,
            default=default.max_pixels / 1e6,
            metavar="N",
            help="refuse larger pictures (default %(default)g)",
        )
        sub.add_argument(
            "--max-megabytes",
            type=options.positive_number,
            default=default.max_bytes / 1e6,
            metavar="N",
            help=f"refuse larger {what} (default %(default)g)",
        )
        sub.add_argument(
            "--allow-truncated",
            action="store_true",
            help="take JPEGs that are cut short or damaged as far as they go",
        )

    classify = command("classify", "Name what is on photos.", "classify photo.jpg other.png -k 3")
    classify.add_argument("image", nargs="+", help="a picture: JPEG, PNG, WebP, TIFF, ...")
    looks(classify)
    on_device(classify)
    batch = command(
        "batch",
        "Name what is on the photos of a folder or a list, into a file that grows row by row. Rows"
        " are in the order of the names. Whatever ends the run, --resume goes on where it ended.",
        "batch photos -o results.jsonl",
    )
    batch.add_argument(
        "source",
        metavar="FOLDER|LIST|-",
        help="a folder, with all below it except what is hidden, in the order in which the system"
        " lists it; or a text with one path a line, relative ones from the current folder; or -"
        " for such a text from standard input",
    )
    batch.add_argument(
        "-o",
        "--output",
        required=True,
        metavar="OUT",
        help="a new file, by its suffix .jsonl, .ndjson, .csv or .parquet; a folder with --engine"
        " ray",
    )
    batch.add_argument(
        "--resume",
        action="store_true",
        help="go on with OUT: pictures that have a row there are not done again",
    )
    looks(batch)
    on_device(batch, "--workers")
    batch.set_defaults(threads=1)  # for each worker
    cluster = batch.add_argument_group(
        "on a Ray cluster",
        "The source may also be a Parquet table, and it and OUT, a folder of Parquet parts, may be"
        " at addresses such as s3://bucket/photos. See docs/ray.md.",
    )
    cluster.add_argument(
        "--engine",
        choices=("local", "ray"),
        default="local",
        help="local: this machine (default); ray: a Ray cluster",
    )
    cluster.add_argument(
        "--address",
        help="of the cluster: auto or HOST:PORT (default: $RAY_ADDRESS, else one is"
        " started on this machine for the run)",
    )
    cluster.add_argument(
        "--column",
        help="of the table: the pictures' bytes or their paths (default: bytes, else path)",
    )
    command("info", "Show what the model file says about itself.", "info -m fungi.onnx")
    on_device(
        command(
            "selftest",
            "Check on this machine that the model still answers as the original did.",
            "selftest -m fungi.onnx",
        )
    )
    _serve(
        command(
            "serve",
            "Serve the model by HTTP: a page for people at /, an API at /v1, the Open Inference"
            " Protocol at /v2. Each option can also be set in the environment, by the variable"
            " that is named with it.",
            "serve -m fungi.onnx --port 8000",
            json=False,
        ),
        on_device,
        limits,
    )
    command("doctor", "Show versions, usable devices and a timed prediction.", "doctor")
    on_device(
        command("bench", "Measure this machine with this model, in half a minute.", "bench --json")
    )
    return parser


def _serve(
    sub: argparse.ArgumentParser,
    on_device: Callable[[argparse.ArgumentParser, str], None],
    limits: Callable[[argparse.ArgumentParser, Limits, str], None],
) -> None:
    """The options of a server."""

    def option(name: str, kind: Callable[[str], Any], default: object, text: str) -> None:
        sub.add_argument(name, type=kind, default=default, metavar="X", help=text)

    option("--host", str, "127.0.0.1", "address to listen at (default %(default)s); 0.0.0.0: all")
    option("--port", options.port, 8000, "port to listen at (default %(default)s); 0: a free one")
    on_device(sub, "--workers")
    limits(sub, Limits(max_pixels=64_000_000, max_bytes=32_000_000), "requests")
    option("--max-files", options.positive, 16, "files in a request at most (default %(default)s)")
    option(
        "--queue",
        options.positive,
        64,
        "pictures that may wait for a worker; more are answered 503 (default %(default)s)",
    )
    option(
        "--max-pending-megabytes",
        options.positive_number,
        256.0,
        "of all requests in memory; more are answered 503 (default %(default)g)",
    )
    option(
        "--max-connections",
        options.positive,
        1000,
        "open at once; more are answered 503 (default %(default)s)",
    )
    option(
        "--timeout",
        options.positive_number,
        60.0,
        "seconds for a request to arrive, and again for its answer (default %(default)g)",
    )
    option(
        "--grace",
        options.positive_number,
        30.0,
        "seconds that requests may still take after SIGTERM (default %(default)g)",
    )
    option(
        "--batch",
        options.positive,
        None,
        "pictures that may share a run of the model (default 1 on the CPU, 16 on a GPU)",
    )
    option(
        "--batch-delay-ms",
        options.positive_number,
        2.0,
        "what a picture may wait for others to share its run (default %(default)g)",
    )
    option(
        "--token",
        options.token,
        None,
        "what clients must send as Authorization: Bearer (default: nothing); better set in the"
        " environment, since others can read command lines",
    )
    option(
        "--cors-origins",
        options.origins,
        (),
        "origins whose pages may call the server, separated by commas (default: none)",
    )
    option(
        "--root-path",
        options.root_path,
        "",
        "the path under which a reverse proxy shows the server (default: /)",
    )
    sub.add_argument("--log-requests", action="store_true", help="a line for each request")
    options.from_environment(sub, but=("model",))
    sub.set_defaults(threads=1)  # for each worker
