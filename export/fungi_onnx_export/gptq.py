"""Weights rounded so that a layer's outputs stay where they were, not its weights.

GPTQ (Frantar, Ashkboos, Hoefler, Alistarh: "GPTQ: Accurate Post-Training Quantization for
Generative Pre-trained Transformers", 2022, algorithm 1): the weights of an output channel are
rounded one after the other, and the error of each is made good by those that follow, as the
second moments of the layer's inputs say they can. With X the inputs of a layer, rows of k values,
what is kept small is the square of (W - Q) Xᵀ instead of that of W - Q. A bias is the weight of
an input that is always 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import numpy_helper

Moments = dict[str, NDArray[np.float64]]
Values = NDArray[np.float64]

_LAYERS = ("Conv", "Gemm", "MatMul")
# From 1024 rows to 4096, and from a damping of 0.0003 to the paper's 0.01, the top-5 moves by half
# a point, in no order.
_ROWS = 4096  # samples of a layer's input from each chunk of pictures
_DAMPING = 0.001  # of the mean of the diagonal
_BLOCK = 64


def moments(
    model: onnx.ModelProto,
    feeds: Iterable[dict[str, NDArray[np.float32]]],
    *,
    biases: bool = False,
) -> Moments:
    """The second moments Xᵀ X of every layer's input, by the layer's name.

    Args:
        model: a float32 graph.
        feeds: its inputs, in chunks.
        biases: whether a layer that has a bias has a first input of ones, too.

    Returns:
        float64 [groups, k, k] for each Conv, Gemm and MatMul with constant weights, where k is
        the number of weights of an output channel: of a Conv its group's input channels × kernel.
    """
    layers = [node for node in model.graph.node if node.op_type in _LAYERS]
    shapes = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    layers = [node for node in layers if node.input[1] in shapes]
    looking = onnx.ModelProto.FromString(model.SerializeToString())
    names = sorted({node.input[0] for node in layers} - {i.name for i in model.graph.input})
    for name in names:
        looking.graph.output.append(
            onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
        )
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(
        looking.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    random, found = np.random.default_rng(0), dict[str, Any]()
    for feed in feeds:
        values = {**feed, **dict(zip(names, session.run(names, feed), strict=False))}
        for node in layers:
            rows = _rows(node, shapes[node.input[1]], values[node.input[0]], random)
            if biases and _has_bias(node):
                ones = np.ones((*rows.shape[:2], 1), np.float32)
                rows = np.concatenate([ones, rows], axis=2)
            found[node.name] = found.get(node.name, 0) + np.swapaxes(rows, 1, 2) @ rows
    return {name: np.asarray(value, np.float64) for name, value in found.items()}


def round_weights(quantised: onnx.ModelProto, model: onnx.ModelProto, found: Moments) -> None:
    """Rounds the weights of a quantised graph again, in place; their scales stay.

    Args:
        quantised: ``model`` with weights as int8 behind DequantizeLinear, symmetric, with a scale
            for each output channel.
        model: the float32 graph.
        found: its `moments`.
    """
    ours = {tensor.name: tensor for tensor in quantised.graph.initializer}
    floats = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes = {node.name: node for node in model.graph.node}
    producers = {node.output[0]: node for node in quantised.graph.node}
    for node in quantised.graph.node:
        dequantise = producers.get(node.input[1]) if node.op_type in _LAYERS else None
        if dequantise is None or dequantise.op_type != "DequantizeLinear":
            continue
        stored = ours[dequantise.input[0]]
        codes = numpy_helper.to_array(stored)
        weights = numpy_helper.to_array(floats[nodes[node.name].input[1]]).astype(np.float64)
        scales = numpy_helper.to_array(ours[dequantise.input[1]]).astype(np.float64)
        turned = node.op_type != "Conv" and not _attribute(node, "transB", 0)  # [k, out]
        rows = weights.T if turned else weights.reshape(len(weights), -1)
        second = found[node.name]
        grouped = rows.reshape(len(second), -1, rows.shape[1])
        # The largest code that rounding to the nearest has used: 127, or less in a reduced range.
        most = int(np.abs(codes.astype(np.int32)).max())
        steps = scales.reshape(len(second), -1)

        def nearest(values: Values, steps: Values = steps, most: int = most) -> Values:
            return np.asarray(np.clip(np.rint(values / steps), -most, most) * steps)

        values = _rounded(grouped, second, nearest) / steps[..., np.newaxis]
        rounded = np.rint(values).astype(np.int8).reshape(rows.shape)
        shaped = rounded.T if turned else rounded.reshape(weights.shape)
        stored.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(shaped), stored.name))


def round_to_float16(model: onnx.ModelProto, found: Moments) -> onnx.ModelProto:
    """The float32 graph with weights and biases that float16 has, too.

    Args:
        model: a float32 graph.
        found: its `moments`, with biases.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    stored = {tensor.name: tensor for tensor in result.graph.initializer}
    for node in result.graph.node:
        if node.op_type not in _LAYERS or node.input[1] not in stored:
            continue
        second, biased = found[node.name], _has_bias(node)
        weights = numpy_helper.to_array(stored[node.input[1]]).astype(np.float64)
        turned = node.op_type != "Conv" and not _attribute(node, "transB", 0)  # [k, out]
        rows = weights.T if turned else weights.reshape(len(weights), -1)
        if biased:
            bias = numpy_helper.to_array(stored[node.input[2]]).astype(np.float64)
            rows = np.concatenate([bias[:, np.newaxis], rows], axis=1)
        grouped = rows.reshape(len(second), -1, rows.shape[1])
        # The bias first: its steps are the largest, and the weights can make its error good.
        rounded = _rounded(grouped, second, _float16, first=int(biased)).reshape(rows.shape)
        if biased:
            _store(stored[node.input[2]], rounded[:, 0])
            rounded = rounded[:, 1:]
        _store(stored[node.input[1]], rounded.T if turned else rounded.reshape(weights.shape))
    return result


