"""Runs with buffers that stay, on the CPU's memory: the same calls as on a GPU's."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from numpy.typing import NDArray

from fungi_onnx.bound import BoundSession
from fungi_onnx.model_file import INPUT, OUTPUT
from fungi_onnx.tuning import Tuning

CLASSES = 12


@pytest.fixture(scope="module")
def plain(tiny: Path) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(str(tiny), options, providers=["CPUExecutionProvider"])


def bound(plain: ort.InferenceSession, **settings: object) -> BoundSession:
    return BoundSession(plain, ("cpu", 0), CLASSES, Tuning(**settings))


def pictures(plain: ort.InferenceSession, count: int, seed: int = 0) -> NDArray[np.float32]:
    shape = (count, *plain.get_inputs()[0].shape[1:])
    return np.random.default_rng(seed).random(shape, np.float32)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 8, 9, 17])
def test_padded_and_cut_batches_give_each_picture_its_own_row(
    plain: ort.InferenceSession, count: int
) -> None:
    runs = bound(plain, batches=(1, 4, 8))
    for seed in (0, 1):  # the second finds the buffers of the first
        images = pictures(plain, count, seed)
        expected = plain.run([OUTPUT], {INPUT: images})[0]
        found = runs.run(images)
        assert found.shape == (count, CLASSES)
        assert np.abs(found - expected).max() < 1e-6
        assert len({row.tobytes() for row in found}) == count


def test_no_picture_is_no_row(plain: ort.InferenceSession) -> None:
    assert bound(plain).run(pictures(plain, 0)).shape == (0, CLASSES)


def test_answers_are_not_written_over_by_the_next_run(plain: ort.InferenceSession) -> None:
    runs = bound(plain)
    first = runs.run(pictures(plain, 1))
    kept = first.copy()
    runs.run(pictures(plain, 1, seed=1))
    assert np.array_equal(first, kept)


@pytest.mark.parametrize("streams", [1, 3])
def test_many_threads_get_their_own_answers(plain: ort.InferenceSession, streams: int) -> None:
    runs = bound(plain, batches=(1, 4), streams=streams)
    sets = [pictures(plain, 1 + seed % 6, seed) for seed in range(60)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(runs.run, sets))
    for images, rows in zip(sets, found, strict=True):
        assert np.abs(rows - plain.run([OUTPUT], {INPUT: images})[0]).max() < 1e-6


def test_a_run_that_fails_leaves_the_next_one_well(plain: ort.InferenceSession) -> None:
    runs = bound(plain)
    images = pictures(plain, 1)
    for _ in range(3):
        with pytest.raises(ValueError, match="could not broadcast"):
            runs.run(images[:, :-1])
    assert runs.run(images).shape == (1, CLASSES)


@pytest.mark.parametrize(
    ("most", "sizes"),
    [(1, [1]), (2, [1, 2]), (4, [1, 4]), (5, [1, 4, 5]), (8, [1, 4, 8]), (99, [1, 4, 8])],
)
def test_the_sizes_to_warm_up(plain: ort.InferenceSession, most: int, sizes: list[int]) -> None:
    assert bound(plain, batches=(1, 4, 8)).sizes(most) == sizes


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"batches": ()}, "batches must ascend"),
        ({"batches": (4, 1)}, "batches must ascend"),
        ({"batches": (1, 1)}, "batches must ascend"),
        ({"batches": (0, 1)}, "must be at least 1"),
        ({"streams": 0}, "must be at least 1"),
        ({"streams": 2, "graphs": True}, "replayed on one stream only"),
    ],
)
def test_tunings_that_there_cannot_be(settings: dict[str, object], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Tuning(**settings)  # type: ignore[arg-type]
