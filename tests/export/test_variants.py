"""The int8 variant: what it is made of, what it promises, and when it is refused."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from fungi_onnx import FungiClassifier, ModelFormatError, image, selftest
from fungi_onnx.cpus import has_vnni
from fungi_onnx.model_file import ModelFile
from fungi_onnx_export import gptq, pictures, variants
from fungi_onnx_export.errors import ParityError

from . import unusable

TINY = Path(__file__).parents[1] / "data" / "tiny.onnx"


def quietly(*arguments: object) -> ModelFile:
    return variants.quantize(*arguments, say=lambda _: None)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The int8 variant of the tiny model."""
    path = tmp_path_factory.mktemp("variants") / "tiny.int8.onnx"
    quietly(TINY, path, None)
    return path


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hundred and eighty pictures in a folder."""
    folder = tmp_path_factory.mktemp("photos")
    for number in range(180):
        drawing = pictures.vary(pictures.render(number % 12, 60), number)
        (folder / f"{number:03}.jpg").write_bytes(pictures.to_jpeg(drawing, 90))
    return folder


def held_out() -> NDArray[np.float32]:
    """The pictures that judge, made again from what the docstrings say of them."""
    drawings = [pictures.vary(pictures.render(k % 12, 48 * 5 // 4), k) for k in range(256)]
    return np.stack([image.to_tensor(drawing, 48, 48) for drawing in drawings])


def test_the_variant_is_a_model_like_any_other(made: Path) -> None:
    before, after = FungiClassifier(TINY), FungiClassifier(made)
    assert after.model.precision.startswith("int8 (QDQ, per channel")
    assert ("reduced range" in after.model.precision) == (not has_vnni())
    assert after.labels == before.labels
    assert after.model.terms == before.model.terms
    assert after.model.source == before.model.source
    assert selftest.run(after).ok
    drawing = pictures.render(3, 320)
    assert after.classify(drawing).top[0].id == before.classify(drawing).top[0].id == 3


def test_the_parity_section_holds_what_is_measured_again(made: Path) -> None:
    before, after = FungiClassifier(TINY), FungiClassifier(made)
    parity, images = after.model.parity, held_out()
    expected, ours = before(images), after(images)
    assert parity.pictures == 256
    assert parity.top1_agreement == (expected.argmax(1) == ours.argmax(1)).mean() >= 0.98
    shared = [
        len(set(np.argsort(-a, kind="stable")[:5]) & set(np.argsort(-b, kind="stable")[:5])) / 5
        for a, b in zip(expected, ours, strict=True)
    ]
    assert parity.top5_agreement == pytest.approx(np.mean(shared))
    assert parity.top5_agreement >= 0.95
    assert parity.mean_difference == pytest.approx(np.abs(expected - ours).mean(), rel=1e-3)
    assert 0 < parity.max_difference == pytest.approx(np.abs(expected - ours).max(), rel=1e-3)
    assert parity.of_source == before.model.parity, "the proof that it stands on is not lost"
    assert "tiny.onnx, float32" in parity.reference
    assert hashlib.sha256(TINY.read_bytes()).hexdigest() in parity.reference


def test_weights_are_8_bits_and_the_convolutions_are_fused(made: Path, tmp_path: Path) -> None:
    model = onnx.load(made)
    stored = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    producers = {node.output[0]: node for node in model.graph.node}
    kept = int(model_precision(made).split("first ")[1].split()[0])
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    int8 = [
        node
        for node in convolutions
        if producers.get(node.input[1], node).op_type == "DequantizeLinear"
        and stored[producers[node.input[1]].input[0]] == TensorProto.INT8
    ]
    assert len(int8) == len(convolutions) - kept > 20
    scales = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    for node in int8:
        dequantise = producers[node.input[1]]
        weights = scales[dequantise.input[0]]
        assert scales[dequantise.input[1]].shape == (len(weights),), "a scale for each channel"
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    ort.InferenceSession(str(made), options, providers=["CPUExecutionProvider"])
    kinds = [node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node]
    # The tiny model's first residual makes onnxruntime quantise one more by itself.
    assert len(int8) <= kinds.count("QLinearConv") <= len(int8) + 1
    assert kinds.count("QGemm") + kinds.count("MatMulIntegerToFloat") == 1


def model_precision(path: Path) -> str:
    return FungiClassifier(path).model.precision


def test_given_pictures_are_for_one_use_each(photos: Path, tmp_path: Path) -> None:
    sets = variants._given(photos, FungiClassifier(TINY))
    choosing, judging = (np.concatenate(list(part())) for part in (sets.choosing, sets.held_out))
    assert (len(sets.calibration), len(choosing), len(judging)) == (60, 60, 60)
    every = [picture.tobytes() for picture in [*sets.calibration, *choosing, *judging]]
    assert len(set(every)) == 180
    names = sorted(photos.iterdir())
    assert every == [image.to_tensor(name, 48, 48).tobytes() for name in names]
    made = quietly(TINY, tmp_path / "given.onnx", photos)
    assert made.parity.pictures == 60
    assert made.parity.picture_set == ("of 180 pictures given 60 calibrate, 60 choose, 60 judge")


def test_own_drawings_are_for_one_use_each() -> None:
    sets = variants._own(FungiClassifier(TINY))
    judging = np.concatenate(list(sets.held_out()))
    np.testing.assert_array_equal(judging, held_out())
    every = [*sets.calibration, *np.concatenate(list(sets.choosing())), *judging]
    assert len({picture.tobytes() for picture in every}) == len(every) == 192 + 128 + 256


def test_below_the_gate_nothing_is_written(tmp_path: Path) -> None:
    """On noise all answers are near ties, which no int8 graph keeps."""
    folder = tmp_path / "noise"
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(150):
        noise = random.integers(0, 256, (48, 48, 3), np.uint8)
        cv2.imwrite(str(folder / f"{number}.png"), noise)
    target = tmp_path / "int8.onnx"
    with pytest.raises(ParityError, match=r"reaches top-1 [\d.]+%, top-5 [\d.]+% of the float"):
        quietly(TINY, target, folder)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["noise"]


def test_it_is_the_same_each_time(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def graph(path: Path) -> bytes:
        return onnx.load(path).graph.SerializeToString(deterministic=True)

    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    again = tmp_path / "tiny.int8.onnx"
    quietly(TINY, again, None)
    assert graph(again) == graph(made)
    assert FungiClassifier(again).model.created == "2023-11-14T22:13:20+00:00"


@pytest.mark.parametrize("what", unusable.NAMES)
def test_what_cannot_be_done_is_told(what: str, tmp_path: Path) -> None:
    model, target, folder, error, text = unusable.cases(TINY, tmp_path, ".int8.onnx", 150)[what]
    with pytest.raises(error, match=text):
        quietly(model, target, folder)
    assert not (tmp_path / "out.onnx").exists()


def test_a_variant_is_not_quantised_again(made: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelFormatError, match="is int8 .*: only a float32 model can be quantised"):
        quietly(made, tmp_path / "again.onnx", None)


# --- GPTQ


def eight_bits(weights: Any, second: Any, scales: Any) -> NDArray[np.float64]:
    """Codes from -127 to 127."""

    def nearest(values: Any) -> Any:
        return np.clip(np.rint(values / scales), -127, 127) * scales

    return np.rint(gptq._rounded(weights, second, nearest) / scales[..., np.newaxis])


def test_rounding_keeps_the_outputs_nearer_than_rounding_to_the_nearest() -> None:
    random = np.random.default_rng(0)
    mixing = random.normal(size=(40, 40))
    inputs = random.normal(size=(2, 500, 40)) @ mixing  # correlated, as real ones are
    second = np.swapaxes(inputs, 1, 2) @ inputs
    weights = random.normal(size=(2, 8, 40))
    scales = np.abs(weights).max(axis=2) / 127 * 8  # coarse
    codes = eight_bits(weights, second, scales)

    def error(rounded: NDArray[np.float64]) -> NDArray[np.float64]:
        difference = (rounded * scales[..., np.newaxis] - weights) @ np.swapaxes(inputs, 1, 2)
        return np.square(difference).sum(axis=(1, 2))

    nearest = np.clip(np.rint(weights / scales[..., np.newaxis]), -127, 127)
    assert (error(codes) < 0.5 * error(nearest)).all()
    assert np.abs(codes * scales[..., np.newaxis] - weights).max() < 6 * scales.max()
    for group in range(2):  # groups have nothing to do with each other
        alone = eight_bits(weights[[group]], second[[group]], scales[[group]])
        np.testing.assert_array_equal(codes[[group]], alone)


def test_without_correlation_it_is_rounding_to_the_nearest() -> None:
    weights = np.random.default_rng(1).normal(size=(1, 5, 130))
    scales = np.abs(weights).max(axis=2) / 127
    codes = eight_bits(weights, np.eye(130)[np.newaxis], scales)
    np.testing.assert_array_equal(codes, np.rint(weights / scales[..., np.newaxis]))


@pytest.mark.parametrize(
    ("group", "kernel", "strides", "padding"),
    [
        (1, 1, [1, 1], {"pads": [0, 0, 0, 0]}),
        (1, 3, [2, 2], {"pads": [0, 0, 1, 1]}),
        (4, 3, [1, 1], {"pads": [1, 1, 1, 1]}),
        (2, 3, [2, 1], {"auto_pad": "SAME_UPPER"}),
    ],
)
def test_moments_are_those_of_what_a_convolution_multiplies(
    group: int, kernel: int, strides: list[int], padding: dict[str, object]
) -> None:
    """The sum of squares of its output is w H wᵀ, whatever onnxruntime does to get there."""
    random = np.random.default_rng(2)
    weights = random.normal(size=(8, 4 // group, kernel, kernel)).astype(np.float32)
    node = helper.make_node(
        "Conv", ["images", "w"], ["y"], name="conv", group=group, strides=strides, **padding
    )
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [None, 4, 9, 7])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    images = random.normal(size=(3, 4, 9, 7)).astype(np.float32)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (output,) = session.run(None, {"images": images})
    found = gptq.moments(model, [{"images": images[:2]}, {"images": images[2:]}])["conv"]
    rows = weights.reshape(group, 8 // group, -1).astype(np.float64)
    power = np.einsum("gok,gkl,gol->go", rows, found, rows).ravel()
    np.testing.assert_allclose(power, np.square(output).sum(axis=(0, 2, 3)), rtol=1e-4)


def test_float16_weights_make_the_error_of_a_float16_bias_good() -> None:
    random = np.random.default_rng(3)
    weights = random.normal(size=(8, 16, 1, 1)).astype(np.float32)
    bias = random.uniform(16, 32, 8).astype(np.float32)  # float16 has steps of 1/64 there
    nodes = [
        helper.make_node("Conv", ["images", "w", "b"], ["y"], name="conv"),
        helper.make_node("ReduceMean", ["y"], ["m"], name="mean", axes=[2, 3], keepdims=0),
        helper.make_node("MatMul", ["m", "h"], ["z"], name="head"),
    ]
    head = random.normal(size=(8, 5)).astype(np.float32)
    arrays = {"w": weights, "b": bias, "h": head}
    graph = helper.make_graph(
        nodes,
        "two",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [None, 16, 9, 7])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("y", "z")],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    images = random.uniform(0, 6, (4, 16, 9, 7)).astype(np.float32)  # never negative, as a ReLU6's

    def outputs(of: onnx.ModelProto) -> list[NDArray[np.float32]]:
        session = ort.InferenceSession(of.SerializeToString(), providers=["CPUExecutionProvider"])
        return session.run(None, {"images": images})

    found = gptq.moments(model, [{"images": images}], biases=True)
    assert found["conv"].shape == (1, 17, 17)
    assert found["head"].shape == (1, 8, 8)
    rounded = gptq.round_to_float16(model, found)
    nearest = onnx.ModelProto.FromString(model.SerializeToString())
    for ours, theirs in zip(rounded.graph.initializer, nearest.graph.initializer, strict=True):
        array = numpy_helper.to_array(ours)
        np.testing.assert_array_equal(array, array.astype(np.float16))  # all of them are float16
        halved = numpy_helper.to_array(theirs).astype(np.float16).astype(np.float32)
        theirs.CopyFrom(numpy_helper.from_array(halved, theirs.name))
    exact = outputs(model)
    for right, ours, theirs in zip(exact, outputs(rounded), outputs(nearest), strict=True):
        assert np.square(ours - right).mean() < 0.25 * np.square(theirs - right).mean()


def test_the_command(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from fungi_onnx_export import cli

    target = tmp_path / "command.onnx"
    assert cli.main(["quantize", str(TINY), "-o", str(target)]) == 0
    out = capsys.readouterr()
    assert out.out.startswith(f"{target}: stand-in for fungi_mobile_V1/2")
    assert "convolutions float32), 0." in out.out
    assert "192 drawings calibrate, 128 choose, 256 judge" in out.err
    assert onnx.load(target).graph == onnx.load(made).graph
    assert cli.main(["quantize", str(target), "-o", str(tmp_path / "x.onnx")]) == 3
    assert "only a float32 model can be quantised" in capsys.readouterr().err
    assert cli.main(["quantize", str(TINY), "-o", str(tmp_path)]) == 1
    assert "is a folder" in capsys.readouterr().err
