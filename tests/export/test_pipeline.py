"""Exports from beginning to end: what is in the file, and what is refused."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from fungi_onnx import FungiClassifier, selftest
from fungi_onnx_export import describe, known, parity, pictures, pipeline, report, source, standin
from fungi_onnx_export.errors import ExportError, ModuleError, ParityError
from fungi_onnx_export.pipeline import Wishes


def silent(_: str) -> None:
    """Says nothing."""


def verify(location: Path, model: Path, wishes: Wishes = Wishes()):
    with source.opened(str(location)) as opened:
        return pipeline.verify(opened, model, wishes)


@pytest.fixture(scope="module")
def exported(export, standin_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("exported") / "standin.onnx"
    wishes = Wishes(labels=standin_dir / "labels.csv")
    export(standin_dir, target, wishes)
    return target


def test_the_file_describes_itself(exported: Path, standin_dir: Path) -> None:
    classifier = FungiClassifier(exported, device="cpu")
    model = classifier.model
    assert model.name.startswith("stand-in for fungi_mobile_V1/2")
    assert model.terms == known.STANDIN_TERMS
    assert model.source["format"] == "tf1-hub"
    assert model.source["signature"] == "image_classifier"
    assert model.source["softmax_added"] is False
    assert set(model.source["sha256"]) == {
        "saved_model.pb",
        "tfhub_module.pb",
        "variables/variables.data-00000-of-00001",
        "variables/variables.index",
    }
    assert model.labels[7].startswith("Stand-in species 0007")
    assert model.parity.picture_set == "built-in"
    assert model.parity.pictures == 32
    assert model.parity.max_difference <= 1e-4
    assert {"tensorflow", "tf2onnx", "onnxruntime", "fungi-onnx-export"} <= set(model.tools)
    assert selftest.run(classifier).ok
    assert sum(len(probe.png) for probe in model.probes.pictures) <= 500_000
    for probe in model.probes.pictures:
        assert probe.log_probabilities is not None
        assert probe.log_probabilities.shape == (16,)
    assert model.probes.tolerance["cpu"] == 1e-4
    assert model.probes.log_tolerance["cpu"] >= 0.05
    samples = sorted((standin_dir / "samples").glob("*.jpg"))
    assert len(samples) >= 4
    for sample in samples:
        assert classifier.classify(sample).top[0].id == int(sample.stem.split("_")[1])


def test_held_out_recall(exported: Path) -> None:
    """The stand-in tells its species apart, so that agreement with it means something."""
    classifier = FungiClassifier(exported, device="cpu")
    shown = [(k % 16, pictures.vary(pictures.render(k % 16, 200), 500_000 + k)) for k in range(160)]
    right = [classifier.classify(picture).top[0].id == k for k, picture in shown]
    assert np.mean(right) >= standin.LEAST_RECALL


def test_numbered_classes(export, standin_dir: Path, tmp_path: Path) -> None:
    made = export(standin_dir, tmp_path / "m.onnx", Wishes(name="mine"))
    assert made.labels[:2] == ("class 0", "class 1")
    assert not made.labels_given
    assert made.name == "mine"


def test_given_pictures(export, standin_dir: Path, tmp_path: Path) -> None:
    made = export(
        standin_dir, tmp_path / "m.onnx", Wishes(pictures=standin_dir / "samples"), silent
    )
    count = len(list((standin_dir / "samples").iterdir()))
    assert made.parity.pictures == count
    assert made.parity.picture_set == f"{count} pictures given"


def test_version_1s_fault_is_mended(export, tmp_path: Path) -> None:
    """Logits under the classifier's name: a softmax is added, recorded, and not for --expect."""
    module = tmp_path / "v1"
    standin.build(module, classes=16, size=48, width=0.1, logits=True, say=silent)
    made = export(module, tmp_path / "m.onnx", Wishes())
    assert made.source["softmax_added"] is True
    rows = FungiClassifier(tmp_path / "m.onnx")(pictures.parity_set(48, 48, 8))
    np.testing.assert_allclose(rows.sum(axis=1), 1, atol=1e-5)
    expect = known.Known("v1", 48, 48, 16, known.STANDIN_TERMS, "")
    with pytest.raises(ModuleError, match="gives 16 logits; without --expect it is exported"):
        export(module, tmp_path / "n.onnx", Wishes(expect=expect))
    assert not (tmp_path / "n.onnx").exists()


