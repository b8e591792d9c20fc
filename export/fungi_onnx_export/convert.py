"""TensorFlow or TF Lite → an ONNX graph in the contract's form, by way of tf2onnx.

The contract: one input ``images`` float32 [N, height, width, 3] in [0, 1], one output
``probabilities`` float32 [N, classes].
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import tensorflow as tf
import tf2onnx
from onnx import TensorProto, helper, numpy_helper
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2
from tf2onnx.handler import tfl_op
from tf2onnx.tflite_handlers.tfl_math import TflFullyConnectedOp

from fungi_onnx.model_file import INPUT, OUTPUT
from fungi_onnx_export import lite_addition
from fungi_onnx_export.choice import Choice
from fungi_onnx_export.errors import ConversionError
from fungi_onnx_export.lite import LiteModel
from fungi_onnx_export.module import Module
from fungi_onnx_export.original import Original

OPSET = 18

Graph = onnx.ModelProto


def forms(original: Original, choice: Choice) -> dict[str, Callable[[], Graph]]:
    """The ONNX forms an original can take, by name; more than one only for FakeQuant graphs."""
    if isinstance(original, LiteModel):
        return {
            "qdq" if original.facts.quantised else "float": lambda: _from_lite(original, choice)
        }
    assert isinstance(original, Module)
    if not original.facts.noisy:
        return {"float": lambda: _from_tensorflow(original, choice, {})}
    emulation: dict[str, Any] = {"FakeQuantWithMinMaxVars": (_emulate_fake_quant, [])}
    return {
        "fake-quant in float": lambda: _from_tensorflow(original, choice, emulation),
        "qdq": lambda: _from_tensorflow(original, choice, {}),
    }


def _from_tensorflow(module: Module, choice: Choice, handlers: dict[str, Any]) -> Graph:
    candidate = choice.candidate
    function = module.function(candidate.signature)

    def classifier(images: Any) -> Any:
        return function(**{candidate.input.key: images})[candidate.output.key]

    declared = tf.TensorSpec(candidate.input.shape, candidate.input.dtype)
    traced = tf.function(classifier, input_signature=[declared], autograph=False)
    frozen = convert_variables_to_constants_v2(traced.get_concrete_function())
    (image,), (output,) = frozen.inputs, frozen.outputs
    with tf.Graph().as_default() as graph:
        # A placeholder of our own opens the batch and fixes the size, whatever the module's was.
        images = tf.compat.v1.placeholder(
            tf.float32, [None, choice.height, choice.width, 3], name=INPUT
        )
        (vectors,) = tf.import_graph_def(
            frozen.graph.as_graph_def(),
            input_map={image.name: images},
            return_elements=[output.name],
            name="module",
        )
        if choice.add_softmax:
            vectors = tf.nn.softmax(vectors)
        tf.identity(vectors, name=OUTPUT)
    try:
        model, _ = tf2onnx.convert.from_graph_def(
            graph.as_graph_def(),
            input_names=[f"{INPUT}:0"],
            output_names=[f"{OUTPUT}:0"],
            tensors_to_rename={f"{INPUT}:0": INPUT, f"{OUTPUT}:0": OUTPUT},
            opset=OPSET,
            custom_op_handlers=handlers,
        )
    except Exception as error:  # tf2onnx raises ValueError, KeyError, its own, ...
        raise ConversionError(f"tf2onnx cannot convert the module: {error}") from error
    return _checked(model, choice)


def _from_lite(original: LiteModel, choice: Choice) -> Graph:
    tfl_op(["TFL_FULLY_CONNECTED"], tf_op="MatMul")(_FullyConnectedWithBias)
    try:
        model, _ = tf2onnx.convert.from_tflite(str(original.source.path), opset=OPSET)
    except Exception as error:
        raise ConversionError(f"tf2onnx cannot convert the TF Lite graph: {error}") from error
    graph = model.graph
    _open_batch(graph)
    _put_input_in_front(graph, choice)
    _put_output_behind(graph, choice, original)
    lite_addition.round_as_the_interpreter(model)
    return _checked(model, choice)


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


def _emulate_fake_quant(ctx: Any, node: Any, name: str, args: Any) -> None:  # noqa: ARG001
    """FakeQuantWithMinMaxVars in float, operation for operation as TensorFlow computes it.

    Range nudged so that zero is exact, then ``floor((clip(x) - min) / scale + 0.5) * scale + min``
    (tensorflow/core/kernels/fake_quant_ops_functor.h).
    """
    one = np.float32(1)
    low, high = (np.float32(node.inputs[i].get_tensor_value()) for i in (1, 2))
    first = np.float32(node.get_attr("narrow_range").i)
    last = np.float32(2 ** node.get_attr("num_bits").i - 1)
    scale = (high - low) / (last - first)
    zero = np.clip(np.floor(first - low / scale + np.float32(0.5)), first, last)
    low, high = (first - zero) * scale, (last - zero) * scale

    shape, dtype = ctx.get_shape(node.output[0]), ctx.get_dtype(node.output[0])
    value, (output,) = node.input[0], node.output
    ctx.remove_node(node.name)

    def const(number: np.float32) -> str:
        constant = ctx.make_const(tf2onnx.utils.make_name("fake_quant"), np.float32(number))
        return str(constant.output[0])

    steps: list[tuple[str, list[np.float32]]] = [
        ("Clip", [low, high]),
        ("Sub", [low]),
        ("Mul", [one / scale]),
        ("Add", [np.float32(0.5)]),
        ("Floor", []),
        ("Mul", [scale]),
        ("Add", [low]),
    ]
    for position, (operation, constants) in enumerate(steps):
        step = ctx.make_node(
            operation,
            [value, *map(const, constants)],
            outputs=[output] if position == len(steps) - 1 else None,
            shapes=[shape],
            dtypes=[dtype],
            skip_conversion=True,
        )
        value = step.output[0]


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
        # An 8-bit input holds the pixel values themselves, signed ones moved by -128.
        signed = taken.type.tensor_type.elem_type == TensorProto.INT8
        zero = np.array(-128, np.int8) if signed else np.array(0, np.uint8)
        graph.initializer.extend(
            [
                numpy_helper.from_array(np.array(255, np.float32), "pixel_levels"),
                numpy_helper.from_array(np.array(1, np.float32), "pixel_step"),
                numpy_helper.from_array(zero, "pixel_zero"),
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
        kind = np.int8 if given.type.tensor_type.elem_type == TensorProto.INT8 else np.uint8
        graph.initializer.extend(
            [
                numpy_helper.from_array(np.array(scale, np.float32), "answer_step"),
                numpy_helper.from_array(np.array(zero, kind), "answer_zero"),
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


def _checked(model: Graph, choice: Choice) -> Graph:
    """Fixes the contract's shapes and makes sure that nothing was left unconverted."""
    shapes: list[list[str | int | None]] = [
        ["N", choice.height, choice.width, 3],
        ["N", choice.candidate.classes],
    ]
    for tensor, shape in zip((model.graph.input[0], model.graph.output[0]), shapes, strict=True):
        tensor.CopyFrom(helper.make_tensor_value_info(tensor.name, TensorProto.FLOAT, shape))
    known = {node.op_type for node in model.graph.node if onnx.defs.has(node.op_type)}
    left = sorted({node.op_type for node in model.graph.node} - known)
    if left:
        raise ConversionError(f"tf2onnx has no ONNX form for the operations {', '.join(left)}")
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ConversionError(f"the converted graph is not valid ONNX: {error}") from None
    return model
