"""The same network in PyTorch, as its users serve it: float16, channels last, compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn import functional


class Network(nn.Module):
    """Runs an ONNX graph's operators in their order, with PyTorch's.

    Pictures are turned to [N, 3, height, width] in channels_last, which is how they lie in memory
    already. The input scaling and the softmax stay float32.
    """

    def __init__(self, model: onnx.ModelProto, half: bool) -> None:
        """Takes over the weights.

        Raises:
            ValueError: the graph has operators that this does not know.
        """
        super().__init__()
        graph = model.graph
        self.input, self.output = graph.input[0].name, graph.output[0].name
        self.half_precision = half
        self.nodes = [_Node(node) for node in graph.node]
        unknown = {node.kind for node in self.nodes} - _OPERATORS.keys()
        if unknown:
            raise ValueError(f"operators that are not known here: {', '.join(sorted(unknown))}")
        self.constants: dict[str, list[Any]] = {}
        self.names: dict[str, str] = {}
        for number, tensor in enumerate(graph.initializer):
            array = numpy_helper.to_array(tensor)
            # Axes, shapes, bounds: numbers of the program, and no tensors of the device.
            if array.dtype.kind == "i" or array.size == 1:
                self.constants[tensor.name] = array.reshape(-1).tolist()
                continue
            weight = torch.from_numpy(array.copy())
            if weight.ndim == 4:
                weight = weight.to(memory_format=torch.channels_last)
            self.names[tensor.name] = f"weight{number}"
            self.register_buffer(f"weight{number}", weight.half() if half else weight)

    def forward(self, images: Tensor) -> Tensor:
        """uint8 levels, or float32 in [0, 1], [N, height, width, 3] → float32 [N, classes]."""
        if images.dtype == torch.uint8:
            images = images.float() / 255
        values: dict[str, Any] = {self.input: images}
        for node in self.nodes:
            inputs = [self._value(name, values) for name in node.inputs]
            values[node.output] = _OPERATORS[node.kind](self, node, *inputs)
        found = values[self.output]
        assert isinstance(found, Tensor)
        return found.float()

    def _value(self, name: str, values: dict[str, Any]) -> Any:
        if name in self.names:
            return getattr(self, self.names[name])
        return self.constants[name] if name in self.constants else values[name]


class _Node:
    def __init__(self, node: onnx.NodeProto) -> None:
        self.kind = node.op_type
        self.inputs = [name for name in node.input if name]
        (self.output,) = node.output
        self.attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}


def _scalar(value: Any) -> Any:
    return value[0] if isinstance(value, list) else value


def _conv(network: Network, node: _Node, x: Tensor, weight: Tensor, bias: Any = None) -> Tensor:
    if network.half_precision and x.dtype == torch.float32:
        x = x.half()
    top, left, bottom, right = node.attributes.get("pads", [0, 0, 0, 0])
    padding: Any = (top, left)
    if (top, left) != (bottom, right):  # TensorFlow's SAME with a stride of 2
        x, padding = functional.pad(x, (left, right, top, bottom)), 0
    return functional.conv2d(
        x,
        weight,
        bias,
        stride=node.attributes.get("strides", 1),
        padding=padding,
        dilation=node.attributes.get("dilations", 1),
        groups=node.attributes.get("group", 1),
    )


def _clip(_: Network, __: _Node, x: Tensor, low: Any, high: Any) -> Tensor:
    return torch.clamp(x, _scalar(low), _scalar(high))


def _mean(_: Network, node: _Node, x: Tensor, axes: Any = None) -> Tensor:
    chosen = node.attributes.get("axes") if axes is None else axes
    # In float32, as cuDNN's and onnxruntime's reductions sum.
    kept = bool(node.attributes.get("keepdims", 1))
    return x.float().mean(chosen, keepdim=kept).to(x.dtype)


def _gemm(_: Network, node: _Node, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    if not node.attributes.get("transB", 0):
        weight = weight.t()
    return functional.linear(x, weight, bias)


def _reshape(_: Network, __: _Node, x: Tensor, shape: Any) -> Tensor:
    return x.reshape([x.shape[k] if n == 0 else n for k, n in enumerate(shape)])


def _squeeze(_: Network, node: _Node, x: Tensor, axes: Any = None) -> Tensor:
    chosen = node.attributes.get("axes") if axes is None else axes
    return x.squeeze(tuple(chosen))


def _softmax(_: Network, node: _Node, x: Tensor) -> Tensor:
    return torch.softmax(x.float(), node.attributes.get("axis", -1))


def _arithmetic(operation: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    def run(_: Network, __: _Node, a: Any, b: Any) -> Any:
        return operation(_scalar(a), _scalar(b))

    return run


_OPERATORS: dict[str, Callable[..., Any]] = {
    "Add": _arithmetic(lambda a, b: a + b),
    "Sub": _arithmetic(lambda a, b: a - b),
    "Mul": _arithmetic(lambda a, b: a * b),
    "Div": _arithmetic(lambda a, b: a / b),
    "Conv": _conv,
    "Clip": _clip,
    "Relu": lambda _, __, x: torch.relu(x),
    "Transpose": lambda _, node, x: x.permute(*node.attributes["perm"]),
    "ReduceMean": _mean,
    "GlobalAveragePool": lambda _, __, x: x.float().mean((2, 3), keepdim=True).to(x.dtype),
    "MatMul": lambda _, __, x, weight: x @ weight,
    "Gemm": _gemm,
    "Reshape": _reshape,
    "Squeeze": _squeeze,
    "Flatten": lambda _, node, x: x.flatten(node.attributes.get("axis", 1)),
    "Softmax": _softmax,
}


class Runner:
    """NumPy in, NumPy out, through pinned memory: the same work as the other variants do."""

    def __init__(self, path: str, device: str, *, half: bool, compiled: bool) -> None:
        """Loads the float32 model file's network.

        Raises:
            ValueError: the graph has operators that are not known here.
        """
        network = Network(onnx.load(path), half).eval().to(device)
        self._device = torch.device(device)
        self._network: Any = network
        # As onnxruntime's provider does, search for the fastest convolutions.
        torch.backends.cudnn.benchmark = True
        if compiled:
            # Beyond it PyTorch would go on without compiling, and not say so.
            torch._dynamo.config.recompile_limit = 64
            # The mode that replays CUDA graphs; each batch size is compiled for itself.
            self._network = torch.compile(
                network, mode="reduce-overhead", dynamic=False, fullgraph=True
            )
        self._buffers: dict[tuple[int, torch.dtype], tuple[Tensor, Tensor]] = {}
        self._answers: dict[int, Tensor] = {}

    @torch.inference_mode()
    def run(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """uint8 or float32 [N, height, width, 3] → float32 [N, classes]."""
        given = torch.from_numpy(images)
        if self._device.type == "cpu":
            return np.array(self._network(given).numpy(), np.float32)
        key = len(images), given.dtype
        if key not in self._buffers:
            host = torch.empty(given.shape, dtype=given.dtype, pin_memory=True)
            self._buffers[key] = host, torch.empty_like(given, device=self._device)
        host, there = self._buffers[key]
        host.copy_(given)
        there.copy_(host, non_blocking=True)
        found = self._network(there)
        if len(images) not in self._answers:
            self._answers[len(images)] = torch.empty(found.shape, pin_memory=True)
        answers = self._answers[len(images)]
        answers.copy_(found, non_blocking=True)
        torch.cuda.synchronize(self._device)
        return np.array(answers.numpy())
