"""The GPU's benchmark, rehearsed on the CPU: what it counts, compares, shows and concludes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from gpu_peers.counts import count
from gpu_peers.targets import targets

ROOT = Path(__file__).parents[2]
TINY = ROOT / "tests" / "data" / "tiny.onnx"


def small(kind: str = "Clip") -> onnx.ModelProto:
    """A convolution of stride 2 with its activation, a depthwise one, a sum, a mean, a product."""
    weights = {
        "w1": np.zeros((8, 3, 3, 3), np.float32),
        "b1": np.zeros(8, np.float32),
        "w2": np.zeros((8, 1, 3, 3), np.float32),
        "low": np.float32(0),
        "high": np.float32(6),
        "axes": np.array([2, 3], np.int64),
        "w3": np.zeros((8, 5), np.float32),
    }
    nodes = [
        helper.make_node("Transpose", ["images"], ["t"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["t", "w1", "b1"], ["c1"], strides=[2, 2], pads=[0, 0, 1, 1]),
        helper.make_node(kind, ["c1", "low", "high"], ["r1"]),
        helper.make_node("Conv", ["r1", "w2"], ["c2"], group=8, pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["c2", "r1"], ["s"]),
        helper.make_node("ReduceMean", ["s", "axes"], ["m"], keepdims=0),
        helper.make_node("MatMul", ["m", "w3"], ["l"]),
        helper.make_node("Softmax", ["l"], ["probabilities"]),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", 16, 16, 3])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 5])],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])


def test_counts_by_hand() -> None:
    found = count(small())
    # 16x16 becomes 8x8: each of 8x8x8 values is 27 products; then 9 each; then 8x5.
    assert found.multiply_adds == 8 * 8 * 8 * 27 + 8 * 8 * 8 * 9 + 8 * 5
    # Written, and read and written: 512; 512 and 512, and 512 that are added; 512, 8; 8, 5.
    assert found.activations == 512 + (512 + 512 + 512) + (512 + 8) + (8 + 5)
    assert found.weights == 216 + 8 + 72 + 2 + 2 + 40
    assert (found.inputs, found.outputs) == (768, 5)
    assert found.arithmetic(10, 1e9) == pytest.approx(10 * 2 * found.multiply_adds / 1e9)
    moved = 2 * found.weights + 10 * (2 * found.activations + 768 + 4 * 5)
    assert found.memory(10, 1e6, width=2, input_width=1) == pytest.approx(moved / 1e6)


def test_what_it_cannot_count_is_refused() -> None:
    with pytest.raises(ValueError, match="what HardSigmoid costs is not known here"):
        count(small("HardSigmoid"))


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "gpu.py", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def test_the_whole_on_the_cpu(tmp_path: Path) -> None:
    page, figures = tmp_path / "gpu.md", tmp_path / "gpu.json"
    result = run(TINY, "--device", "cpu", "--batches", "1,2", "--seconds", 60, "--bus", 25,
                 "--tflops", 800, "--tflops32", 60, "--bandwidth", 3000,
                 "--markdown", page, "--json", figures)  # fmt: skip
    assert result.returncode == 0, result.stderr
    text = page.read_text(encoding="utf-8")
    assert text in result.stdout
    found = json.loads(figures.read_text())
    by_name = {result["variant"]: result for result in found["results"]}
    for name in ("plain onnxruntime", "float32"):
        assert by_name[name]["passed"] is True
        assert by_name[name]["max_difference"] < 1e-5
        for size in ("1", "2"):
            cell = by_name[name]["batches"][size]
            assert 0 < cell["smallest"] <= cell["images_per_second"] <= cell["largest"]
    assert by_name["float32, graphs"]["problem"] == "RuntimeError: this is a setting for GPUs"
    limits = found["ceilings"]["images_per_second"]["2,1"]
    counts = found["ceilings"]["counts"]
    assert limits["arithmetic"] == pytest.approx(800e12 / (2 * counts["multiply_adds"]))
    assert limits["bus"] == pytest.approx(25e9 / counts["inputs"])
    # Every row of a table is as wide as its head.
    for table in text.split("\n\n"):
        lines = [line for line in table.splitlines() if line.startswith("|")]
        assert len({len(line) for line in lines}) <= 1, table


def test_a_variant_with_other_answers_has_no_speed(tmp_path: Path, altered: Path) -> None:
    figures = tmp_path / "gpu.json"
    result = run(TINY, "--half", altered, "--device", "cpu", "--batches", "1", "--seconds", 60,
                 "--json", figures)  # fmt: skip
    assert result.returncode == 1, result.stderr
    results = json.loads(figures.read_text())["results"]
    (wrong,) = (one for one in results if one["variant"] == "float16")
    assert wrong["passed"] is False
    assert "batches" not in wrong
    assert "FAILED" in result.stdout
    assert "| NOT met |" in result.stdout


@pytest.fixture
def altered(tmp_path: Path) -> Path:
    """The tiny model with another order of its classes."""
    model = onnx.load(TINY)
    products = [node for node in model.graph.node if node.op_type in ("MatMul", "Gemm")]
    head = next(t for t in model.graph.initializer if t.name == products[-1].input[1])
    turned = np.roll(numpy_helper.to_array(head), 1, axis=-1)
    head.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(turned), head.name))
    onnx.save(model, tmp_path / "altered.onnx")
    return tmp_path / "altered.onnx"


def test_targets_that_are_met_and_not() -> None:
    def result(name: str, rate: float, ms: float, passed: bool = True) -> dict:
        cell = {"images_per_second": rate, "smallest": rate, "largest": rate,
                "ms": {"p50": ms, "p90": ms, "p99": ms}, "first_call_s": 1}  # fmt: skip
        return {"variant": name, "passed": passed, "batches": {1: cell}, "max_difference": 0,
                "mean_difference": 0, "top1_agreement": 1, "gate": ""}  # fmt: skip

    limits = {"arithmetic": 5000.0, "memory": 1000.0, "bus": None}
    found = {
        "results": [
            result("plain onnxruntime", 100, 4),
            result("float16, 8 bits", 410, 3),
            result("float16, 8 bits, graphs", 390, 1.5),
            result("float32, TF32", 9999, 0.1, passed=False),
            result("PyTorch compiled, float16, 8 bits", 500, 1),
            result("plain onnxruntime, again", 100, 4),
        ],
        "ceilings": {"images_per_second": {"4,4": limits, "2,4": limits, "2,1": limits}},
    }
    assert [row[2:] for row in targets(found)] == [
        ["5 of 6", "NOT met"],
        ["4.10 (float16, 8 bits)", "met"],
        ["0.82 (float16, 8 bits)", "NOT met"],
        ["2.67 (float16, 8 bits, graphs)", "met"],
        ["0.41 (float16, 8 bits)", "met"],
    ]
