"""TF Lite files: float and quantised, against the interpreter's own answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import tensorflow as tf
import tensorflow_hub as hub
import tf2onnx
from onnx import numpy_helper
from tf2onnx.handler import tfl_op
from tf2onnx.tflite_handlers.tfl_math import TflFullyConnectedOp

from fungi_onnx_export import convert, parity, pictures
from fungi_onnx_export.choice import choose
from fungi_onnx_export.errors import ModuleError
from fungi_onnx_export.lite import LiteModel
from fungi_onnx_export.lite_addition import Addition
from fungi_onnx_export.source import opened


def lite_converter(module, size: int):
    function = module.signatures["image_classifier"]
    traced = tf.function(
        lambda images: function(images=images)["image_classifier"],
        input_signature=[tf.TensorSpec([1, size, size, 3], tf.float32)],
    )
    return tf.lite.TFLiteConverter.from_concrete_functions([traced.get_concrete_function()], module)


@pytest.fixture(scope="module")
def lite_files(standin_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The narrow stand-in as float, uint8 and int8 (per channel) TF Lite files."""
    folder = tmp_path_factory.mktemp("lite")
    module = hub.load(str(standin_dir))
    files = {}
    for kind in ("float32", "uint8", "int8"):
        converter = lite_converter(module, 64)
        if kind != "float32":
            drawings = [pictures.render(k, 64)[None].astype(np.float32) / 255 for k in range(16)]
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = lambda: ([one] for one in drawings)  # noqa: B023
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.inference_input_type = converter.inference_output_type = getattr(tf, kind)
        files[kind] = folder / f"{kind}.tflite"
        files[kind].write_bytes(converter.convert())
    return files


@pytest.mark.parametrize("kind", ["uint8", "int8"])
def test_quantised_to_the_last_bit(lite_files: dict[str, Path], kind: str) -> None:
    images = np.concatenate(
        [
            pictures.parity_set(64, 64, 32),
            [pictures.vary(pictures.render(k % 16, 64), k) / np.float32(255) for k in range(96)],
        ]
    ).astype(np.float32)
    with opened(str(lite_files[kind])) as source:
        original = LiteModel(source)
        choice = choose(original)
        assert not choice.add_softmax
        (form, build), *others = convert.forms(original, choice).items()
        assert (form, others) == ("qdq", [])
        graph = build()
        expected = original.outputs("graph", images)[choice.candidate.output.key]
    assert "uint8" in {str(numpy_helper.to_array(t).dtype) for t in graph.graph.initializer}
    session = ort.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    (got,) = session.run(["probabilities"], {"images": images})
    np.testing.assert_array_equal(got, expected)
    assert len(np.unique(expected.argmax(axis=1))) > 8
    for count in (1, 3):
        (some,) = session.run(["probabilities"], {"images": images[:count]})
        np.testing.assert_array_equal(some, expected[:count])


def test_every_convolution_runs_in_integers(
    export, lite_files: dict[str, Path], tmp_path: Path
) -> None:
    """What onnxruntime makes of the int8 file: no convolution may be left in float."""
    target = tmp_path / "model.onnx"
    made = export(lite_files["int8"], target)
    assert made.parity.max_difference == 0
    assert made.precision == "8-bit integers (QDQ), as trained"
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    ort.InferenceSession(target, options, providers=["CPUExecutionProvider"])
    kinds = [node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node]
    assert kinds.count("QLinearConv") == 52
    assert "Conv" not in kinds
    assert target.stat().st_size < 420_000


def test_float(export, lite_files: dict[str, Path], tmp_path: Path) -> None:
    target = tmp_path / "model.onnx"
    made = export(lite_files["float32"], target)
    assert made.parity.max_difference <= 1e-4
    assert made.parity.reference.startswith("LiteRT")
    assert (made.source["format"], made.precision, made.name) == ("tflite", "float32", "float32")


def save_lite(path: Path, function) -> None:
    """A TF Lite file of a function of one 8x8 picture."""
    traced = tf.function(function, input_signature=[tf.TensorSpec([1, 8, 8, 3], tf.float32)])
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [traced.get_concrete_function()], tf.Module()
    )
    path.write_bytes(converter.convert())


KERNEL = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
BIAS = np.array([0, 1, 5, -3, 2], np.float32)


