"""The committed model files are what `make fixtures` makes today."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from fungi_onnx import FungiClassifier, selftest

TESTS = Path(__file__).parents[1]


def test_fixtures_can_be_made_again(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("make_fixtures", TESTS / "make_fixtures.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.make(tmp_path)
    sample = TESTS / "data" / "sample.jpg"
    assert (tmp_path / "sample.jpg").read_bytes() == sample.read_bytes()
    assert (tmp_path / "bare.onnx").read_bytes() == (TESTS / "data" / "bare.onnx").read_bytes()
    assert (tmp_path / "tiny.onnx").stat().st_size <= 300_000
    for name, near in (("tiny.onnx", 1e-3), ("tiny.fp16.onnx", 2e-2)):
        made, committed = (
            FungiClassifier(folder / name, device="cpu") for folder in (tmp_path, TESTS / "data")
        )
        assert selftest.run(made).ok
        assert made.model.source["sha256"].keys() == committed.model.source["sha256"].keys()
        assert (made.labels, made.model.terms) == (committed.labels, committed.model.terms)
        pairs = zip(made.classify(sample).top, committed.classify(sample).top, strict=True)
        for ours, theirs in pairs:
            assert ours.id == theirs.id
            assert ours.probability == pytest.approx(theirs.probability, abs=near)
