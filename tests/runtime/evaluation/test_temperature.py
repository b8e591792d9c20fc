"""The temperature of a classifier, and its file beside the model; and the least probability."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy import special

from fungi_onnx import CalibrationError, FungiClassifier, Prediction
from fungi_onnx.evaluation import calibrate, read_truth
from fungi_onnx.temperature import Calibration, beside


@pytest.fixture
def model(tiny: Path, tmp_path: Path) -> Path:
    """A copy, beside which a calibration may lie."""
    return Path(shutil.copy(tiny, tmp_path / "tiny.onnx"))


def test_it_tempers_the_answers_and_nothing_else(
    tiny: Path, classifier: FungiClassifier, sample: Path
) -> None:
    tempered = FungiClassifier(tiny, device="cpu", temperature=2)
    images = classifier.prepare(sample)[np.newaxis]
    (row,) = classifier(images)
    assert np.array_equal(tempered(images)[0], row)  # the hub module's own call
    (bare,) = tempered.probabilities_many([sample])
    assert np.array_equal(bare, row)
    expected = special.softmax(np.log(row.astype(np.float64)) / 2)
    for prediction in (tempered.classify(sample, 12), *tempered.classify_many([sample], 12)):
        assert [m.id for m in prediction.top] == [m.id for m in classifier.classify(sample, 12).top]
        values = [match.probability for match in prediction.top]
        assert values == pytest.approx(sorted(expected, reverse=True), rel=1e-6)
    assert (classifier.temperature, tempered.temperature) == (None, 2.0)


@pytest.mark.parametrize("wrong", [0, -1, float("nan"), float("inf"), "warm", [1]])
def test_what_is_no_temperature(tiny: Path, wrong: object) -> None:
    with pytest.raises(ValueError, match="temperature must be a number above 0 or 'calibrated', n"):
        FungiClassifier(tiny, device="cpu", temperature=wrong)  # type: ignore[arg-type]


def test_it_is_kept_beside_the_model_and_used_when_asked_for(model: Path, shown) -> None:
    fitted, errors = calibrate(read_truth(shown.table), FungiClassifier(model, device="cpu"))
    assert errors == []
    path = fitted.save(model)
    assert path == beside(model) == model.with_name("tiny.calibration.json")
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()
    assert sorted(os.listdir(model.parent)) == ["tiny.calibration.json", "tiny.onnx"]
    assert FungiClassifier(model, device="cpu").temperature is None  # never silently
    asked = FungiClassifier(model, device="cpu", temperature="calibrated")
    assert asked.temperature == fitted.temperature
    kept = json.loads(path.read_text())
    assert kept["photos"] == 90
    assert kept["classes"] == len(set(shown.truth.tolist()))
    assert len(kept["fold_temperatures"]) == 5


def test_the_numbers_of_a_calibration(classifier: FungiClassifier, shown) -> None:
    """Against the plainest computation of the same."""
    found, _ = calibrate(read_truth(shown.table), classifier)
    logs = np.log(shown.rows.astype(np.float64))
    count, everything = len(logs), np.arange(len(logs))

    def loss(temperature: float, chosen: np.ndarray = everything) -> np.ndarray:
        scaled = special.log_softmax(logs[chosen] / temperature, axis=1)
        return -scaled[np.arange(len(chosen)), shown.truth[chosen]]

    assert found.nll == pytest.approx(loss(1.0).mean(), rel=1e-5)
    for change in (0.99, 1.01):
        assert loss(found.temperature).mean() < loss(found.temperature * change).mean()
    fold = np.random.default_rng(1).permutation(count) % 5
    held_out = [loss(t, np.flatnonzero(fold == n)) for n, t in enumerate(found.fold_temperatures)]
    assert found.held_out_nll == pytest.approx(np.concatenate(held_out).mean(), rel=1e-5)
    assert found.held_out_nll > loss(found.temperature).mean()  # fitted on what it is judged by
    tops, right = np.empty(count), shown.rows.argmax(axis=1) == shown.truth
    for n, t in enumerate(found.fold_temperatures):
        tops[fold == n] = special.softmax(logs[fold == n] / t, axis=1).max(axis=1)
    edges = np.linspace(0, 1, 16)
    error = sum(
        abs((tops[inside] - right[inside]).sum())
        for low, high in itertools.pairwise(edges)
        if (inside := (tops > low) & (tops <= high)).any()
    )
    assert found.held_out_ece == pytest.approx(error / count, rel=1e-5)
    assert found.ece != found.held_out_ece


def test_what_cannot_be_used_is_passed_over(classifier: FungiClassifier, shown) -> None:
    """A file that is gone, a class that the model does not have: the others are fitted alike."""
    lines = shown.table.read_text().splitlines()
    odd = shown.folder / "odd.csv"
    odd.write_text("\n".join([*lines[:20], "gone.jpg,1", "photo 19.jpg,nobody's", *lines[20:]]))
    whole, _ = calibrate(read_truth(shown.table), classifier)
    found, errors = calibrate(read_truth(odd), classifier)
    assert [error.image for error in errors] == [str(shown.folder / "gone.jpg")]
    assert dataclasses.replace(found, created=whole.created) == whole


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _kept(model: Path, **other: object) -> None:
    facts = dict.fromkeys(Calibration.__dataclass_fields__, 0)
    beside(model).write_text(json.dumps({**facts, "temperature": 1.5, **other}))


def test_a_calibration_that_cannot_be_used(model: Path) -> None:
    advice = f"make it with: fungi-onnx calibrate TRUTH.csv -m {model}"

    def message() -> str:
        with pytest.raises(CalibrationError) as caught:
            FungiClassifier(model, device="cpu", temperature="calibrated")
        return str(caught.value)

    path = beside(model)
    assert message() == f"{path}: no such calibration; {advice}"
    _kept(model, model_sha256="0" * 64)
    assert message() == f"{path}: belongs to another model file than {model}; {advice}"
    for text in ("", "[]", "{}", '{"temperature": -1, "model_sha256": ""}', '{"temperature": 1}'):
        path.write_text(text)
        assert message() == f"{path}: is not a calibration; {advice}"
    path.unlink()
    path.mkdir()
    assert message() == f"{path}: cannot be read: Is a directory"


def test_too_few_photos(classifier: FungiClassifier, shown) -> None:
    lines = shown.table.read_text().splitlines()[:50]
    few = shown.folder / "few.csv"
    few.write_text("\n".join([*lines, "gone.jpg,1", "photo 80.png,nobody's"]))
    with pytest.raises(CalibrationError) as caught:
        calibrate(read_truth(few), classifier)
    assert str(caught.value) == (
        f"{few}: a temperature needs at least 50 photos of classes that the model has, and 49 could"
        " be used"
    )


def test_the_least_probability(classifier: FungiClassifier, sample: Path) -> None:
    best = classifier.classify(sample).top[0].probability

    def unsure(least: float | None) -> bool | None:
        (many,) = classifier.classify_many([sample], min_probability=least)
        one = classifier.classify(sample, min_probability=least)
        assert one.unsure is many.unsure
        assert one.matches == many.matches == classifier.classify(sample).matches
        return one.unsure

    assert unsure(None) is None
    assert unsure(best) is False  # from it on
    assert unsure(np.nextafter(best, 1)) is True
    assert (unsure(0), unsure(1)) == (False, True)
    for wrong in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="min_probability must be from 0 to 1, not"):
            classifier.classify(sample, min_probability=wrong)
        with pytest.raises(ValueError, match="min_probability must be from 0 to 1, not"):
            classifier.classify_many([sample], min_probability=wrong)
    (missing,) = classifier.classify_many(["gone.jpg"], min_probability=0.5)
    assert missing.unsure is None
    assert "unsure" not in missing.to_dict()


def test_how_it_is_told(classifier: FungiClassifier, sample: Path) -> None:
    sure = classifier.classify(sample, 1, min_probability=0)
    unsure = classifier.classify(sample, 1, min_probability=1)
    assert "unsure" not in classifier.classify(sample, 1).to_dict()
    assert sure.to_dict()["unsure"] is False
    assert unsure.to_dict()["unsure"] is True
    assert str(sure).splitlines()[0] == str(sample)
    assert str(unsure).splitlines()[0] == f"{sample}  (not sure)"
    assert "(not sure)" in unsure._repr_html_()
    assert "(not sure)" not in sure._repr_html_()
    assert Prediction("a", ()).unsure is None