def connected_head(images):
    """A pooled picture into a fully connected layer whose bias decides everything.

    TensorFlow's converter leaves out the reshape in between: the layer's input has rank 4, as in
    the iNaturalist siblings.
    """
    pooled = tf.reshape(tf.nn.avg_pool2d(images, 8, 8, "VALID"), [1, 3])
    return tf.nn.softmax(tf.linalg.matmul(pooled, KERNEL, transpose_b=True) + BIAS)


def reshaped_head(images):
    """A convolution of 1x1 as the head, and a reshape to [1, 5] that nails the batch to one."""
    pooled = tf.nn.avg_pool2d(images, 8, 8, "VALID")
    return tf.nn.softmax(
        tf.reshape(tf.nn.conv2d(pooled, KERNEL.T[None, None] * 9, 1, "SAME"), [1, 5])
    )


def test_a_reshape_to_one_picture_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "head.tflite"
    save_lite(path, reshaped_head)
    images = np.random.default_rng(1).uniform(size=(7, 8, 8, 3)).astype(np.float32)
    with opened(str(path)) as source:
        original = LiteModel(source)
        choice = choose(original)
        expected = parity.probabilities_of(original, choice, images)
        graph = convert.forms(original, choice)["float"]()
    assert "Reshape" in {node.op_type for node in graph.graph.node}
    session = ort.InferenceSession(graph.SerializeToString())
    (got,) = session.run(None, {"images": images})
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_the_bias_behind_a_rank_4_input_is_kept(tmp_path: Path) -> None:
    """Plain tf2onnx loses it: the very same test on its own conversion must fail."""
    path = tmp_path / "head.tflite"
    save_lite(path, connected_head)
    images = np.random.default_rng(1).uniform(size=(9, 8, 8, 3)).astype(np.float32)
    with opened(str(path)) as source:
        original = LiteModel(source)
        choice = choose(original)
        expected = parity.probabilities_of(original, choice, images)
        assert expected[:, 2].min() > 0.5

        graph = convert.forms(original, choice)["float"]()
        session = ort.InferenceSession(graph.SerializeToString())
        (ours,) = session.run(None, {"images": images})
        np.testing.assert_allclose(ours, expected, atol=1e-5)

    tfl_op(["TFL_FULLY_CONNECTED"], tf_op="MatMul")(TflFullyConnectedOp)  # tf2onnx's own again
    plain, _ = tf2onnx.convert.from_tflite(str(path), opset=18)
    session = ort.InferenceSession(plain.SerializeToString())
    name = session.get_inputs()[0].name
    theirs = np.concatenate([session.run(None, {name: images[i : i + 1]})[0] for i in range(9)])
    assert np.abs(theirs - expected).max() > 0.3


def test_additions_agree_on_every_pair() -> None:
    """Scales of real residual additions: as they are they disagree somewhere, adjusted nowhere."""
    real = [
        (0.2804903984069824, 126, 0.24993416666984558, 119, 0.3059808015823364, 127),
        (0.20531466603279114, 141, 0.21807660162448883, 136, 0.25656723976135254, 138),
        (0.18392203748226166, 139, 0.1935267150402069, 125, 0.1974429041147232, 128),
        (0.116579569876194, 120, 0.18311135470867157, 121, 0.17915226519107819, 122),
    ]
    left, right = (side.ravel() for side in np.meshgrid(range(256), range(256), indexing="ij"))
    for a, zero_a, b, zero_b, total, zero in real:
        scales = np.float32(a), np.float32(b), np.float32(total)
        addition = Addition(scales[0], zero_a, scales[1], zero_b, scales[2], zero)
        wanted = addition.in_xnnpack()
        # Integers cannot be far from real arithmetic: half a step, and a hair.
        exact = (left - zero_a) * a / total + (right - zero_b) * b / total + zero
        assert np.abs(np.clip(exact, 0, 255) - wanted).max() < 0.501
        assert addition.disagreements(wanted) > 0
        assert addition.nearest().disagreements(wanted) == 0


def test_damaged_file(tmp_path: Path) -> None:
    path = tmp_path / "broken.tflite"
    path.write_bytes(b"\x1c\0\0\0TFL3" + bytes(200))
    with (
        opened(str(path)) as source,
        pytest.raises(ModuleError, match=r"broken.tflite: cannot be loaded"),
    ):
        LiteModel(source)
