"""TensorFlow → ONNX: the contract's form, and TensorFlow's own numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import tensorflow as tf
import tf2onnx

from fungi_onnx_export import convert, parity, pictures, standin
from fungi_onnx_export.choice import choose
from fungi_onnx_export.errors import ConversionError
from fungi_onnx_export.module import Module
from fungi_onnx_export.source import opened


def converted(source: Path, form: str | None = None, **wishes):
    """(original, choice, ONNX graph) of a module."""
    with opened(str(source)) as module:
        original = Module(module)
        choice = choose(original, **wishes)
        built = convert.forms(original, choice)
        return original, choice, built[form or next(iter(built))]()


def answers(graph: onnx.ModelProto, images: np.ndarray) -> np.ndarray:
    session = ort.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(["probabilities"], {"images": images})[0]


def shape_of(tensor: onnx.ValueInfoProto) -> list[str | int]:
    return [size.dim_param or size.dim_value for size in tensor.type.tensor_type.shape.dim]


def check_contract(graph: onnx.ModelProto, size: int, classes: int) -> None:
    onnx.checker.check_model(graph, full_check=True)
    (image,), (output,) = graph.graph.input, graph.graph.output
    assert (image.name, shape_of(image)) == ("images", ["N", size, size, 3])
    assert (output.name, shape_of(output)) == ("probabilities", ["N", classes])


def test_the_standin(standin_dir: Path) -> None:
    original, choice, graph = converted(standin_dir)
    check_contract(graph, 64, 16)
    assert "BatchNormalization" not in {node.op_type for node in graph.graph.node}
    images = pictures.parity_set(64, 64, 32)
    expected = parity.probabilities_of(original, choice, images)
    np.testing.assert_allclose(answers(graph, images), expected, atol=1e-4)
    for count in (1, 5):
        np.testing.assert_allclose(answers(graph, images[:count]), expected[:count], atol=1e-4)


def test_reference_variables_as_modules_of_2018_have(tmp_path: Path) -> None:
    folder = tmp_path / "old"
    standin.build(
        folder, classes=4, size=32, width=0.1, resource_variables=False, say=lambda _: None
    )
    original, choice, graph = converted(folder)
    check_contract(graph, 32, 4)
    images = pictures.parity_set(32, 32, 8)
    expected = parity.probabilities_of(original, choice, images)
    assert expected.max() > 0.5
    np.testing.assert_allclose(answers(graph, images), expected, atol=1e-4)


class Small(tf.Module):
    """A SavedModel of one convolution, with what the test asks of it."""

    def __init__(self, function, shape) -> None:
        super().__init__()
        random = np.random.default_rng(0)
        self.kernel = tf.Variable(random.normal(size=(3, 3, 3, 5)).astype(np.float32))
        self.function = tf.function(function, input_signature=[tf.TensorSpec(shape, tf.float32)])

    def save(self, folder: Path) -> Path:
        signatures = {"serving_default": self.function.get_concrete_function()}
        tf.saved_model.save(self, str(folder), signatures=signatures)
        return folder


def logits(module_of, images):
    return tf.reduce_mean(tf.nn.conv2d(images, module_of().kernel, 1, "SAME"), [1, 2]) * 9


def saved(folder: Path, function, shape) -> Path:
    box: list[Small] = []
    module = Small.__new__(Small)
    box.append(module)
    Small.__init__(
        module, lambda images: {"scores": function(logits(lambda: box[0], images))}, shape
    )
    return module.save(folder)


def test_a_softmax_is_added_to_logits(tmp_path: Path) -> None:
    folder = saved(tmp_path / "m", lambda values: values, [None, 20, 24, 3])
    original, choice, graph = converted(folder)
    assert choice.add_softmax
    images = pictures.parity_set(20, 24, 16)
    raw = original.outputs("serving_default", images)["scores"].astype(np.float64)
    expected = np.exp(raw) / np.exp(raw).sum(axis=1, keepdims=True)
    got = answers(graph, images)
    np.testing.assert_allclose(got, expected, atol=1e-5)
    np.testing.assert_allclose(got.sum(axis=1), 1, atol=1e-6)


def test_a_fixed_batch_is_opened(tmp_path: Path) -> None:
    folder = saved(tmp_path / "m", tf.nn.softmax, [2, 16, 16, 3])
    original, choice, graph = converted(folder)
    assert shape_of(graph.graph.input[0])[0] == "N"
    images = pictures.parity_set(16, 16, 5)
    expected = parity.probabilities_of(original, choice, images)
    assert expected.shape == (5, 5)
    for count in (1, 3, 5):
        np.testing.assert_allclose(answers(graph, images[:count]), expected[:count], atol=1e-6)


def test_an_open_size_is_closed(tmp_path: Path) -> None:
    folder = saved(tmp_path / "m", tf.nn.softmax, [None, None, None, 3])
    _, _, graph = converted(folder, size=(17, 23))
    assert shape_of(graph.graph.input[0]) == ["N", 17, 23, 3]


def test_an_operation_without_onnx_form_is_named(tmp_path: Path) -> None:
    def strange(values):
        return tf.nn.softmax(tf.math.bessel_i0e(values))

    folder = saved(tmp_path / "m", strange, [None, 16, 16, 3])
    with pytest.raises(ConversionError, match="no ONNX form for the operations BesselI0e"):
        converted(folder)


RANGES = [(0.0, 6.0), (-1.0, 1.0), (-0.37, 2.9), (0.01, 3.0), (-5.0, -0.2), (-2.001, 1.337)]


@pytest.mark.parametrize("narrow", [False, True])
@pytest.mark.parametrize(("low", "high"), RANGES)
@pytest.mark.parametrize("bits", [4, 8])
def test_fake_quant_is_emulated_to_the_last_bit(
    low: float, high: float, bits: int, narrow: bool
) -> None:
    """Against TensorFlow's own operation, on its rounding borders too."""
    kind = {"num_bits": bits, "narrow_range": narrow}
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None], name="x")
        limits = [tf.constant(low), tf.constant(high)]
        y = tf.quantization.fake_quant_with_min_max_vars(x, *limits, **kind)
        tf.identity(y, name="y")
    model, _ = tf2onnx.convert.from_graph_def(
        graph.as_graph_def(),
        input_names=["x:0"],
        output_names=["y:0"],
        opset=convert.OPSET,
        custom_op_handlers={"FakeQuantWithMinMaxVars": (convert._emulate_fake_quant, [])},
    )
    step = (high - low) / (2**bits - 1 - narrow)
    borders = np.arange(low - 3 * step, high + 3 * step, step / 2)
    values = np.concatenate(
        [borders, np.nextafter(np.float32(borders), np.float32(9)), np.linspace(low, high, 9973)]
    ).astype(np.float32)
    expected = tf.quantization.fake_quant_with_min_max_vars(values, low, high, **kind).numpy()
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (got,) = session.run(None, {"x:0": values})
    np.testing.assert_array_equal(got, expected)
    assert len(np.unique(got)) > 2 ** (bits - 1)