def test_terms_come_from_what_is_known(standin_dir: Path) -> None:
    expect = known.Known("like/1", 64, 64, 16, known.FUNGI.terms, "")
    opened_source = source.Source("https://tfhub.dev/x/y/1", "tf1-hub", standin_dir)
    original = pipeline.open_original(opened_source)
    assert pipeline._terms(opened_source, original, Wishes(expect=expect)) == known.STANDIN_TERMS
    facts = pipeline.replace(original.facts, standin=None)
    original.facts = facts
    terms = pipeline._terms(opened_source, original, Wishes(expect=expect))
    assert terms.licence == "CC BY-NC 4.0"
    assert set(terms.unsuitable) == {"telling edible from inedible mushrooms", "foraging"}
    unknown = pipeline._terms(opened_source, original, Wishes())
    assert unknown.licence.startswith("unknown")
    assert unknown.unsuitable == known.UNSUITABLE


def test_a_wrong_graph_is_refused_and_nothing_is_written(
    export, standin_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A converter that gets one weight tensor slightly wrong, as tf2onnx did with a bias."""
    build = pipeline.convert._from_tensorflow

    def slightly_wrong(*arguments):
        graph = build(*arguments)
        largest = max(graph.graph.initializer, key=lambda tensor: len(tensor.raw_data))
        values = numpy_helper.to_array(largest) * np.float32(1.01)
        largest.CopyFrom(numpy_helper.from_array(values, largest.name))
        return graph

    monkeypatch.setattr(pipeline.convert, "_from_tensorflow", slightly_wrong)
    with pytest.raises(ParityError, match=r"max \|Δp\| is .*, allowed are 0.0001; nothing was"):
        export(standin_dir, tmp_path / "m.onnx", Wishes())
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_survives_a_failed_export(
    export, standin_dir: Path, tmp_path: Path
) -> None:
    target = tmp_path / "m.onnx"
    target.write_text("precious")
    labels = tmp_path / "labels.csv"
    labels.write_text("id,name\n0,only one\n")
    with pytest.raises(ExportError, match="1 names for 16 classes"):
        export(standin_dir, target, Wishes(labels=labels))
    assert target.read_text() == "precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["labels.csv", "m.onnx"]


def test_probes_that_do_not_fit_are_refused(
    export, standin_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(describe, "PROBE_BYTES", 1000)
    with pytest.raises(ExportError, match="the golden probes take .* bytes, allowed are 1000"):
        export(standin_dir, tmp_path / "m.onnx", Wishes())
    assert list(tmp_path.iterdir()) == []


def test_probes_that_do_not_pass_are_refused(
    export, standin_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(describe, "FLOAT_TOLERANCE", {"cpu": 1e-12, "cuda": 1e-12})
    with pytest.raises(
        ParityError, match=r"the golden probes do not pass: probabilities differ by"
    ):
        export(standin_dir, tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


def test_the_day_can_be_given(
    export, standin_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1767225600")
    made = export(standin_dir, tmp_path / "a.onnx", Wishes())
    assert made.created == "2026-01-01T00:00:00+00:00"


def test_verify_and_its_report(exported: Path, standin_dir: Path, tmp_path: Path) -> None:
    wishes = Wishes(pictures=standin_dir / "samples")
    description, comparison, shown = verify(standin_dir, exported, wishes)
    assert comparison.problem is None
    page = tmp_path / "report.html"
    report.write(page, str(standin_dir), exported, description, comparison, shown)
    facts = json.loads((tmp_path / "report.json").read_text())
    assert facts["passed"] is True
    assert [row["picture"] for row in facts["pictures"]] == list(shown.names)
    assert facts["pictures"][0]["reference_top"]["name"].startswith("Stand-in species")
    html = page.read_text(encoding="utf-8")
    assert html.count("<figure>") == len(shown.names)
    assert html.count("<circle") == 5 * len(shown.names)
    assert "Gate passed" in html
    assert "http" not in html  # nothing is fetched from anywhere


def test_verify_fails_on_altered_weights(exported: Path, standin_dir: Path, tmp_path: Path) -> None:
    model = onnx.load(exported)
    largest = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    values = numpy_helper.to_array(largest).copy()
    values.flat[values.size // 2] += 3
    largest.CopyFrom(numpy_helper.from_array(values, largest.name))
    altered = tmp_path / "altered.onnx"
    onnx.save(model, altered)
    description, comparison, shown = verify(standin_dir, altered, Wishes())
    assert comparison.problem is not None
    report.write(tmp_path / "r.html", str(standin_dir), altered, description, comparison, shown)
    assert "Gate failed: max |Δp|" in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_verify_with_another_module(exported: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    standin.build(other, classes=4, size=64, width=0.1, say=silent)
    with pytest.raises(ModuleError, match=r"has 4 classes, .* has 16"):
        verify(other, exported, Wishes())


def test_an_archive(export, standin_dir: Path, tmp_path: Path) -> None:
    archive = tmp_path / "copy.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(standin_dir, arcname=".")
    made = export(archive, tmp_path / "m.onnx", Wishes())
    assert made.source["location"] == "copy.tar.gz"
    assert made.parity.max_difference <= parity.FLOAT_LIMIT
