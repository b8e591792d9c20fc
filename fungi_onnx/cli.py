"""The `fungi-onnx` command: hands over to `fungi_onnx.commands`.

Exit codes: 0 all done, 1 some inputs failed, 2 wrong usage, 3 no model or a wrong one,
4 device not available, 130 stopped by Ctrl-C. Nothing heavy is imported before the arguments are
understood, so that --help and a wrong option are answered at once.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

from fungi_onnx.errors import (
    ClusterError,
    DeviceUnavailableError,
    FungiOnnxError,
    ResultsError,
    ResultsWriteError,
    SourceError,
    TruthError,
)
from fungi_onnx.parser import parser

_EXIT_CODES: tuple[tuple[type[FungiOnnxError], int], ...] = (
    (ResultsWriteError, 1),
    (ResultsError, 2),
    (SourceError, 2),
    (TruthError, 2),
    (ClusterError, 1),
    (DeviceUnavailableError, 4),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    # A file name need not be UTF-8; it must still be printable.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    chosen = parser().parse_args(arguments)
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
