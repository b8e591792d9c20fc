"""The console script: outside the package, so that a missing onnxruntime is one sentence."""

import contextlib
import os
import signal
import sys


def main() -> int:
    """Runs the `fungi-onnx` command and returns its exit code."""
    try:
        from fungi_onnx.cli import main as run

        code = run()
    except ModuleNotFoundError as error:
        if error.name != "onnxruntime":
            raise
        print(f"fungi-onnx: {error}", file=sys.stderr)
        return 4  # no device can run a model without it
    except KeyboardInterrupt:  # while it was being imported
        code = 128 + signal.SIGINT
    if code > 128:
        _die_of(code - 128)
    return code


def _die_of(number: int) -> None:
    """Ends the process as the signal would have: a shell's loop stops, and no thread is joined.

    A thread may have a large picture in hand, and Python would wait for it.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, OSError, ValueError):  # it is gone
            stream.flush()
    if os.name == "posix":
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(128 + number)
