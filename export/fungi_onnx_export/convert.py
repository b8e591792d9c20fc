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
from onnx import TensorProto, helper
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from fungi_onnx.model_file import INPUT, OUTPUT
from fungi_onnx_export import convert_lite
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
        form = "qdq" if original.facts.quantised else "float"
        return {form: lambda: _checked(convert_lite.convert(original, choice, OPSET), choice)}
    assert isinstance(original, Module)
    if not original.facts.noisy:
        return {"float": lambda: _from_tensorflow(original, choice, {})}
    emulation: dict[str, Any] = {"FakeQuantWithMinMaxVars": (_emulate_fake_quant, [])}
    return {
        "fake-quant in float": lambda: _from_tensorflow(original, choice, emulation),
        "qdq": lambda: _from_tensorflow(original, choice, {}),
    }


def _from_tensorflow(module: Module, choice: Choice, handlers: dict[str, Any]) -> Graph:
    frozen, image, output = _freeze(module, choice)
    with tf.Graph().as_default() as graph:
        # A placeholder of our own opens the batch and fixes the size, whatever the module's was.
        images = tf.compat.v1.placeholder(
            tf.float32, [None, choice.height, choice.width, 3], name=INPUT
        )
        (vectors,) = tf.import_graph_def(
            frozen, input_map={image: images}, return_elements=[output], name="module"
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


def _freeze(module: Module, choice: Choice) -> tuple[Any, str, str]:
    """The signature's graph with its weights as constants, and the names of its two tensors."""
    candidate = choice.candidate
    if module.has_functions:  # TensorFlow 2: the signature is a function, to be inlined
        function = module.function(candidate.signature)

        def classifier(images: Any) -> Any:
            return function(**{candidate.input.key: images})[candidate.output.key]

        declared = tf.TensorSpec(candidate.input.shape, candidate.input.dtype)
        traced = tf.function(classifier, input_signature=[declared], autograph=False)
        frozen = convert_variables_to_constants_v2(traced.get_concrete_function())
        return frozen.graph.as_graph_def(), frozen.inputs[0].name, frozen.outputs[0].name
    # TensorFlow 1: only its own loader can freeze the reference variables of 2018.
    v1 = tf.compat.v1
    with tf.Graph().as_default() as graph, v1.Session() as session:
        loaded = v1.saved_model.load(session, module.tags, str(module.source.path))
        signature = loaded.signature_def[candidate.signature]
        image = signature.inputs[candidate.input.key].name
        output = signature.outputs[candidate.output.key].name
        constant = v1.graph_util.convert_variables_to_constants(
            session, graph.as_graph_def(), [output.partition(":")[0]]
        )
    return constant, image, output


def _emulate_fake_quant(ctx: Any, node: Any, name: str, args: Any) -> None:  # noqa: ARG001
    """FakeQuantWithMinMaxVars in float, operation for operation as TensorFlow computes it.

    The range is nudged so that zero is exact, then ``floor((clip(x) - min) / scale - zero + 0.5) *
    scale`` (tensorflow/core/kernels/fake_quant_ops_functor.h, as of TensorFlow 2.21).
    """
    low, high = (np.float32(node.inputs[i].get_tensor_value()) for i in (1, 2))
    first = np.float32(node.get_attr("narrow_range").i)
    last = np.float32(2 ** node.get_attr("num_bits").i - 1)
    scale = (high - low) / (last - first)
    zero = np.clip(np.floor(first - low / scale + np.float32(0.5)), first, last)
    low, high = (first - zero) * scale, (last - zero) * scale
    zero -= first  # from here on counted from the lowest level

    shape, dtype = ctx.get_shape(node.output[0]), ctx.get_dtype(node.output[0])
    value, (output,) = node.input[0], node.output
    ctx.remove_node(node.name)

    def const(number: np.float32) -> str:
        constant = ctx.make_const(tf2onnx.utils.make_name("fake_quant"), np.float32(number))
        return str(constant.output[0])

    steps: list[tuple[str, list[np.float32]]] = [
        ("Clip", [low, high]),
        ("Sub", [low]),
        ("Div", [scale]),
        ("Sub", [zero]),
        ("Add", [np.float32(0.5)]),
        ("Floor", []),
        ("Mul", [scale]),
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
