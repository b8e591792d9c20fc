"""fungi-onnx-export: TensorFlow lives here and nowhere else.

Turns a TensorFlow Hub image classifier once into a self-describing ONNX file, and proves that the
file gives the module's own numbers.
"""

import os

from fungi_onnx import __version__  # both are released together, and installed so

__all__ = ["__version__"]

# A draft is loaded once and thrown away: its optimised graph is not worth the user's disk.
os.environ.setdefault("FUNGI_ONNX_CACHE", "off")
