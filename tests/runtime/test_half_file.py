"""A file with a second input, for pictures in 8 bits: everybody gets the same answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from fungi_onnx import FungiClassifier, ModelFormatError, selftest
from fungi_onnx.bound import BoundSession
from fungi_onnx.session import Session
from fungi_onnx.tuning import Tuning


@pytest.fixture(scope="module")
def half() -> Path:
    """The float16 variant of a tiny model, made by `make fixtures`."""
    return Path(__file__).parents[1] / "data" / "tiny.fp16.onnx"


def test_pictures_go_in_as_the_nearest_whole_levels(half: Path, sample: Path) -> None:
    classifier = FungiClassifier(half, device="cpu")
    assert classifier.model.uint8_input
    levels = classifier.prepare(sample)
    assert (levels.dtype, levels.shape) == (np.uint8, (48, 48, 3))
    tensor = FungiClassifier(half.with_name("tiny.onnx"), device="cpu").prepare(sample)
    assert np.array_equal(levels, np.rint(tensor * 255))
    # What it answers is the same by each way, to the last bit of what is shown.
    by_hand = classifier(levels[np.newaxis])[0]
    top = classifier.classify(sample, top_k=12).top
    assert [match.probability for match in top] == pytest.approx(sorted(by_hand)[::-1], abs=1e-6)
    (many,) = classifier.classify_many([sample], 12)
    assert [match.id for match in many.top] == [match.id for match in top]
    floats = classifier(levels[np.newaxis] / np.float32(255))[0]
    np.testing.assert_allclose(floats, by_hand, atol=1e-6)


def test_its_own_call_takes_both_types_and_no_other(half: Path, tiny: Path) -> None:
    classifier = FungiClassifier(half, device="cpu")
    levels = np.random.default_rng(0).integers(0, 256, (3, 48, 48, 3), np.uint8)
    assert classifier(levels).shape == (3, 12)
    assert classifier(levels[:0]).shape == (0, 12)
    with pytest.raises(ValueError, match=r"images must have the shape \[N, 48, 48, 3\]"):
        classifier(levels[:, :40])
    with pytest.raises(TypeError, match="images must be float in .*, not int16"):
        classifier(levels.astype(np.int16))
    with pytest.raises(TypeError, match="images must be float in .*, not uint8; divide by 255"):
        FungiClassifier(tiny, device="cpu")(levels)


def test_the_cache_of_graphs_keeps_the_second_input(
    half: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FUNGI_ONNX_CACHE", str(tmp_path / "cache"))
    levels = np.random.default_rng(0).integers(0, 256, (2, 48, 48, 3), np.uint8)
    answers = [Session(half, "cpu", cache=True) for _ in range(2)]
    assert len(list((tmp_path / "cache").glob("*/graph.onnx"))) == 1
    assert [session.uint8 for session in answers] == [True, True]
    np.testing.assert_array_equal(answers[0].run(levels), answers[1].run(levels))


def test_golden_probes_are_run_in_both_forms(half: Path) -> None:
    report = selftest.run(FungiClassifier(half, device="cpu"))
    assert report.ok
    assert len(report.results) == 16
    assert [result.name.endswith(" in 8 bits") for result in report.results] == [False, True] * 8


def test_a_file_that_promises_the_input_and_has_none(tiny: Path, tmp_path: Path) -> None:
    data = tiny.read_bytes()
    old, new = b'"range":[0,1]},', b'"uint8":"abc"},'
    assert data.count(old) == 1
    path = tmp_path / "promise.onnx"
    path.write_bytes(data.replace(old, new))
    with pytest.raises(ModelFormatError, match="promises the input 'pictures', and the graph has"):
        FungiClassifier(path, device="cpu")


@pytest.mark.parametrize("count", [1, 3, 4, 9])
def test_runs_with_buffers_that_stay_take_both_types(half: Path, count: int) -> None:
    plain = ort.InferenceSession(str(half), providers=["CPUExecutionProvider"])
    bound = BoundSession(plain, ("cpu", 0), 12, Tuning(batches=(1, 4)))
    session = Session(half, "cpu")
    for seed in (0, 1):
        levels = np.random.default_rng(seed).integers(0, 256, (count, 48, 48, 3), np.uint8)
        expected = session.run(levels)
        np.testing.assert_allclose(bound.run(levels), expected, atol=1e-6)
        np.testing.assert_allclose(bound.run(levels / np.float32(255)), expected, atol=1e-6)
