"""`fungi-onnx doctor`."""

from __future__ import annotations

import argparse
import sys

from fungi_onnx import doctor
from fungi_onnx.commands import common


def run(options: argparse.Namespace) -> int:
    """Shows versions, usable devices and a timed prediction."""
    facts = doctor.examine(options.model)
    if options.json:
        common.print_json(facts)
    else:
        rows = {**facts["versions"], **{key: facts[key] for key in ("machine", "threads", "cache")}}
        rows["model"] = facts["model"].get("path", "none")
        rows.update({f"cuda {link}": state for link, state in facts["cuda"].items()})
        rows.update({f"device {name}": state for name, state in facts["devices"].items()})
        common.print_table(rows)
    if problem := facts["model"].get("error"):
        print(f"fungi-onnx: {problem}", file=sys.stderr)
        return 3
    return 0
