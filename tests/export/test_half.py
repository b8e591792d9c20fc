"""The float16 variant: what of it is float16, its second input, its proof, and its refusals."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from fungi_onnx import FungiClassifier, ModelFormatError, image, selftest
from fungi_onnx.image import read_rgb, to_tensor
from fungi_onnx.model_file import ModelFile, Probe
from fungi_onnx_export import describe, float16, half, pictures, variants
from fungi_onnx_export.errors import ParityError
from fungi_onnx_export.pipeline import Wishes

from . import unusable

TINY = Path(__file__).parents[1] / "data" / "tiny.onnx"
REAL = Path(__file__).resolve().parents[2].parent / "shared" / "real"
BLACK = np.zeros((1, 48, 48, 3), np.float32)
PRECISION = "float16 (input scaling and softmax float32)"

Rows = NDArray[np.float32]


def quietly(*arguments: object) -> ModelFile:
    return half.convert(*arguments, say=lambda _: None)  # type: ignore[arg-type]


def with_logits(times: float, path: Path) -> Path:
    """The tiny model with other logits, and golden probes that are right for it."""
    model = onnx.load(TINY)
    makers = {name: node for node in model.graph.node for name in node.output}
    softmax = makers["probabilities"]
    add = makers[softmax.input[0]]
    names = {*add.input, *makers[add.input[0]].input}
    for tensor in model.graph.initializer:
        if tensor.name in names:
            values = (numpy_helper.to_array(tensor) * times).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    description = FungiClassifier(TINY).model
    describe.write(model, description, path)
    probes = description.probes
    images = np.stack([to_tensor(read_rgb(probe.png), 48, 48) for probe in probes.pictures])
    answers = zip(probes.pictures, FungiClassifier(path)(images), strict=True)
    own = tuple(
        Probe(
            probe.name,
            probe.png,
            describe.best_five(row),
            selftest.log_probabilities(row).astype(np.float16),
        )
        for probe, row in answers
    )
    describe.write(model, replace(description, probes=replace(probes, pictures=own)), path)
    return path


@pytest.fixture(scope="module")
def mild(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model less sure of itself: as it is, untrained, it is just above the gate."""
    return with_logits(0.2, tmp_path_factory.mktemp("half") / "mild.onnx")


