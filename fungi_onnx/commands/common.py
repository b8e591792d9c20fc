"""What the commands share: a classifier as the options ask for one, and how things are printed."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from fungi_onnx.classifier import FungiClassifier
from fungi_onnx.limits import Limits
from fungi_onnx.model_file import ModelFile


def classifier(options: argparse.Namespace, **looks: Any) -> FungiClassifier:
    """The classifier that the options ask for; who asks for what cannot be is told, code 2."""
    try:
        return FungiClassifier(
            options.model, device=options.device, threads=options.threads, **looks
        )
    except ValueError as error:  # a device or a number of threads that there cannot be
        print(f"fungi-onnx: {error}", file=sys.stderr)
        raise SystemExit(2) from None


def looks(options: argparse.Namespace) -> dict[str, Any]:
    """The options of how pictures are looked at, as the classifier takes them."""
    return {
        "view": options.view,
        "crop": options.crop,
        "limits": limits(options),
        "allow_truncated": options.allow_truncated,
        "temperature": options.temperature,
    }


def limits(options: argparse.Namespace) -> Limits:
    """How large pictures may be, as the options say."""
    return Limits(
        max_pixels=round(options.max_megapixels * 1e6),
        max_bytes=round(options.max_megabytes * 1e6),
    )


def notice(model: ModelFile) -> str:
    """The card's licence and warnings, under every result."""
    warnings = ", ".join(f"not for {use}" for use in model.terms.unsuitable)
    return f"{model.name}. Licence: {model.terms.licence}. {warnings[:1].upper()}{warnings[1:]}."


def print_json(value: dict[str, Any]) -> None:
    """One object on a line of its own, at once."""
    print(json.dumps(value, ensure_ascii=False), flush=True)


def print_table(rows: dict[str, Any]) -> None:
    """Names and values in two columns."""
    width = max(map(len, rows))
    for key, value in rows.items():
        print(f"{key:<{width}}  {value}")


def wrong(text: str) -> int:
    """Says what is wrong with what was asked for, and gives the code of that."""
    print(f"fungi-onnx: {text}", file=sys.stderr)
    return 2
