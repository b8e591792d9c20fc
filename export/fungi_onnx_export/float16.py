"""Graphs in float16: a model's, with an input for pictures in 8 bits; and one to judge it by."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from fungi_onnx.model_file import INPUT, OUTPUT, UINT8_INPUT

_SCALING = {"Add", "Sub", "Mul", "Div"}
_PREFIX = "fungi_onnx/"  # of the names that are ours


def to_float16(model: ModelProto) -> ModelProto:
    """The float16 graph of a float32 one, with both inputs; the metadata is left out.

    ``images`` is scaled in float32; ``pictures`` is divided by 255 and scaled likewise, without
    what is added there. Their sum is cast. ``pictures`` is by default one black picture, which
    adds nothing to any number of ``images``; to ``pictures`` the single black one of ``images``
    adds what the scaling does. So neither costs the other much, and, unlike of a concatenation,
    CUDA's kernels for this have no arguments in memory that a CUDA graph would find gone.

    Args:
        model: with the input and output of the contract, float32.

    Returns:
        float16 but for its inputs, what scales them, the last Softmax and the output. The name of
        the batch is N for ``images`` and M for ``pictures``, one of which is 1; the output's is
        open.
    """
    # Slow to import, and only needed here.
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    graph = model.graph
    (images,) = graph.input
    _, height, width, channels = (dim.dim_value for dim in images.type.tensor_type.shape.dim)
    classes = graph.output[0].type.tensor_type.shape.dim[1].dim_value
    scaling, ending = scaling_of(graph), _ending(graph)
    scaled = scaling[-1].output[0] if scaling else INPUT
    logits = ending[0].input[0] if ending else OUTPUT
    half, pictures, both = f"{_PREFIX}half", f"{_PREFIX}{UINT8_INPUT}", f"{_PREFIX}both"
    linear, added = _linear(graph, scaling, f"{pictures}/", f"{pictures}/{INPUT}")

    # Only what lies between them is converted. Of the whole graph the library would make one that
    # casts to float16 and back at each of its ends: the picture would be rounded three times.
    middle = [node for node in graph.node if node not in [*scaling, *ending]]
    used = {name for node in middle for name in node.input}
    part = helper.make_graph(
        middle,
        "middle",
        [helper.make_tensor_value_info(scaled, TensorProto.FLOAT, None)],
        [helper.make_tensor_value_info(logits, TensorProto.FLOAT, None)],
        [tensor for tensor in graph.initializer if tensor.name in used],
    )
    body = convert_float_to_float16(
        helper.make_model(part, opset_imports=model.opset_import, ir_version=model.ir_version),
        op_block_list=[*DEFAULT_OP_BLOCK_LIST, "Softmax"],
    ).graph
    OnnxModel.graph_topological_sort(body)  # it appends the casts that it needs

    def cast(name: str, to: str, kind: int) -> NodeProto:
        return helper.make_node("Cast", [name], [to], to=kind)

    nodes = [
        cast(UINT8_INPUT, f"{pictures}/levels", TensorProto.FLOAT),
        helper.make_node("Div", [f"{pictures}/levels", f"{_PREFIX}255"], [f"{pictures}/{INPUT}"]),
        *_copies(graph, scaling, ""),
        *linear,
        helper.make_node("Add", [scaled, added], [f"{both}/float32"]),
        cast(f"{both}/float32", both, TensorProto.FLOAT16),
        *(_renamed(node, {scaled: both, logits: half}) for node in body.node),
        cast(half, logits, TensorProto.FLOAT),
        *_copies(graph, ending, ""),
    ]
    constants = [
        numpy_helper.from_array(np.zeros((1, height, width, channels), np.uint8), UINT8_INPUT),
        numpy_helper.from_array(np.array(255, np.float32), f"{_PREFIX}255"),
        *body.initializer,
        *_constants(graph, [*scaling, *ending]),
    ]
    levels = helper.make_tensor_value_info(
        UINT8_INPUT, TensorProto.UINT8, ["M", height, width, channels]
    )
    output = helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [None, classes])
    result = helper.make_model(
        helper.make_graph(nodes, "fungi_onnx", [images, levels], [output], constants),
        opset_imports=model.opset_import,
        ir_version=model.ir_version,
    )
    onnx.checker.check_model(result, full_check=True)
    return result


def rounded(model: ModelProto) -> ModelProto:
    """A float16 graph's numbers as a GPU has them, in float32, for processors without float16.

    Each value that is float16 in the model is calculated in float32, cast to float16 and back.
    onnxruntime removes the casts that it adds, never those that are in the file.

    Args:
        model: what `to_float16` gave.
    """
    result = ModelProto()
    result.CopyFrom(model)
    half = set(float16_values(model))
    for tensor in result.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT16:
            values = numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    nodes = []
    for node in result.graph.node:
        nodes.append(node)
        for number, name in enumerate(node.output):
            if name in half:
                exact, short = f"{name}/exact", f"{name}/float16"
                node.output[number] = exact
                nodes.append(helper.make_node("Cast", [exact], [short], to=TensorProto.FLOAT16))
                nodes.append(helper.make_node("Cast", [short], [name], to=TensorProto.FLOAT))
    del result.graph.node[:]
    result.graph.node.extend(nodes)
    return result


def scaling_of(graph: GraphProto) -> list[NodeProto]:
    """The nodes that ``images`` goes through first and that each add or multiply a constant."""
    constants = {tensor.name for tensor in graph.initializer}
    found: list[NodeProto] = []
    name = INPUT
    while True:
        users = [node for node in graph.node if name in node.input]
        if len(users) != 1 or users[0].op_type not in _SCALING:
            return found
        if sum(value in constants for value in users[0].input) != 1:
            return found
        if users[0].op_type == "Div" and users[0].input[0] in constants:
            return found
        found.append(users[0])
        (name,) = users[0].output


def float16_values(model: ModelProto) -> list[str]:
    """The names of the values between nodes that are float16."""
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    return [
        value.name
        for value in inferred.graph.value_info
        if value.type.tensor_type.elem_type == TensorProto.FLOAT16
    ]


def _ending(graph: GraphProto) -> list[NodeProto]:
    """The Softmax and what comes after it, such as a Reshape; nothing if that is not all."""
    constants = {tensor.name for tensor in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    found: list[NodeProto] = []
    name = OUTPUT
    while name in makers:
        found.insert(0, makers[name])
        if makers[name].op_type == "Softmax":
            return found
        if any(value not in constants for value in makers[name].input[1:]):
            break
        name = makers[name].input[0]
    return []


def _copies(graph: GraphProto, nodes: Sequence[NodeProto], prefix: str) -> list[NodeProto]:
    """The nodes again, their values with a prefix; constants are those of `_constants`."""
    constants = {tensor.name for tensor in graph.initializer}
    names = {
        name: f"{_PREFIX}{name}" if name in constants else f"{prefix}{name}"
        for node in nodes
        for name in (*node.input, *node.output)
    }
    return [_renamed(node, names) for node in nodes]


def _linear(
    graph: GraphProto, scaling: Sequence[NodeProto], prefix: str, name: str
) -> tuple[list[NodeProto], str]:
    """What the scaling multiplies, without what it adds, from ``name`` to the name returned."""
    nodes, names = [], {INPUT: name}
    for node in scaling:
        (value,) = (value for value in node.input if value in names)
        (result,) = node.output
        if node.op_type in ("Mul", "Div"):
            (copy,) = _copies(graph, [node], prefix)
            copy.input[list(node.input).index(value)] = names[value]
            names[result] = copy.output[0]
            nodes.append(copy)
        elif node.op_type == "Sub" and node.input[1] == value:  # a constant less the picture
            names[result] = f"{prefix}{result}"
            nodes.append(helper.make_node("Neg", [names[value]], [names[result]]))
        else:
            names[result] = names[value]
    return nodes, names[scaling[-1].output[0] if scaling else INPUT]


def _constants(graph: GraphProto, nodes: Sequence[NodeProto]) -> list[TensorProto]:
    """Those of the nodes, under names of their own: float16 nodes may have the same ones."""
    used = {name for node in nodes for name in node.input}
    found = []
    for tensor in graph.initializer:
        if tensor.name in used:
            copy = TensorProto()
            copy.CopyFrom(tensor)
            copy.name = f"{_PREFIX}{tensor.name}"
            found.append(copy)
    return found


def _renamed(node: NodeProto, names: dict[str, str]) -> NodeProto:
    """A copy of the node with other names for its inputs and outputs, and none of its own."""
    copy = NodeProto()
    copy.CopyFrom(node)
    copy.name = ""
    copy.input[:] = [names.get(name, name) for name in node.input]
    copy.output[:] = [names.get(name, name) for name in node.output]
    return copy
