"""TF Lite → ONNX: quantised graphs stay quantised, and answer as the interpreter does.

tf2onnx does the main work; here are the four things it does not do: the bias it loses, signed
tensors that keep onnxruntime from integer kernels, the fixed batch of one, and the contract's
float input and output around an 8-bit graph.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import onnx
import tf2onnx
from onnx import TensorProto, helper, numpy_helper
from tf2onnx.handler import tfl_op
from tf2onnx.tflite_handlers.tfl_math import TflFullyConnectedOp

from fungi_onnx.model_file import INPUT, OUTPUT
from fungi_onnx_export import lite_addition
from fungi_onnx_export.choice import Choice
from fungi_onnx_export.errors import ConversionError
from fungi_onnx_export.lite import LiteModel


def convert(original: LiteModel, choice: Choice, opset: int) -> onnx.ModelProto:
    """Converts a TF Lite file; what it declares as 8 bits stays 8 bits (QDQ).

    Raises:
        ConversionError: tf2onnx cannot convert it.
    """
    tfl_op(["TFL_FULLY_CONNECTED"], tf_op="MatMul")(_FullyConnectedWithBias)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tf2onnx still reads with tf.lite.Interpreter
            model: onnx.ModelProto = tf2onnx.convert.from_tflite(
                str(original.source.path), opset=opset
            )[0]
    except Exception as error:  # tf2onnx raises ValueError, KeyError, its own, ...
        raise ConversionError(f"tf2onnx cannot convert the TF Lite graph: {error}") from error
    graph = model.graph
    _make_unsigned(graph)
    _open_batch(graph)
    _put_input_in_front(graph, choice)
    _put_output_behind(graph, choice, original)
    lite_addition.round_as_the_interpreter(model)
    return model


class _FullyConnectedWithBias:
    """tf2onnx 1.17 drops the bias of a fully connected layer whose input has rank 4.

    Its handler rewires such a node with two inputs while it puts a Reshape in front. Here the
    Reshape is there beforehand, so that its handler finds rank 2 and keeps all three.
    """

    @classmethod
    def to_tf(cls, ctx: Any, node: Any, **kwargs: Any) -> None:
        image = node.input[0]
        if node.attr["keep_num_dims"].i == 0 and ctx.get_rank(image) != 2:
            depth = ctx.get_shape(node.input[1])[1]
            shape = ctx.make_const(tf2onnx.utils.make_name("rows"), np.array([-1, depth], np.int64))
            rows = ctx.make_node(
                "Reshape",
                [image, shape.output[0]],
                shapes=[[-1, depth]],
                dtypes=[ctx.get_dtype(image)],
            )
            rows.skip_conversion = True
            ctx.replace_input(node, image, rows.output[0], 0)
        TflFullyConnectedOp.to_tf(ctx, node, **kwargs)


def _make_unsigned(graph: onnx.GraphProto) -> None:
    """Moves every int8 tensor by 128 to uint8; the real values stay the same.

    onnxruntime fuses a convolution to integers only if all its activations are of one type, and
    of a signed graph it turns just some unsigned by itself: of 52 convolutions 29 were left in
    float, and answers were off by up to 18 steps. Unsigned weights also keep clear of the 16-bit
    saturation of its U8S8 kernels on AVX2 machines without VNNI.
    """
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.INT8:
            moved = numpy_helper.to_array(tensor).astype(np.int16) + 128
            tensor.CopyFrom(numpy_helper.from_array(moved.astype(np.uint8), tensor.name))
    for value in (*graph.input, *graph.output):
        if value.type.tensor_type.elem_type == TensorProto.INT8:
            value.type.tensor_type.elem_type = TensorProto.UINT8


def _open_batch(graph: onnx.GraphProto) -> None:
    """TF Lite graphs are made for one picture; nothing in them but some Reshapes depends on it."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Reshape" and node.input[1] in constants:
            shape = numpy_helper.to_array(constants[node.input[1]]).copy()
            if shape.size > 1 and shape[0] == 1:
                shape[0] = 0  # the batch as it comes
                opened = numpy_helper.from_array(shape, f"{node.name}/batch")
                graph.initializer.append(opened)
                node.input[1] = opened.name
    del graph.value_info[:]


def _put_input_in_front(graph: onnx.GraphProto, choice: Choice) -> None:
    (taken,) = graph.input
    nodes = []
    if taken.type.tensor_type.elem_type == TensorProto.FLOAT:
        nodes.append(helper.make_node("Identity", [INPUT], [taken.name]))
    else:
        # An 8-bit input holds the pixel values themselves (signed ones moved, see above).
        graph.initializer.extend(
            [
                numpy_helper.from_array(np.array(255, np.float32), "pixel_levels"),
                numpy_helper.from_array(np.array(1, np.float32), "pixel_step"),
                numpy_helper.from_array(np.array(0, np.uint8), "pixel_zero"),
            ]
        )
        nodes = [
            helper.make_node("Mul", [INPUT, "pixel_levels"], ["pixels"]),
            helper.make_node(
                "QuantizeLinear", ["pixels", "pixel_step", "pixel_zero"], [taken.name]
            ),
        ]
    for node in reversed(nodes):
        graph.node.insert(0, node)
    shape: list[str | int | None] = ["N", choice.height, choice.width, 3]
    taken.CopyFrom(helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, shape))


def _put_output_behind(graph: onnx.GraphProto, choice: Choice, original: LiteModel) -> None:
    candidate = choice.candidate
    given = next(output for output in graph.output if output.name == candidate.output.key)
    value = given.name
    if given.type.tensor_type.elem_type != TensorProto.FLOAT:
        scale, zero = original.quantisation(value)
        graph.initializer.extend(
            [
                numpy_helper.from_array(np.array(scale, np.float32), "answer_step"),
                numpy_helper.from_array(np.array(zero, np.uint8), "answer_zero"),
            ]
        )
        graph.node.append(
            helper.make_node("DequantizeLinear", [value, "answer_step", "answer_zero"], ["answer"])
        )
        value = "answer"
    last = "Softmax" if choice.add_softmax else "Identity"
    graph.node.append(helper.make_node(last, [value], [OUTPUT]))
    del graph.output[:]
    shape: list[str | int | None] = ["N", candidate.classes]
    graph.output.append(helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, shape))
