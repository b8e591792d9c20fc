"""The console script: outside the package, so that a missing onnxruntime is one sentence."""

import sys


def main() -> int:
    """Runs the `fungi-onnx` command and returns its exit code."""
    try:
        from fungi_onnx.cli import main as run  # noqa: PLC0415 - this import is the test
    except ModuleNotFoundError as error:
        if error.name != "onnxruntime":
            raise
        print(f"fungi-onnx: {error}", file=sys.stderr)
        return 4  # no device can run a model without it
    return run()
