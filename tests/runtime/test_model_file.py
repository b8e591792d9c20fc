"""The contract's metadata: whole, altered, of another schema, from anywhere."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fungi_onnx import FungiClassifier, ModelFormatError
from fungi_onnx.model_file import ModelFile, Parity, Probe, Probes, Terms

texts = st.text(max_size=20)
words = st.text(min_size=1, max_size=20)
unit = st.floats(0, 1)
parities = st.builds(
    Parity, words, st.integers(1, 999), words, unit, unit, unit, unit, unit, texts,
    st.none() | unit, st.dictionaries(words, unit, max_size=2),
)  # fmt: skip


@st.composite
def model_files(draw: st.DrawFn) -> ModelFile:
    labels = tuple(draw(st.lists(words, min_size=2, max_size=12)))
    probe = Probe(
        draw(words),
        draw(st.binary(max_size=50)),
        tuple(draw(st.lists(st.tuples(st.integers(0, 11), unit), max_size=5))),
        draw(
            st.none()
            | st.lists(st.floats(-50, 0, width=16), min_size=2, max_size=12).map(
                lambda values: np.array(values, np.float16)
            )
        ),
    )
    tolerance = {"cpu": draw(unit), "cuda": draw(unit)}
    lists = st.lists(texts, max_size=3).map(tuple)
    return ModelFile(
        name=draw(words),
        source={"format": draw(texts), "sha256": {draw(words): draw(texts)}},
        height=draw(st.integers(1, 999)),
        width=draw(st.integers(1, 999)),
        labels=labels,
        labels_given=draw(st.booleans()),
        precision=draw(texts),
        terms=Terms(draw(texts), draw(lists), draw(lists), draw(lists)),
        parity=draw(parities),
        probes=Probes((probe,), tolerance, draw(st.just({}) | st.just(tolerance))),
        tools={"tool": draw(texts)},
        created=draw(texts),
    )


@given(model_files())
def test_metadata_round_trips(model: ModelFile) -> None:
    written = model.to_metadata()
    assert all(isinstance(value, str) for value in written.values())
    read = ModelFile.from_metadata(written, "model.onnx")
    logs = [probe.log_probabilities for probe in read.probes.pictures]
    for ours, theirs in zip(logs, model.probes.pictures, strict=True):
        np.testing.assert_array_equal(ours, theirs.log_probabilities)  # type: ignore[arg-type]

    def without_arrays(one: ModelFile) -> ModelFile:
        pictures = tuple(replace(probe, log_probabilities=None) for probe in one.probes.pictures)
        return replace(one, probes=replace(one.probes, pictures=pictures))

    assert without_arrays(read) == without_arrays(model)


@given(model_files(), st.data())
def test_a_changed_label_list_is_refused(model: ModelFile, data: st.DataObject) -> None:
    written = model.to_metadata()
    index = data.draw(st.integers(0, len(model.labels) - 1))
    labels = [*model.labels]
    labels[index] += "x"
    written["fungi_onnx.labels"] = json.dumps(labels)
    with pytest.raises(ModelFormatError, match="label list does not match its SHA-256 digest"):
        ModelFile.from_metadata(written, "model.onnx")


@given(model_files(), st.sampled_from(["model", "labels", "parity", "probes"]), st.text(max_size=9))
def test_damaged_metadata_is_refused(model: ModelFile, key: str, text: str) -> None:
    written = model.to_metadata()
    written[f"fungi_onnx.{key}"] = text
    with pytest.raises(ModelFormatError, match="model.onnx: its metadata is damaged"):
        ModelFile.from_metadata(written, "model.onnx")


def test_the_tiny_file_describes_itself(classifier: FungiClassifier) -> None:
    model = classifier.model
    assert (model.height, model.width, len(model.labels)) == (48, 48, 12)
    assert model.labels_given
    assert model.labels[3].startswith("Stand-in species 0003")
    assert model.source["format"] == "tf1-hub"
    assert set(model.source["sha256"]) >= {"saved_model.pb", "tfhub_module.pb"}
    assert "foraging" in model.terms.unsuitable
    assert model.parity.max_difference <= 1e-4
    assert model.parity.top1_agreement == 1
    assert len(model.probes.pictures) == 8


def test_a_file_without_metadata_names_the_command(bare: Path) -> None:
    with pytest.raises(ModelFormatError, match="make one with: fungi-onnx-export export SOURCE"):
        FungiClassifier(bare)


def test_another_schema_names_both(altered) -> None:
    path = altered(b"fungi_onnx.schema\x12\x011", b"fungi_onnx.schema\x12\x012")
    with pytest.raises(ModelFormatError, match="has schema 2, this fungi-onnx reads schema 1"):
        FungiClassifier(path)


def test_a_tampered_label_is_refused_at_load(altered) -> None:
    path = altered(b'["Stand-in species 0000', b'["Edible bolete  0000  '[:23])
    with pytest.raises(ModelFormatError, match="label list does not match"):
        FungiClassifier(path)


def test_metadata_of_another_graph_is_refused(altered) -> None:
    path = altered(b'"shape":["N",48,48,3]', b'"shape":["N",48,49,3]')
    with pytest.raises(ModelFormatError, match="metadata promises"):
        FungiClassifier(path)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x08\x07" * 50], ids=["empty", "text", "pb"])
def test_not_an_onnx_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelFormatError, match=r"model.onnx is not a model that onnxruntime"):
        FungiClassifier(path)


def test_a_truncated_file(tiny: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(tiny.read_bytes()[:100_000])
    with pytest.raises(ModelFormatError, match="is not a model that onnxruntime"):
        FungiClassifier(path)