def save_fake_quantised(folder: Path, bits: int) -> Path:
    """A SavedModel of three convolutions, trained (as it were) with fake quantisation."""

    def quantise(values, low, high, bits=8):
        return tf.quantization.fake_quant_with_min_max_vars(values, low, high, num_bits=bits)

    class Quantised(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            random = np.random.default_rng(1)
            shapes = [(3, 3, 3, 16), (3, 3, 16, 24), (3, 3, 24, 24)]
            self.kernels = [
                tf.Variable((random.normal(size=shape) / 5).astype(np.float32)) for shape in shapes
            ]
            self.head = tf.Variable(random.normal(size=(24, 7)).astype(np.float32) * 3)

        @tf.function(input_signature=[tf.TensorSpec([None, 40, 40, 3], tf.float32)])
        def call(self, images):
            x = quantise(images, 0.0, 1.0)
            for kernel in self.kernels:
                x = tf.nn.conv2d(x, quantise(kernel, -0.7, 0.7), 2, "SAME")
                x = quantise(tf.nn.relu6(x), 0.0, 6.0, bits)
            return {"logits": tf.nn.softmax(tf.reduce_mean(x, [1, 2]) @ self.head)}

    module = Quantised()
    tf.saved_model.save(module, str(folder), signatures=module.call.get_concrete_function())
    return folder


def test_a_fake_quantised_module_passes_its_noise_gate(export, tmp_path: Path) -> None:
    """Two forms are tried, the nearer is taken, both are recorded."""
    said: list[str] = []
    folder = save_fake_quantised(tmp_path / "quantised", bits=8)
    made = export(folder, tmp_path / "m.onnx", say=said.append)
    assert made.parity.noise_floor is not None
    assert made.parity.mean_max_difference <= 2 * made.parity.noise_floor
    assert set(made.parity.forms) == {"fake-quant in float", "qdq"}
    assert made.parity.mean_max_difference == min(made.parity.forms.values())
    assert any("'qdq'" in line for line in said)


def test_a_form_that_cannot_be_is_passed_over(export, tmp_path: Path) -> None:
    """QDQ has no 4 bits; the emulation does not mind."""
    said: list[str] = []
    folder = save_fake_quantised(tmp_path / "quantised", bits=4)
    made = export(folder, tmp_path / "m.onnx", say=said.append)
    assert made.precision == "float32 (fake-quant in float)"
    assert made.parity.forms == {}
    assert (
        "the form 'qdq' is not possible: tf2onnx has no ONNX form for the operations"
        " FakeQuantWithMinMaxVars" in said
    )
