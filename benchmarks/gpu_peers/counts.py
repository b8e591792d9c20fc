"""What a network costs at least: operations and values moved, counted on its ONNX graph."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import onnx
from onnx import numpy_helper, shape_inference

# Within a kernel that computes something else, these cost no pass over memory of their own.
_FUSED = {"Add", "Cast", "Clip", "Mul", "Sub", "Div", "Relu", "Softmax", "Transpose",
          "Reshape", "Squeeze", "Unsqueeze", "Flatten"}  # fmt: skip
_KERNELS = {"Conv", "Gemm", "MatMul", "ReduceMean", "GlobalAveragePool"}


@dataclass(frozen=True)
class Counts:
    """Of one picture, except the weights.

    Attributes:
        multiply_adds: of convolutions and matrix products; one is two operations.
        weights: values, read once a batch.
        activations: values read and written by the kernels, each with all that can be fused into
            it: a convolution reads its input and what is added to its output, and writes that.
            Without the reading of the picture, which may have another width.
        inputs, outputs: values that cross the bus.
    """

    multiply_adds: int
    weights: int
    activations: int
    inputs: int
    outputs: int

    def arithmetic(self, batch: int, operations_per_second: float) -> float:
        """Seconds of a batch, if it did nothing but compute."""
        return batch * 2 * self.multiply_adds / operations_per_second

    def memory(self, batch: int, bytes_per_second: float, *, width: int, input_width: int) -> float:
        """Seconds of a batch, if it did nothing but read and write the GPU's memory.

        Args:
            batch: pictures.
            bytes_per_second: read and written.
            width: bytes of a weight or an activation.
            input_width: bytes of a value of the input; answers have 4.
        """
        moved = self.weights * width + batch * (
            self.activations * width + self.inputs * input_width + self.outputs * 4
        )
        return moved / bytes_per_second


def count(model: onnx.ModelProto) -> Counts:
    """Counts a float32 model file's network.

    Raises:
        ValueError: the graph has operators that this does not know.
    """
    graph = shape_inference.infer_shapes(_of_one_picture(model), data_prop=True).graph
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    values = [*graph.value_info, *graph.input, *graph.output]
    size = {
        value.name: prod(max(d.dim_value, 1) for d in value.type.tensor_type.shape.dim)
        for value in values
    }
    picture = size[graph.input[0].name]
    additions, moved, used = 0, -picture, 0
    for node in graph.node:
        if node.op_type not in _FUSED | _KERNELS:
            raise ValueError(f"what {node.op_type} costs is not known here")
        data = [name for name in node.input if name and name not in weights]
        used += sum(weights[name].size for name in node.input if name in weights)
        if node.op_type in ("Conv", "Gemm", "MatMul"):
            weight = weights[node.input[1]]
            # Of a convolution [out, in / group, height, width]; of a product [in, out] or turned.
            each = prod(weight.shape[1:]) if node.op_type == "Conv" else _inner(node, weight.shape)
            additions += size[node.output[0]] * each
        if node.op_type in _KERNELS:
            moved += sum(size[name] for name in data) + size[node.output[0]]
        elif node.op_type == "Add" and len(data) == 2:
            moved += size[data[1]]
    classes = size[graph.output[0].name]
    return Counts(additions, used, moved, picture, classes)


def _inner(node: onnx.NodeProto, shape: tuple[int, ...]) -> int:
    turned = any(a.name == "transB" and a.i for a in node.attribute)
    return shape[1] if turned else shape[0]


def _of_one_picture(model: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for value in (*copy.graph.input, *copy.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    del copy.graph.value_info[:]
    return copy
