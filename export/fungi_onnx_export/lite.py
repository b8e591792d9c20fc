"""A TF Lite file as an original, run by the LiteRT interpreter (with XNNPACK, its default)."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from fungi_onnx_export.errors import ModuleError
from fungi_onnx_export.original import Facts, Images, Signature, Tensor, batches
from fungi_onnx_export.source import Source

# A .tflite file need not name its signatures; the graph itself is then the only one.
GRAPH = "graph"


class LiteModel:
    """A float or 8-bit quantised ``.tflite`` file."""

    def __init__(self, source: Source) -> None:
        self.source = source
        try:
            self._interpreter: Any = Interpreter(model_path=str(source.path))
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise ModuleError(f"{source.location}: cannot be loaded: {error}") from None
        self._inputs = {detail["name"]: detail for detail in self._interpreter.get_input_details()}
        self._outputs = {
            detail["name"]: detail for detail in self._interpreter.get_output_details()
        }
        self.facts = Facts(
            signatures=(
                Signature(
                    GRAPH,
                    tuple(_tensor(detail) for detail in self._inputs.values()),
                    tuple(_tensor(detail) for detail in self._outputs.values()),
                ),
            ),
            reference=f"LiteRT {version('ai-edge-litert')} (XNNPACK)",
            quantised=any(
                detail["dtype"] in (np.uint8, np.int8) for detail in self._outputs.values()
            ),
        )

    def outputs(self, signature: str, images: Images) -> dict[str, NDArray[np.float32]]:  # noqa: ARG002
        """Runs the interpreter, one fixed batch after the other. See `Original.outputs`."""
        ((name, detail),) = self._inputs.items()
        wanted = (int(detail["shape"][0]), *images.shape[1:])
        keys = [key for key, output in self._outputs.items() if _tensor(output).gives_vectors]
        parts: dict[str, list[NDArray[np.float32]]] = {key: [] for key in keys}
        try:
            if tuple(detail["shape"]) != wanted:  # a file that leaves its size open
                self._interpreter.resize_tensor_input(detail["index"], wanted)
                self._interpreter.allocate_tensors()
            for part in batches(images, wanted[0]):
                self._interpreter.set_tensor(detail["index"], _to_input(part, detail))
                self._interpreter.invoke()
                for key in keys:
                    output = self._outputs[key]
                    values = self._interpreter.get_tensor(output["index"])
                    parts[key].append(_from_output(values, output))
        except (ValueError, RuntimeError) as error:
            raise ModuleError(
                f"{self.source.location}: '{name}' does not take pictures of"
                f" {wanted[1]}x{wanted[2]}: {error}"
            ) from None
        return {key: np.concatenate(parts[key])[: len(images)] for key in keys}

    def step(self, signature: str, key: str) -> float:  # noqa: ARG002
        """The scale of a quantised output; 0 for a float one."""
        return self.quantisation(key)[0]

    def quantisation(self, key: str) -> tuple[float, int]:
        """(scale, zero point) of an output as uint8: real value = (value - zero point) * scale."""
        scale, zero = self._outputs[key]["quantization"]
        signed = self._outputs[key]["dtype"] == np.int8
        return float(scale), int(zero) + (128 if signed else 0)


def _tensor(detail: Any) -> Tensor:
    shape = tuple(None if size < 0 else int(size) for size in detail["shape_signature"])
    return Tensor(detail["name"], np.dtype(detail["dtype"]).name, shape)


def _to_input(images: Images, detail: Any) -> NDArray[Any]:
    """Pictures in [0, 1] as the file takes them: an 8-bit input holds the pixel values."""
    if detail["dtype"] == np.float32:
        return images
    pixels = np.clip(np.rint(images * np.float32(255)), 0, 255)
    lowest = np.iinfo(detail["dtype"]).min
    return np.asarray(pixels + lowest, detail["dtype"])


def _from_output(values: NDArray[Any], detail: Any) -> NDArray[np.float32]:
    if detail["dtype"] == np.float32:
        return np.array(values)  # get_tensor's array may be the interpreter's own
    scale, zero = detail["quantization"]
    return np.asarray((values.astype(np.float32) - zero) * np.float32(scale))
