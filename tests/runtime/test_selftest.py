"""The golden probes pass on the file as it was made and fail on one that was altered."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from fungi_onnx import FungiClassifier, selftest
from fungi_onnx.model_file import Probe


def test_it_passes_and_is_quick(classifier: FungiClassifier) -> None:
    report = selftest.run(classifier)
    assert report.ok
    assert len(report.results) == 8
    assert max(result.difference for result in report.results) <= report.tolerance == 1e-4
    as_json = report.to_dict()
    assert as_json["ok"] is True
    assert len(as_json["probes"]) == 8


def weights_of(path: Path) -> list[tuple[int, int]]:
    """(offset, bytes) of every tensor of 200 bytes or more in raw_data, found as protobuf has it.

    A TensorProto's raw_data is field 9 (tag 0x4a) with a varint length; what is found is checked
    to be sane float32 values, so that no probe picture is taken for weights.
    """
    data = path.read_bytes()
    found = []
    for offset in range(len(data) - 3):
        if data[offset] != 0x4A or not data[offset + 1] & 0x80 or data[offset + 2] & 0x80:
            continue
        length = (data[offset + 1] & 0x7F) | data[offset + 2] << 7
        start = offset + 3
        if length < 200 or length % 4 or start + length > len(data):
            continue
        values = np.frombuffer(data, "<f4", length // 4, start)
        if np.isfinite(values).all() and 1e-4 < np.abs(values).mean() < 50:
            found.append((start, length))
    return found


def test_any_weight_tensor_altered_by_one_exponent_bit_fails(tiny: Path, tmp_path: Path) -> None:
    """The largest value of each tensor, its exponent's top bit flipped or its sign changed."""
    data = tiny.read_bytes()
    tensors = weights_of(tiny)
    assert len(tensors) >= 40
    for start, length in tensors[::4]:
        values = np.frombuffer(data, "<f4", length // 4, start)
        at = start + 4 * int(np.abs(values).argmax())
        (bits,) = struct.unpack_from("<I", data, at)
        for flipped in (bits ^ 1 << 30, bits ^ 1 << 31):
            altered = bytearray(data)
            struct.pack_into("<I", altered, at, flipped)
            path = tmp_path / "altered.onnx"
            path.write_bytes(altered)
            report = selftest.run(FungiClassifier(path, device="cpu"))
            assert not report.ok, f"bit flip at {at} went unseen"
            assert any("differ" in (result.problem or "") for result in report.results)


def test_every_class_of_the_head_is_watched(classifier: FungiClassifier) -> None:
    """A provider that gets one class wrong, however improbable, is found out by log p."""

    class OneClassWrong(FungiClassifier):
        wrong = 0

        def __call__(self, images):
            probabilities = super().__call__(images)
            probabilities[:, self.wrong] *= 0.8
            return probabilities

    liar = OneClassWrong(classifier.path, device="cpu")
    for liar.wrong in range(12):
        assert not selftest.run(liar).ok


@pytest.mark.parametrize("wrong", [np.nan, 0.0, 1 / 12])
def test_a_wrong_provider_result_fails(classifier: FungiClassifier, wrong: float) -> None:
    class Liar(FungiClassifier):
        def __call__(self, images):
            return np.full_like(super().__call__(images), wrong)

    report = selftest.run(Liar(classifier.path, device="cpu"))
    assert [result.problem is None for result in report.results] == [False] * 8


def test_an_improbable_class_is_watched_by_its_logarithm() -> None:
    expected = np.array([0.9, 0.0999, 1e-5, 1e-9], np.float32)
    logs = selftest.log_probabilities(expected).astype(np.float16)
    probe = Probe("p", b"", ((0, 0.9), (1, 0.0999)), logs)
    assert selftest._check(probe, expected, 1e-4, 0.05).problem is None
    for index in (2, 3):
        altered = expected.copy()
        altered[index] *= 0.9
        result = selftest._check(probe, altered, 1e-4, 0.05)
        assert result.difference <= 1e-4
        assert result.problem is not None
        assert result.problem.startswith("a class differs by 0.1")


def test_another_winner_is_told() -> None:
    probe = Probe("p", b"", ((0, 0.5), (1, 0.1)))
    swapped = np.array([0.5, 0.1, 0.9], np.float32)
    result = selftest._check(probe, swapped, 0.01, None)
    assert result.problem == "class 2 comes first, not 0"
    tie = np.array([0.5, 0.1, 0.505], np.float32)
    assert selftest._check(probe, tie, 0.01, None).problem is None
