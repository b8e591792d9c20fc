"""fungi-onnx-export: TensorFlow lives here and nowhere else.

Turns a TensorFlow Hub image classifier once into a self-describing ONNX file, and proves that the
file gives the module's own numbers.
"""

__version__ = "0.1.0"