@pytest.fixture(scope="module")
def made(mild: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The float16 variant of that."""
    path = tmp_path_factory.mktemp("half") / "mild.fp16.onnx"
    quietly(mild, path, None)
    return path


def session(model: ModelProto | Path) -> Any:
    """With onnxruntime's defaults."""
    source = str(model) if isinstance(model, Path) else model.SerializeToString()
    return ort.InferenceSession(source, providers=["CPUExecutionProvider"])


def rows(model: ModelProto | Path, **feeds: NDArray[Any]) -> Rows:
    return np.asarray(session(model).run(["probabilities"], feeds)[0])


def drawings(count: int, size: int = 48, classes: int = 12) -> Rows:
    """The pictures that judge, made again from what the docstrings say of them."""
    large = size * 5 // 4
    varied = [pictures.vary(pictures.render(k % classes, large), k) for k in range(count)]
    return np.stack([to_tensor(picture, size, size) for picture in varied])


def types(model: ModelProto) -> dict[str, int]:
    """The element type of each value and constant."""
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    found = {tensor.name: tensor.data_type for tensor in graph.initializer}
    for value in (*graph.input, *graph.output, *graph.value_info):
        found[value.name] = value.type.tensor_type.elem_type
    return found


# --- The file


def test_the_variant_is_a_model_like_any_other(mild: Path, made: Path) -> None:
    before, after = FungiClassifier(mild), FungiClassifier(made)
    assert after.model.precision == PRECISION
    assert after.model.uint8_input
    assert (after.labels, after.model.terms) == (before.labels, before.model.terms)
    assert after.model.source == before.model.source
    assert made.stat().st_size < 0.7 * mild.stat().st_size
    drawing = pictures.render(3, 320)
    assert after.prepare(drawing).dtype == np.uint8
    assert after.classify(drawing).top[0].id == before.classify(drawing).top[0].id == 3
    report = selftest.run(after)
    assert report.ok
    assert [result.name for result in report.results][1].endswith("in 8 bits")


def test_golden_probes_keep_the_originals_answers_and_get_room(mild: Path, made: Path) -> None:
    before, after = (FungiClassifier(path).model.probes for path in (mild, made))
    for old, new in zip(before.pictures, after.pictures, strict=True):
        assert (new.png, new.top) == (old.png, old.top)
        np.testing.assert_array_equal(new.log_probabilities, old.log_probabilities)
    # On the CPU nearly all of the rounding is left out, so that less is seen than was allowed for.
    seen = max(result.difference for result in selftest.run(FungiClassifier(made)).results)
    for kind in ("cpu", "cuda"):
        assert max(1e-2, 1.5 * seen) <= after.tolerance[kind] < 0.05
        assert after.log_tolerance[kind] >= before.log_tolerance[kind]
    assert after.log_tolerance["cuda"] >= 0.5


def test_the_room_is_a_hundredth_or_some_times_what_was_seen(tmp_path: Path) -> None:
    classifier = FungiClassifier(TINY)
    other = FungiClassifier(with_logits(2, tmp_path / "other.onnx"))

    def of(model: FungiClassifier) -> Callable[[Any], Rows]:
        return lambda fed: model(fed if fed.dtype == np.float32 else fed / np.float32(255))

    # Not rounded to whole levels, the tiny model's own answers are as near as they can be.
    tensors = [to_tensor(read_rgb(p.png), 48, 48) for p in classifier.model.probes.pictures]
    least = half._probes(classifier, lambda _: classifier(np.stack(tensors)))
    assert least.tolerance == {"cpu": 1e-2, "cuda": 1e-2}
    assert least.log_tolerance == classifier.model.probes.log_tolerance
    found = half._probes(classifier, of(other))
    probes = classifier.model.probes
    seen, logs = 0.0, 0.0
    for probe in probes.pictures:
        tensor = to_tensor(read_rgb(probe.png), 48, 48)
        for fed in (tensor, np.rint(tensor * 255).astype(np.uint8)):
            (row,) = of(other)(fed[np.newaxis])
            seen = max([seen, *(abs(float(row[i]) - p) for i, p in probe.top)])
            assert probe.log_probabilities is not None
            logs = max(logs, np.abs(np.log(row) - probe.log_probabilities).max())
    assert found.tolerance == pytest.approx({"cpu": 3 * seen, "cuda": 3 * seen}, rel=1e-3)
    assert found.log_tolerance == pytest.approx({"cpu": 4 * logs, "cuda": 8 * logs}, rel=1e-3)


def test_the_parity_section_holds_what_is_measured_again(mild: Path, made: Path) -> None:
    before, parity = FungiClassifier(mild), FungiClassifier(made).model.parity
    images = drawings(256)
    levels = np.rint(images * 255).astype(np.uint8)
    # As it is judged: another order of sums is rounded otherwise, and moves 0.0052 to 0.0055.
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    judged = ort.InferenceSession(float16.rounded(onnx.load(made)).SerializeToString(), options)
    (floats,) = judged.run(None, {"images": images})
    (whole,) = judged.run(None, {"images": BLACK, "pictures": levels})
    expected = before(images)
    worse = max(np.abs(floats - expected).max(), np.abs(whole - expected).max())
    assert parity.pictures == 256
    assert parity.picture_set == "256 drawings, fed as pictures (8 bits)"
    assert parity.max_difference == pytest.approx(worse, rel=1e-3)
    assert parity.mean_difference == pytest.approx(np.abs(whole - expected).mean(), rel=1e-3)
    assert parity.top1_agreement == (whole.argmax(1) == expected.argmax(1)).mean() >= 0.995
    assert np.abs(floats - expected).max() <= 1e-2
    assert np.abs(whole - before(levels / np.float32(255))).max() <= 1e-2
    assert parity.of_source == before.model.parity, "the proof that it stands on is not lost"
    assert hashlib.sha256(mild.read_bytes()).hexdigest() in parity.reference
    # And the file itself, where its rounding is left out, is no further away.
    assert np.abs(rows(made, images=images) - expected).max() <= 1e-2


def test_its_weights_are_not_rounded_to_the_nearest(mild: Path, made: Path) -> None:
    """But up or down, to one of float16's two values or near, so that answers stay nearer."""
    original, nearest = onnx.load(mild), float16.to_float16(onnx.load(mild))
    before, after, near = (
        {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
        for model in (original, onnx.load(made), nearest)
    )
    weights = {node.input[1] for node in original.graph.node if node.op_type == "Conv"}
    assert len(weights) == 52
    moved = {name: (after[name] != near[name]).mean() for name in weights}
    assert min(moved.values()) > 0.02
    for name in weights:
        np.testing.assert_allclose(after[name], before[name], rtol=0.02, atol=0.01)
    images = drawings(128)
    expected = rows(original, images=images)

    def differs(model: ModelProto) -> float:
        found = rows(float16.rounded(model), images=images)
        return float(np.abs(found - expected).mean())

    assert differs(onnx.load(made)) < differs(nearest)


def test_it_is_the_same_each_time(
    mild: Path, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    again = tmp_path / "again.onnx"
    quietly(mild, again, None)
    assert onnx.load(again).graph == onnx.load(made).graph
    assert FungiClassifier(again).model.created == "2023-11-14T22:13:20+00:00"


# --- The graph


def test_what_is_float16_and_what_is_not(mild: Path, made: Path) -> None:
    model = onnx.load(made)
    kinds = types(model)
    nodes = list(model.graph.node)
    for node in nodes:
        values = {kinds[name] for name in (*node.input, *node.output)}
        match node.op_type:
            case "Mul" | "Sub" | "Div" | "Softmax":
                assert values == {TensorProto.FLOAT}
            case "Conv" | "Clip" | "MatMul" | "Transpose":
                assert values == {TensorProto.FLOAT16}
            case "Add" if node.input[0] == "module/sub:0":  # of both inputs
                assert values == {TensorProto.FLOAT}
            case "Add":  # residuals, and the bias of the logits
                assert values == {TensorProto.FLOAT16}
    assert [node.op_type for node in nodes].count("Conv") == 52
    assert [node.op_type for node in nodes].count("Mul") == 2, "the scaling, for each input"
    assert [node.op_type for node in nodes].count("Sub") == 1, "which is added once"
    # 8 bits to float, the scaled input to float16, the logits back: no round trips.
    assert [node.op_type for node in nodes].count("Cast") == 3
    cast = {node.output[0] for node in nodes if node.op_type == "Cast"}
    assert not any(node.op_type == "Cast" and node.input[0] in cast for node in nodes)
    # What scales is as exact as it was.
    scaling = {"module/mul/y:0", "module/sub/y:0"}
    before = {tensor.name: tensor for tensor in onnx.load(mild).graph.initializer}
    after = {tensor.name: tensor for tensor in model.graph.initializer}
    for name in scaling:
        np.testing.assert_array_equal(
            numpy_helper.to_array(after[f"fungi_onnx/{name}"]), numpy_helper.to_array(before[name])
        )


def test_images_remains_the_one_input_that_must_be_fed(made: Path) -> None:
    loaded = session(made)
    (images,) = loaded.get_inputs()
    assert (images.name, images.type, images.shape) == ("images", "tensor(float)", ["N", 48, 48, 3])
    (levels,) = loaded.get_overridable_initializers()
    assert (levels.name, levels.type) == ("pictures", "tensor(uint8)")
    assert levels.shape == ["M", 48, 48, 3]
    (output,) = loaded.get_outputs()
    assert (output.name, output.type, output.shape) == (
        "probabilities",
        "tensor(float)",
        [None, 12],
    )


def test_each_way_of_feeding_gives_the_same_rows(
    made: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    levels = np.random.default_rng(0).integers(0, 256, (5, 48, 48, 3), np.uint8)
    levels[:3] = pictures.vary(pictures.render(2, 48), 1)  # three alike, two not
    images = levels / np.float32(255)
    floats = rows(made, images=images)
    np.testing.assert_array_equal(rows(made, images=BLACK, pictures=levels), floats)
    np.testing.assert_array_equal(rows(made, images=images, pictures=levels[:1] * 0), floats)
    assert np.ptp(floats, axis=0).max() > 0.01, "or any order would do"
    assert rows(made, images=images[:0]).shape == (0, 12)
    classifier = FungiClassifier(made)
    np.testing.assert_allclose(classifier(images), floats, atol=1e-6)
    np.testing.assert_allclose(classifier(levels), floats, atol=1e-6)
    # onnxruntime, by its defaults, says that there is a default, and nothing of shapes.
    warnings = [line for line in capfd.readouterr().err.splitlines() if "onnxruntime" in line]
    assert warnings
    assert all("Initializer pictures appears in graph inputs" in line for line in warnings)


def test_the_graph_that_judges_rounds_every_value(made: Path) -> None:
    """onnxruntime must not take the casts out, whether it optimises or not."""
    model = onnx.load(made)
    names = float16.float16_values(model)
    # All of the network, and the sum of the inputs.
    assert len(names) == 52 + 35 + 12 + 2 + 1 + 1 + 1
    judged = float16.rounded(model)
    for name in names:
        judged.graph.output.append(helper.make_empty_tensor_value_info(name))
        judged.graph.output.append(helper.make_empty_tensor_value_info(f"{name}/exact"))
    images = drawings(2)
    for level in ("ORT_DISABLE_ALL", "ORT_ENABLE_ALL"):
        options = ort.SessionOptions()
        options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, level)
        run = ort.InferenceSession(judged.SerializeToString(), options).run
        answers = run([n for name in names for n in (name, f"{name}/exact")], {"images": images})
        moved = 0
        for value, exact in zip(answers[::2], answers[1::2], strict=True):
            np.testing.assert_array_equal(value, exact.astype(np.float16).astype(np.float32))
            moved += not np.array_equal(value, exact)
        assert moved > 52, "every convolution's output, at least, was not float16 by itself"


# --- Graphs of other forms


def graph_of(nodes: list[Any], constants: dict[str, NDArray[Any]]) -> ModelProto:
    """images float32 [N, 4, 4, 3] → probabilities [N, 5]."""
    graph = helper.make_graph(
        nodes,
        "one",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", 4, 4, 3])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 5])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def check_same(model: ModelProto, made: ModelProto) -> None:
    random = np.random.default_rng(1)
    levels = random.integers(0, 256, (6, 1, 1, 3), np.uint8)  # of different colours, then, or
    levels = np.tile(levels, (1, 4, 4, 1))  # all of their means would be alike
    levels[:, ::2] //= 2
    images = levels / np.float32(255)
    expected, black = rows(model, images=images), 0 * images[:1]
    for found in (
        rows(made, images=images),
        rows(made, images=black, pictures=levels),
        rows(float16.rounded(made), images=images),
    ):
        np.testing.assert_allclose(found, expected, atol=2e-3)
    assert np.ptp(expected, axis=0).max() > 0.05, "or any graph would do"


MEAN = [
    helper.make_node("ReduceMean", ["scaled", "axes"], ["mean"], keepdims=0),
    helper.make_node("MatMul", ["mean", "weights"], ["logits"]),
]
WEIGHTS = {
    "axes": np.array([1, 2], np.int64),
    "weights": np.random.default_rng(0).normal(0, 5, (3, 5)).astype(np.float32),
}


def test_an_input_that_is_not_scaled_element_by_element_is_cast_at_once() -> None:
    model = graph_of(
        [
            helper.make_node("Mul", ["images", "images"], ["scaled"]),
            *MEAN,
            helper.make_node("Softmax", ["logits"], ["probabilities"]),
        ],
        WEIGHTS,
    )
    assert float16.scaling_of(model.graph) == []
    made = float16.to_float16(model)
    kinds = types(made)
    assert kinds["scaled"] == TensorProto.FLOAT16
    assert [node.op_type for node in made.graph.node].count("Cast") == 3
    check_same(model, made)


def test_an_input_that_is_used_twice_is_used_twice() -> None:
    model = graph_of(
        [
            helper.make_node("Mul", ["images", "two"], ["double"]),
            helper.make_node("Add", ["double", "images"], ["scaled"]),
            *MEAN,
            helper.make_node("Softmax", ["logits"], ["probabilities"]),
        ],
        {**WEIGHTS, "two": np.array(2, np.float32)},
    )
    check_same(model, float16.to_float16(model))


def test_a_constant_of_both_parts_is_there_in_both_types() -> None:
    """0.1 is not the same in float16; tf2onnx merges constants that are equal."""
    model = graph_of(
        [
            helper.make_node("Sub", ["images", "tenth"], ["less"]),
            helper.make_node("Div", ["less", "spread"], ["scaled"]),
            *MEAN,
            helper.make_node("Mul", ["logits", "tenth"], ["cooler"]),
            helper.make_node("Softmax", ["cooler"], ["probabilities"]),
        ],
        {
            **WEIGHTS,
            "tenth": np.array(0.1, np.float32),
            "spread": np.array([0.1, 0.2, 0.3], np.float32),
        },
    )
    made = float16.to_float16(model)
    kinds = types(made)
    assert kinds["tenth"] == TensorProto.FLOAT16
    assert kinds["fungi_onnx/tenth"] == kinds["scaled"] == TensorProto.FLOAT
    check_same(model, made)


@pytest.mark.parametrize(
    ("steps", "kept"),
    [
        ([("Sub", "one", "x"), ("Mul", "x", "two")], 2),
        ([("Add", "x", "one"), ("Div", "x", "two"), ("Sub", "x", "one")], 3),
        ([("Mul", "two", "x"), ("Add", "one", "x")], 2),
        ([("Add", "one", "x")], 1),
        ([("Add", "x", "one"), ("Div", "two", "x")], 1),  # which is not linear
    ],
)
def test_whatever_scales_a_picture_scales_both_inputs(
    steps: list[tuple[str, str, str]], kept: int
) -> None:
    names = ["images", *(f"s{number}" for number in range(len(steps) - 1)), "scaled"]
    nodes = []
    for (kind, *inputs), value, result in zip(steps, names, names[1:], strict=False):
        given = [value if name == "x" else name for name in inputs]
        nodes.append(helper.make_node(kind, given, [result]))
    constants = {
        "one": np.array([0.1, 0.2, 0.3], np.float32),
        "two": np.array(0.5, np.float32),
    }
    model = graph_of(
        [*nodes, *MEAN, helper.make_node("Softmax", ["logits"], ["probabilities"])],
        {**WEIGHTS, **constants},
    )
    assert len(float16.scaling_of(model.graph)) == kept
    check_same(model, float16.to_float16(model))


def test_what_follows_the_softmax_is_float32_too() -> None:
    model = graph_of(
        [
            helper.make_node("Mul", ["images", "two"], ["scaled"]),
            *MEAN,
            helper.make_node("Softmax", ["logits"], ["vector"]),
            helper.make_node("Reshape", ["vector", "shape"], ["probabilities"]),
        ],
        {**WEIGHTS, "two": np.array(2, np.float32), "shape": np.array([-1, 5], np.int64)},
    )
    made = float16.to_float16(model)
    assert types(made)["vector"] == TensorProto.FLOAT
    assert [node.op_type for node in made.graph.node].count("Cast") == 3
    check_same(model, made)


def test_nodes_in_between_that_are_to_stay_float32_do() -> None:
    """The library casts around them, and puts the casts where no reader expects them."""
    model = graph_of(
        [
            helper.make_node("Mul", ["images", "two"], ["scaled"]),
            *MEAN,
            helper.make_node("Max", ["logits", "floor"], ["clipped"]),
            helper.make_node("Softmax", ["clipped"], ["vector"]),
            helper.make_node("ReduceSum", ["vector", "last"], ["sum"]),
            helper.make_node("Div", ["vector", "sum"], ["probabilities"]),
        ],
        {
            **WEIGHTS,
            "two": np.array(2, np.float32),
            "floor": np.array(-1, np.float32),
            "last": np.array([1], np.int64),
        },
    )
    made = float16.to_float16(model)
    kinds = types(made)
    for node in made.graph.node:
        if node.op_type in ("Max", "Softmax"):
            assert {kinds[name] for name in (*node.input, *node.output)} == {TensorProto.FLOAT}
    check_same(model, made)


def test_a_half_made_of_a_model_that_scales_elsewhere_says_so(mild: Path, tmp_path: Path) -> None:
    """The same network, transposed before it is scaled."""
    model = onnx.load(mild)
    multiply, subtract, transpose = model.graph.node[:3]
    assert transpose.op_type == "Transpose"
    last = transpose.output[0]
    transpose.input[0], transpose.output[0] = "images", "transposed"
    multiply.input[0], subtract.output[0] = "transposed", last
    nodes = [transpose, multiply, subtract, *model.graph.node[3:]]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    other = tmp_path / "other.onnx"
    describe.write(model, FungiClassifier(mild).model, other)
    images = drawings(4)
    np.testing.assert_allclose(
        FungiClassifier(other)(images), FungiClassifier(mild)(images), atol=1e-6
    )
    assert quietly(other, tmp_path / "out.onnx", None).precision == "float16 (softmax float32)"


# --- The gate


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hundred and five pictures in a folder."""
    folder = tmp_path_factory.mktemp("photos")
    for number in range(105):
        drawing = pictures.vary(pictures.render(number % 12, 60), number)
        (folder / f"{number:03}.jpg").write_bytes(pictures.to_jpeg(drawing, 90))
    return folder


def test_given_pictures_judge(mild: Path, photos: Path, tmp_path: Path) -> None:
    made = quietly(mild, tmp_path / "given.onnx", photos)
    assert made.parity.pictures == 105
    assert made.parity.picture_set == "105 pictures given, fed as pictures (8 bits)"


def test_float16_that_overflows_is_refused(tmp_path: Path) -> None:
    """Logits beyond 65504 are infinite, and infinity less infinity is no number."""
    huge = with_logits(2e4, tmp_path / "huge.onnx")
    with pytest.raises(ParityError, match=r"images \(float\): .*max \|Δp\| nan.* nothing was"):
        quietly(huge, tmp_path / "out.onnx", None)
    assert [path.name for path in tmp_path.iterdir()] == ["huge.onnx"]


def test_a_model_of_sharp_answers_is_refused(tmp_path: Path) -> None:
    """Three times the logits: a difference of 0.01 becomes one of 0.03."""
    sharp = with_logits(3, tmp_path / "sharp.onnx")
    with pytest.raises(ParityError, match="too much from the float model") as caught:
        quietly(sharp, tmp_path / "out.onnx", None)
    text = str(caught.value)
    assert re.search(r"images \(float\): top-1 \d+\.\d%, max \|Δp\| 0\.0[1-9]", text)
    assert "pictures (8 bits): top-1 " in text
    assert "Needed are top-1 99.5% and max |Δp| 0.01, so nothing was written" in text
    assert [path.name for path in tmp_path.iterdir()] == ["sharp.onnx"]


def test_each_form_is_judged_by_itself() -> None:
    """A graph that is right for one of the inputs only."""
    classifier = FungiClassifier(TINY)
    images = drawings(16)

    def judged(run: Callable[[Any], Rows]) -> list[str]:
        said: list[str] = []
        half._judged(classifier, run, lambda: iter([images]), "16 drawings", said.append)
        return said

    def as_it_is(fed: Any) -> Rows:
        return classifier(fed if fed.dtype == np.float32 else fed / np.float32(255))

    def off(fed: Any) -> Rows:
        return as_it_is(fed) + np.float32(0.011)

    assert len(judged(as_it_is)) == 2
    for wrong, right in ((np.uint8, "images"), (np.float32, "pictures")):

        def run(fed: Any, wrong: type = wrong) -> Rows:
            return off(fed) if fed.dtype == wrong else as_it_is(fed)

        with pytest.raises(ParityError, match=r"max \|Δp\| 0.011") as caught:
            judged(run)
        assert right not in str(caught.value)


def test_the_top_1_is_the_one_of_the_picture_before_it_was_rounded() -> None:
    """A picture so near the border of two species that rounding moves it across."""
    classifier = FungiClassifier(TINY)
    images = drawings(16)
    first, other = images[0], images[1]

    def blend(share: float) -> Rows:
        return np.asarray(first + np.float32(share) * (other - first))

    def top(picture: Rows) -> int:
        return int(classifier(picture[np.newaxis]).argmax())

    low, high = 0.0, 1.0
    while high - low > 1e-5:
        middle = (low + high) / 2
        low, high = (middle, high) if top(blend(middle)) == top(first) else (low, middle)
    # The two are on different sides, and the same once they are whole levels.
    images[5] = next(
        picture
        for picture in (blend(low), blend(high))
        if top(picture) != top(image.to_levels(picture) / np.float32(255))
    )

    def exact(fed: Any) -> Rows:
        return classifier(fed if fed.dtype == np.float32 else fed / np.float32(255))

    with pytest.raises(
        ParityError, match=r"model: pictures \(8 bits\): top-1 93.8%, max \|Δp\| 0,"
    ):
        half._judged(classifier, exact, lambda: iter([images]), "16 drawings", lambda _: None)


# --- What cannot be done


@pytest.mark.parametrize("what", unusable.NAMES)
def test_what_cannot_be_done_is_told(what: str, tmp_path: Path) -> None:
    model, target, folder, error, text = unusable.cases(TINY, tmp_path, ".fp16.onnx", 100)[what]
    with pytest.raises(error, match=text):
        quietly(model, target, folder)
    assert not (tmp_path / "out.onnx").exists()


def test_a_variant_is_not_made_float16_again(made: Path, tmp_path: Path) -> None:
    text = f"{made} is {PRECISION}: only a float32 model can be made float16"
    with pytest.raises(ModelFormatError, match=re.escape(text)):
        quietly(made, tmp_path / "out.onnx", None)
    assert not (tmp_path / "out.onnx").exists()


def test_other_variants_are_refused_both_ways(made: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelFormatError, match="is float16 .*: only a float32 model can be quant"):
        variants.quantize(made, tmp_path / "x.onnx", None, say=lambda _: None)
    eight = tmp_path / "eight.onnx"
    described = replace(FungiClassifier(TINY).model, precision="int8 (QDQ, per channel)")
    describe.write(onnx.load(TINY), described, eight)
    with pytest.raises(ModelFormatError, match=r"is int8 \(QDQ, per channel\): only a float32"):
        quietly(eight, tmp_path / "x.onnx", None)


def test_the_command(
    mild: Path, made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from fungi_onnx_export import cli

    target = tmp_path / "command.onnx"
    assert cli.main(["half", str(mild), "-o", str(target)]) == 0
    out = capsys.readouterr()
    assert out.out == (
        f"{target}: {FungiClassifier(TINY).model.name}, {PRECISION},"
        f" {target.stat().st_size / 1e6:.1f} MB\n"
    )
    assert "256 drawings judge, on a graph that rounds as a GPU does\n" in out.err
    assert re.search(r"images \(float\): top-1 (99\.[6-9]|100\.0)%, max \|Δp\| 0\.00", out.err)
    assert "which costs the float model itself 0.0" in out.err
    assert onnx.load(target).graph == onnx.load(made).graph
    assert cli.main(["half", str(target), "-o", str(tmp_path / "x.onnx")]) == 3
    assert "only a float32 model can be made float16" in capsys.readouterr().err
    assert cli.main(["half", str(mild), "-o", str(tmp_path)]) == 1
    assert "is a folder" in capsys.readouterr().err
    sharp = with_logits(3, tmp_path / "sharp.onnx")
    assert cli.main(["half", str(sharp), "-o", str(tmp_path / "x.onnx")]) == 1
    assert "nothing was written" in capsys.readouterr().err
    assert not (tmp_path / "x.onnx").exists()
    with pytest.raises(SystemExit) as caught:
        cli.main(["half", str(mild)])
    assert caught.value.code == 2


# --- Trained weights and photos


@pytest.mark.skipif(
    not REAL.is_dir(), reason="no real modules and photos beside the project (../shared/real)"
)
def test_birds_of_the_fungi_modules_shape(export: Callable[..., ModelFile], tmp_path: Path) -> None:
    float32, target = tmp_path / "birds.onnx", tmp_path / "birds.fp16.onnx"
    labels = REAL / "modules" / "labels_4128.csv"
    export(REAL / "modules" / "birds299_4128.tar.gz", float32, Wishes(labels=labels))
    made = quietly(float32, target, None)
    assert made.parity.top1_agreement == 1
    assert 0.02 < made.parity.max_difference < 0.05, "whole levels move this model by 0.03"
    assert target.stat().st_size < 16e6
    before, after = FungiClassifier(float32), FungiClassifier(target)
    assert selftest.run(after).ok
    judged = session(float16.rounded(onnx.load(target)))
    for photo in sorted((REAL / "photos").iterdir()):
        tensor = to_tensor(photo, 299, 299)[np.newaxis]
        expected, levels = before(tensor), image.to_levels(tensor)
        (found,) = judged.run(["probabilities"], {"images": tensor})
        assert np.abs(found - expected).max() <= 1e-2
        assert expected.argmax() == found.argmax() == after(levels).argmax()
        assert after.classify(photo).top[0].id == expected.argmax()
