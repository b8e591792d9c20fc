"""Kinds of values that the command's options have, and options that the environment can set."""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Callable, Collection
from typing import Any


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
