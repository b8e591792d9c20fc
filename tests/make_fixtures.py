"""Makes the small model files of tests/data, through the real exporter. Run by `make fixtures`.

* ``tiny.onnx``: a narrow stand-in (12 classes, 48x48), whole and self-describing.
* ``tiny.fp16.onnx``: that in float16, with an input for pictures in 8 bits. Its untrained weights
  are a hair above the gate of ``fungi-onnx-export half``; so it is made by parts of that command.
* ``bare.onnx``: a graph with the contract's input and output and no metadata.
* ``sample.jpg``: a drawing of species 3, which the tiny model knows.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("SOURCE_DATE_EPOCH", "1767225600")  # 2026-01-01: the same file every time

import onnx
import onnx.parser

from fungi_onnx import FungiClassifier
from fungi_onnx_export import describe, float16, half, pictures, pipeline, source, standin

DATA = Path(__file__).parent / "data"


def make(folder: Path) -> None:
    """Writes the four files into ``folder``."""
    with tempfile.TemporaryDirectory() as name:
        module = Path(name) / "standin"
        standin.build(module, classes=12, size=48, width=0.1)
        wishes = pipeline.Wishes(labels=module / "labels.csv")
        with source.opened(str(module)) as opened:
            pipeline.export(opened, folder / "tiny.onnx", wishes, say=print)
    _half(folder / "tiny.onnx", folder / "tiny.fp16.onnx")
    onnx.save(_bare(), folder / "bare.onnx")
    photo = pictures.vary(pictures.render(3, 320), 300_003)
    (folder / "sample.jpg").write_bytes(pictures.to_jpeg(photo, 90))


def _half(path: Path, target: Path) -> None:
    classifier = FungiClassifier(path, device="cpu")
    model = float16.to_float16(onnx.load(path))
    run = half._runner(float16.rounded(model))
    description = replace(
        classifier.model,
        precision="float16 (input scaling and softmax float32)",
        uint8_input=True,
        probes=half._probes(classifier, run),
    )
    describe.write(model, description, target)


def _bare() -> onnx.ModelProto:
    """The mean colour of a picture, as three "probabilities"."""
    graph = onnx.parser.parse_graph(
        """
        bare (float[N, 48, 48, 3] images) => (float[N, 3] probabilities) {
            axes = Constant <value_ints = [1, 2]> ()
            probabilities = ReduceMean <keepdims = 0> (images, axes)
        }
        """
    )
    opset = onnx.helper.make_opsetid("", 18)
    return onnx.helper.make_model(graph, opset_imports=[opset], ir_version=9)


if __name__ == "__main__":
    make(DATA)
