"""A TF1 Hub module or a SavedModel as an original, run by TensorFlow itself."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_hub as hub
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from tensorflow.core.protobuf import saved_model_pb2

from fungi_onnx_export import attachments
from fungi_onnx_export.errors import ModuleError
from fungi_onnx_export.lite import LiteModel
from fungi_onnx_export.original import Facts, Images, Original, Signature, Tensor, batches
from fungi_onnx_export.source import Source


def open_original(source: Source) -> Original:
    """Reads what a local module declares; TensorFlow loads its weights when it is first run.

    Raises:
        ModuleError: it is damaged or incomplete.
    """
    return LiteModel(source) if source.format == "tflite" else Module(source)


class Module:
    """A module in TF1 Hub format, or a SavedModel with signatures."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.tags = [] if source.format == "tf1-hub" else ["serve"]
        graph = self._read_meta_graph()
        self.has_functions = bool(graph.graph_def.library.function)
        operations = {node.op for node in graph.graph_def.node}
        for function in graph.graph_def.library.function:
            operations |= {node.op for node in function.node_def}
        if operations & {"VarHandleOp", "VariableV2"} and not (source.path / "variables").is_dir():
            raise ModuleError(
                f"{source.location}: the folder variables/ with the weights is missing, and the"
                " graph is not a frozen one"
            )
        image_size, standin = self._read_attachments(graph)
        self.facts = Facts(
            signatures=tuple(
                Signature(name, _tensors(signature.inputs), _tensors(signature.outputs))
                for name, signature in sorted(graph.signature_def.items())
                if not name.startswith("__")  # TensorFlow's own: __saved_model_init_op
            ),
            reference=f"TensorFlow {tf.__version__}",
            image_size=image_size,
            standin=standin,
            noisy=any(operation.startswith("FakeQuant") for operation in operations),
        )

    def _read_meta_graph(self) -> Any:
        saved = saved_model_pb2.SavedModel()
        try:
            saved.ParseFromString((self.source.path / "saved_model.pb").read_bytes())
        except DecodeError:
            raise ModuleError(f"{self.source.location}: saved_model.pb is damaged") from None
        for graph in saved.meta_graphs:
            if set(graph.meta_info_def.tags) == set(self.tags):
                return graph
        tags = [sorted(graph.meta_info_def.tags) for graph in saved.meta_graphs]
        raise ModuleError(
            f"{self.source.location}: has no graph with the tags {self.tags}, only {tags}"
        )

    def _read_attachments(self, graph: Any) -> tuple[tuple[int, int] | None, str | None]:
        """The expected image size and what a stand-in says of itself, where they are there."""
        try:
            found = dict(
                attachments.decode(value)
                for value in graph.collection_def[attachments.COLLECTION].bytes_list.value
            )
            note = found.get(attachments.STANDIN)
            standin = None if note is None else note.decode()
            info = found.get(attachments.IMAGE_MODULE_INFO)
            size = (0, 0) if info is None else attachments.parse_image_module_info(info)
        except ValueError as error:
            raise ModuleError(
                f"{self.source.location}: an attachment in saved_model.pb is damaged: {error}"
            ) from None
        return size if all(size) else None, standin

    def outputs(self, signature: str, images: Images) -> dict[str, NDArray[np.float32]]:
        """Runs the module. See `Original.outputs`."""
        function = self.function(signature)
        declared = next(entry for entry in self.facts.signatures if entry.name == signature)
        image = next(tensor for tensor in declared.inputs if tensor.takes_images)
        keys = [
            tensor.key
            for tensor in declared.outputs
            if tensor.gives_vectors and tf.dtypes.as_dtype(tensor.dtype).is_floating
        ]
        assert image.shape is not None
        parts: dict[str, list[NDArray[np.float32]]] = {key: [] for key in keys}
        shown = 0
        try:
            for part in batches(images, image.shape[0]):
                answer = function(**{image.key: tf.constant(part)})
                shown += len(part)
                for key in keys:
                    parts[key].append(answer[key].numpy().astype(np.float32))
        except (ValueError, TypeError, tf.errors.OpError) as error:
            height, width = images.shape[1:3]
            raise ModuleError(
                f"{self.source.location}: the signature {signature} does not run on pictures of"
                f" {height}x{width}: {_brief(error)}"
            ) from None
        joined = {key: np.concatenate(parts[key]) for key in keys}
        # What is no vector a picture after all (a constant, say) is none of the answers.
        return {key: rows[: len(images)] for key, rows in joined.items() if len(rows) == shown}

    def step(self, signature: str, key: str) -> float:  # noqa: ARG002
        """A float output has no step."""
        return 0.0

    def function(self, signature: str) -> Any:
        """The signature as TensorFlow's concrete function."""
        return self._loaded.signatures[signature]

    @cached_property
    def _loaded(self) -> Any:
        try:
            return hub.load(str(self.source.path), tags=self.tags)
        except Exception as error:  # in a damaged graph TensorFlow stumbles over almost anything
            raise ModuleError(
                f"{self.source.location}: cannot be loaded: {_brief(error)}"
            ) from None


def _tensors(infos: Any) -> tuple[Tensor, ...]:
    tensors = []
    for key, info in sorted(infos.items()):
        dims = info.tensor_shape.dim
        shape = tuple(None if dim.size < 0 else int(dim.size) for dim in dims)
        known = not info.tensor_shape.unknown_rank
        dtype = tf.dtypes.as_dtype(info.dtype).name
        tensors.append(Tensor(key, dtype, shape if known else None))
    return tuple(tensors)


def _brief(error: Exception) -> str:
    """What went wrong, without TensorFlow's account of where in the graph and in the program."""
    text = error.message if isinstance(error, tf.errors.OpError) else str(error)
    places = ("Graph execution error", "Detected at node", 'File "', "[[", "<stack traces")
    lines = [line.strip() for line in text.splitlines()]
    said = " ".join(line for line in lines if line and not line.startswith(places))
    return said[:500] or type(error).__name__
