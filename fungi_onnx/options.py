"""Options that several commands have, kinds of values, and how the environment sets them."""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Callable, Collection
from typing import Any

from fungi_onnx.limits import Limits
from fungi_onnx.views import CROPS, DEFAULT_VIEW, VIEWS


def positive(text: str) -> int:
    """A whole number above 0."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def positive_number(text: str) -> float:
    """A number above 0."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return number


def probability(text: str) -> float:
    """A number from 0 to 1."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return number


def temperature(text: str) -> float | str:
    """A number above 0, or the word for the one that is kept beside the model."""
    return text if text == "calibrated" else positive_number(text)


def port(text: str) -> int:
    """A TCP port; 0 is one that is free."""
    if not text.isdecimal() or int(text) > 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port from 0 to 65535")
    return int(text)


def root_path(text: str) -> str:
    """A path that begins with a slash and does not end with one; or nothing."""
    path = text.rstrip("/")
    if path and not path.startswith("/"):
        raise argparse.ArgumentTypeError(f"{text!r} does not begin with a slash")
    return path


def token(text: str) -> str:
    """What fits into a header: RFC 6750's characters, at least 16 of them."""
    if not text.isascii() or not text.isprintable() or " " in text or len(text) < 16:
        raise argparse.ArgumentTypeError("a token has at least 16 ASCII characters and no spaces")
    return text


def origins(text: str) -> tuple[str, ...]:
    """Origins of pages, separated by commas; or ``*``."""
    found = tuple(origin.strip().rstrip("/") for origin in text.split(",") if origin.strip())
    for origin in found:
        if origin != "*" and not origin.startswith(("http://", "https://")):
            raise argparse.ArgumentTypeError(
                f"{origin!r} is not an origin such as https://example.org"
            )
    return found


def yes_or_no(text: str) -> bool:
    """What a switch is set to in the environment."""
    values = {"1": True, "true": True, "yes": True, "on": True}
    values |= {"0": False, "false": False, "no": False, "off": False}
    if text.lower() not in values:
        raise argparse.ArgumentTypeError(f"{text!r} is not one of {', '.join(values)}")
    return values[text.lower()]


def add_model(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "-m",
        "--model",
        help="model file or installed model wheel"
        " (default: $FUNGI_ONNX_MODEL, else the installed model wheel)",
    )


def add_facts(sub: argparse.ArgumentParser) -> None:
    """The options of a command that prints facts."""
    add_model(sub)
    sub.add_argument("--json", action="store_true", help="print JSON, one object a line")


def add_device(sub: argparse.ArgumentParser, parallel: str = "--threads") -> None:
    sub.add_argument(
        "--device",
        default="auto",
        help="cpu, cuda, cuda:N, or several as cuda:0,cuda:1; auto (default): CUDA if it really"
        " works here, else the CPU",
    )
    sub.add_argument(
        parallel,
        type=positive,
        metavar="N",
        help=f"CPU {parallel[2:]} (default: one for each CPU that may be used)",
    )


def add_wishes(sub: argparse.ArgumentParser) -> None:
    """What is wanted of each picture."""
    sub.add_argument(
        "-k",
        "--top-k",
        type=positive,
        default=5,
        metavar="K",
        help="how many names (default 5)",
    )
    sub.add_argument(
        "--min-probability",
        type=probability,
        metavar="P",
        help="mark an answer as unsure if its best name has less, from 0 to 1 (default: none)",
    )


def add_looks(sub: argparse.ArgumentParser) -> None:
    """How pictures are looked at."""
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


def add_temperature(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--temperature",
        type=temperature,
        metavar="T",
        help="temper the probabilities: a number, or calibrated for what fungi-onnx calibrate"
        " left beside the model (default: the model's own probabilities)",
    )


def add_limits(sub: argparse.ArgumentParser, default: Limits, what: str) -> None:
    sub.add_argument(
        "--max-megapixels",
        type=positive_number,
        default=default.max_pixels / 1e6,
        metavar="N",
        help="refuse larger pictures (default %(default)g)",
    )
    sub.add_argument(
        "--max-megabytes",
        type=positive_number,
        default=default.max_bytes / 1e6,
        metavar="N",
        help=f"refuse larger {what} (default %(default)g)",
    )
    sub.add_argument(
        "--allow-truncated",
        action="store_true",
        help="take JPEGs that are cut short or damaged as far as they go",
    )


class _Variable(str):
    """The text of an environment variable, which knows its name."""

    __slots__ = ("name",)
    name: str


def from_environment(parser: argparse.ArgumentParser, *, but: Collection[str] = ()) -> None:
    """Makes every option settable by a variable: ``--some-option`` by ``FUNGI_ONNX_SOME_OPTION``.

    A value of the command line goes before one of the environment. A value that an option cannot
    have is told as argparse tells it, with the variable's name.

    Args:
        parser: of a command, with all its options.
        but: the options that have a way of their own.
    """
    for action in parser._actions:  # argparse has no public list of them
        if isinstance(action, argparse._HelpAction) or action.dest in but:
            continue
        variable = f"FUNGI_ONNX_{action.dest.upper()}"
        action.help = f"{action.help} [{variable}]"
        if text := os.environ.get(variable):
            named = _Variable(text)
            named.name = variable
            # argparse converts a default that is a text as it converts an argument.
            action.default = named
            kind = yes_or_no if action.nargs == 0 else action.type or str
            action.type = _telling_the_variable(kind)  # type: ignore[arg-type]


def _telling_the_variable(kind: Callable[[str], Any]) -> Callable[[str], Any]:
    def convert(text: str) -> Any:
        try:
            return kind(text)
        except argparse.ArgumentTypeError as error:
            origin = f"{text.name}: " if isinstance(text, _Variable) else ""
            raise argparse.ArgumentTypeError(f"{origin}{error}") from None

    return convert
