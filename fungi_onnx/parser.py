"""What the `fungi-onnx` command understands: its commands and their options."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from fungi_onnx import __version__, options
from fungi_onnx.limits import Limits
from fungi_onnx.views import CROPS, DEFAULT_VIEW, VIEWS

Parser = argparse.ArgumentParser


def parser() -> Parser:
    """The parser of all commands."""
    top = Parser(
        prog="fungi-onnx",
        description="Classify photos with a self-describing ONNX model, without TensorFlow.",
        epilog="Example: fungi-onnx classify photo.jpg -m fungi.onnx",
    )
    top.add_argument("--version", action="version", version=f"fungi-onnx {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, text: str, example: str) -> Parser:
        return commands.add_parser(
            name, help=text, description=text, epilog=f"Example: fungi-onnx {example}"
        )

    _classify(command("classify", "Name what is on photos.", "classify photo.jpg other.png -k 3"))
    _batch(
        command(
            "batch",
            "Name what is on the photos of a folder or a list, into a file that grows row by row."
            " Rows are in the order of the names. Whatever ends the run, --resume goes on where it"
            " ended.",
            "batch photos -o results.jsonl",
        )
    )
    _evaluate(
        command(
            "evaluate",
            "Tell how often a model is right on photos of which you know what they show, and what"
            " its probabilities are worth. Several models, views and crops are compared on the same"
            " photos.",
            "evaluate truth.csv -m fungi.onnx --html report.html",
        )
    )
    _calibrate(
        command(
            "calibrate",
            "Fit one temperature on photos of which you know what they show, so that probabilities"
            " are as often right as they say. It is kept beside the model and used where"
            " --temperature calibrated asks for it.",
            "calibrate truth.csv -m fungi.onnx",
        )
    )
    options.add_facts(
        command("info", "Show what the model file says about itself.", "info -m fungi.onnx"),
    )
    selftest = command(
        "selftest",
        "Check on this machine that the model still answers as the original did.",
        "selftest -m fungi.onnx",
    )
    options.add_facts(selftest)
    options.add_device(selftest)
    _serve(
        command(
            "serve",
            "Serve the model by HTTP: a page for people at /, an API at /v1, the Open Inference"
            " Protocol at /v2. Each option can also be set in the environment, by the variable"
            " that is named with it.",
            "serve -m fungi.onnx --port 8000",
        )
    )
    options.add_facts(
        command("doctor", "Show versions, usable devices and a timed prediction.", "doctor")
    )
    bench = command("bench", "Measure this machine with this model, in half a minute.", "bench")
    options.add_facts(bench)
    options.add_device(bench)
    return top


def _classify(sub: Parser) -> None:
    options.add_facts(sub)
    sub.add_argument("image", nargs="+", help="a picture: JPEG, PNG, WebP, TIFF, ...")
    options.add_wishes(sub)
    options.add_looks(sub)
    options.add_temperature(sub)
    options.add_limits(sub, Limits(), "files")
    options.add_device(sub)


def _batch(sub: Parser) -> None:
    options.add_facts(sub)
    sub.add_argument(
        "source",
        metavar="FOLDER|LIST|-",
        help="a folder, with all below it except what is hidden, in the order in which the system"
        " lists it; or a text with one path a line, relative ones from the current folder; or -"
        " for such a text from standard input",
    )
    sub.add_argument(
        "-o",
        "--output",
        required=True,
        metavar="OUT",
        help="a new file, by its suffix .jsonl, .ndjson, .csv or .parquet; a folder with --engine"
        " ray",
    )
    sub.add_argument(
        "--resume",
        action="store_true",
        help="go on with OUT: pictures that have a row there are not done again",
    )
    options.add_wishes(sub)
    options.add_looks(sub)
    options.add_temperature(sub)
    options.add_limits(sub, Limits(), "files")
    options.add_device(sub, "--workers")
    sub.set_defaults(threads=1)  # for each worker
    cluster = sub.add_argument_group(
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


def _evaluate(sub: Parser) -> None:
    _truth(sub)
    sub.add_argument(
        "-m",
        "--model",
        action="append",
        help="model file or installed model wheel; once for each model to compare"
        " (default: $FUNGI_ONNX_MODEL, else the installed model wheel)",
    )
    sub.add_argument("--json", action="store_true", help="print JSON, one object on a line")
    sub.add_argument(
        "--view",
        choices=VIEWS,
        action="append",
        help="exact: the module's own recipe; fast: large JPEGs decoded at reduced size"
        f" (default {DEFAULT_VIEW}); once for each to compare",
    )
    sub.add_argument(
        "--crop",
        choices=CROPS,
        action="append",
        help="whole: squeezed to the model's size (default); centre: the middle only;"
        " letterbox: all of it, with bars; once for each to compare",
    )
    sub.add_argument("--html", metavar="OUT", help="write a report to look at and to print")
    sub.add_argument("--csv", metavar="OUT", help="write a table with a row for each photo")
    options.add_temperature(sub)
    options.add_limits(sub, Limits(), "files")
    options.add_device(sub, "--workers")
    sub.set_defaults(threads=1)


def _calibrate(sub: Parser) -> None:
    _truth(sub)
    options.add_facts(sub)
    options.add_looks(sub)
    options.add_limits(sub, Limits(), "files")
    options.add_device(sub, "--workers")
    sub.set_defaults(threads=1, temperature=None)


def _truth(sub: Parser) -> None:
    sub.add_argument(
        "truth",
        metavar="TRUTH.csv|FOLDER",
        help="a table with the columns image (a path, seen from the table's folder) and label (a"
        " name or an id of the model's); or a folder with a folder for each class",
    )
    sub.add_argument(
        "--synonyms",
        metavar="CSV",
        help="a table with the columns synonym and name: how else your labels may call what the"
        " model calls name",
    )


def _serve(sub: Parser) -> None:
    """The options of a server."""

    def option(name: str, kind: Callable[[str], Any], default: object, text: str) -> None:
        sub.add_argument(name, type=kind, default=default, metavar="X", help=text)

    options.add_model(sub)
    option("--host", str, "127.0.0.1", "address to listen at (default %(default)s); 0.0.0.0: all")
    option("--port", options.port, 8000, "port to listen at (default %(default)s); 0: a free one")
    options.add_device(sub, "--workers")
    options.add_temperature(sub)
    options.add_limits(sub, Limits(max_pixels=64_000_000, max_bytes=32_000_000), "requests")
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