def _float16(values: Values) -> Values:
    return values.astype(np.float16).astype(np.float64)


def _store(tensor: onnx.TensorProto, values: Values) -> None:
    array = np.ascontiguousarray(values, np.float32)
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def _has_bias(node: onnx.NodeProto) -> bool:
    return node.op_type == "Conv" and len(node.input) > 2


def _rounded(
    weights: Values, second: Values, nearest: Callable[[Values], Values], *, first: int = 0
) -> Values:
    """Algorithm 1.

    Args:
        weights: [groups, out, k].
        second: [groups, k, k].
        nearest: rounds a column, [groups, out].
        first: how many columns come first as they are.
    """
    groups, _, size = weights.shape
    diagonal = np.diagonal(second, axis1=1, axis2=2)
    damping = np.maximum(_DAMPING * diagonal.mean(axis=1), 1e-12)
    second = second + damping[:, np.newaxis, np.newaxis] * np.eye(size)
    # What varies most comes first, as long as there is much left to make its error good.
    order = np.argsort(-diagonal[:, first:], axis=1, kind="stable") + first
    order = np.concatenate([np.tile(np.arange(first), (groups, 1)), order], axis=1)
    each = np.arange(groups)[:, np.newaxis]
    second = second[each[:, :, np.newaxis], order[:, :, np.newaxis], order[:, np.newaxis]]
    left = np.take_along_axis(weights, order[:, np.newaxis], axis=2)
    upper = np.swapaxes(np.linalg.cholesky(np.linalg.inv(second)), 1, 2)
    rounded = np.empty_like(left)
    for start in range(0, size, _BLOCK):
        end = min(start + _BLOCK, size)
        errors = np.empty((*left.shape[:2], end - start))
        for column in range(start, end):
            rounded[..., column] = nearest(left[..., column])
            error = left[..., column] - rounded[..., column]
            error /= upper[:, column, column, np.newaxis]
            left[..., column + 1 : end] -= (
                error[..., np.newaxis] * upper[:, column, np.newaxis, column + 1 : end]
            )
            errors[..., column - start] = error
        left[..., end:] -= errors @ upper[:, start:end, end:]
    result = np.empty_like(rounded)
    np.put_along_axis(result, order[:, np.newaxis], rounded, axis=2)
    return result


def _rows(
    node: onnx.NodeProto, shape: list[int], value: NDArray[Any], random: np.random.Generator
) -> NDArray[np.float32]:
    """Samples of what a layer's weights are multiplied with: float32 [groups, rows, k]."""
    if node.op_type != "Conv":
        return value.reshape(1, -1, value.shape[-1])
    groups = _attribute(node, "group", 1)
    tall, wide = shape[2:]
    down, right = _attribute(node, "strides", [1, 1])
    above, before, below, after = _padding(node, shape, value.shape)
    padded = np.pad(value, ((0, 0), (0, 0), (above, below), (before, after)))
    places = (
        len(padded),
        (padded.shape[2] - tall) // down + 1,
        (padded.shape[3] - wide) // right + 1,
    )
    count = int(np.prod(places))
    chosen = random.choice(count, min(count, _ROWS), replace=False)
    picture, y, x = np.unravel_index(chosen, places)
    rows = padded[
        picture[:, np.newaxis, np.newaxis],
        :,
        (y * down)[:, np.newaxis, np.newaxis] + np.arange(tall)[:, np.newaxis],
        (x * right)[:, np.newaxis, np.newaxis] + np.arange(wide),
    ]  # [rows, tall, wide, channels]
    rows = rows.transpose(0, 3, 1, 2).reshape(len(rows), groups, -1)
    return np.ascontiguousarray(rows.transpose(1, 0, 2), np.float32)


def _padding(node: onnx.NodeProto, shape: list[int], of: tuple[int, ...]) -> list[int]:
    """Above, before, below, after; TensorFlow's SAME is ONNX's SAME_UPPER."""
    if _attribute(node, "auto_pad", b"NOTSET") != b"SAME_UPPER":
        return list(_attribute(node, "pads", [0, 0, 0, 0]))
    strides = _attribute(node, "strides", [1, 1])
    totals = [
        max(0, (-(-size // stride) - 1) * stride + kernel - size)
        for size, stride, kernel in zip(of[2:], strides, shape[2:], strict=True)
    ]
    halves = [total // 2 for total in totals]
    return [*halves, *(total - half for total, half in zip(totals, halves, strict=True))]


def _attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    for attribute in node.attribute:
        if attribute.name == name:
            return onnx.helper.get_attribute_value(attribute)
    return default
