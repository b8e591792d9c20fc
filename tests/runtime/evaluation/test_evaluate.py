"""`evaluate` and `calibrate` as people run them, against a plain computation of the same."""

from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from fungi_onnx import FungiClassifier, TruthError
from fungi_onnx.evaluation import evaluate, read_truth

from ..test_cli import run


def expected_recall(rows: np.ndarray, truth: np.ndarray, k: int) -> float:
    """By sorting, with a stable sort: of the same probability the lower id comes first."""
    best = np.argsort(-rows, axis=1, kind="stable")[:, :k]
    return float(np.mean([label in ids for label, ids in zip(truth, best, strict=True)]))


def test_the_numbers(classifier: FungiClassifier, shown) -> None:
    evaluation = evaluate(read_truth(shown.table), [classifier])
    (result,) = evaluation.results
    assert evaluation.failed == ()
    assert evaluation.unknown == {}
    assert result.truth.tolist() == shown.truth.tolist()
    for k in (1, 5, 10):
        assert result.recall[k].value == expected_recall(shown.rows, shown.truth, k)
        means = [
            expected_recall(shown.rows[shown.truth == one], shown.truth[shown.truth == one], k)
            for one in set(shown.truth.tolist())
        ]
        assert result.macro[k][0] == pytest.approx(np.mean(means))
    assert 0.2 < result.recall[1].value < 0.8  # so that something could be wrong
    assert np.array_equal(result.best[:, 0], shown.rows.argmax(axis=1))
    assert np.array_equal(result.confidence, shown.rows.max(axis=1))
    assert np.array_equal(result.of_truth, shown.rows[np.arange(len(shown.rows)), shown.truth])
    assert sum(one.photos for one in result.classes) == len(shown.rows)


def test_the_command(tiny: Path, shown, tmp_path: Path) -> None:
    result = run("evaluate", shown.table, "-m", tiny, "--csv", tmp_path / "photos.csv")
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    kinds = len(set(shown.truth.tolist()))
    assert lines[0] == f"{shown.table}: 90 photos of {kinds} classes"
    for k in (1, 5, 10):
        value = expected_recall(shown.rows, shown.truth, k)
        assert any(line.startswith(f"Recall@{k} ") and f" {value:.3f} " in line for line in lines)
    assert "Not for telling edible from inedible mushrooms" in result.stderr
    with (tmp_path / "photos.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, strict=True))
    assert [row["image"] for row in rows] == [f"photo {n:02d}.png" for n in range(90)]
    assert [int(row["id"]) for row in rows] == shown.truth.tolist()
    assert [int(row["answer_id"]) for row in rows] == shown.rows.argmax(axis=1).tolist()
    ranks = [int(row["rank"]) for row in rows]
    for k in (1, 5, 10):
        assert np.mean([rank <= k for rank in ranks]) == expected_recall(shown.rows, shown.truth, k)
    assert os.listdir(tmp_path) == ["photos.csv"]


def test_json_ends_with_the_recall(tiny: Path, shown) -> None:
    result = run("evaluate", shown.table, "-m", tiny, "--json")
    found = json.loads(result.stdout.splitlines()[-1])
    assert found["recall"] == {
        str(k): expected_recall(shown.rows, shown.truth, k) for k in (1, 5, 10)
    }
    (only,) = found["results"]
    assert only["recall"] == found["recall"]
    low, high = only["interval"]["1"]
    assert low < found["recall"]["1"] < high
    assert only["accepted"][0] == {"from": 0.0, "kept": 1.0, "right": found["recall"]["1"]}
    assert sum(bin["photos"] for bin in only["reliability"]) == 90
    assert found["comparisons"] == []


def test_several_at_once_on_the_same_photos(tiny: Path, shown, tmp_path: Path) -> None:
    """A photo that one of them cannot look at is left out of all."""
    other = shutil.copy(tiny.with_name("tiny.fp16.onnx"), tmp_path / "half.onnx")
    table = shown.folder / "with a bad one.csv"
    table.write_text(shown.table.read_text() + "gone.jpg,1\n")
    models = ["-m", tiny, "-m", other, "--crop", "whole", "--crop", "centre", "--crop", "whole"]
    result = run("evaluate", table, *models, "--json")
    assert result.returncode == 1
    assert "gone.jpg: no such file" in result.stderr
    found = json.loads(result.stdout)
    names = [one["name"] for one in found["results"]]
    assert names == ["tiny.onnx whole", "tiny.onnx centre", "half.onnx whole", "half.onnx centre"]
    assert {one["photos"] for one in found["results"]} == {90}
    assert [one["image"] for one in found["failed"]] == ["gone.jpg"]
    assert len(found["comparisons"]) == 6
    first = found["comparisons"][0]
    assert (first["first"], first["second"]) == tuple(names[:2])
    right = []
    for crop in ("whole", "centre"):
        looking = FungiClassifier(tiny, device="cpu", crop=crop)
        photos = [shown.folder / f"photo {n:02d}.png" for n in range(90)]
        answers = [p.top[0].id for p in looking.classify_many(photos, 1)]
        right.append(np.array(answers) == shown.truth)
    assert first["at"]["1"]["only_first"] == int((right[0] & ~right[1]).sum()) > 0
    assert first["at"]["1"]["only_second"] == int((right[1] & ~right[0]).sum())
    text = run("evaluate", table, *models).stdout
    assert "found by one alone (McNemar's exact test)" in text


def test_labels_that_the_model_does_not_know_count_as_missed(
    classifier: FungiClassifier, tiny: Path, shown
) -> None:
    table = shown.folder / "some unknown.csv"
    lines = shown.table.read_text().splitlines()
    near = classifier.labels[5][:-2]
    lines[1] = f"photo 00.png,{near}"
    lines[2] = "photo 01.png,Quercus robur"
    table.write_text("\n".join(lines))
    result = run("evaluate", table, "-m", tiny, "--json")
    assert result.returncode == 0
    assert result.stderr.startswith(
        "fungi-onnx: the model does not know some labels, and their photos count as missed:"
        f" {near} (1) (did you mean {classifier.labels[5]!r}?), Quercus robur (1)\n"
    )
    found = json.loads(result.stdout)
    assert found["unknown_labels"] == {near: 1, "Quercus robur": 1}
    for k in (1, 5, 10):
        hits = expected_recall(shown.rows[2:], shown.truth[2:], k)
        assert found["recall"][str(k)] == round(hits * 88) / 90
        assert found["results"][0]["recall_of_known"][str(k)] == hits
        rows, truth = shown.rows[2:], shown.truth[2:]
        means = [expected_recall(rows[truth == n], truth[truth == n], k) for n in set(truth)]
        assert found["results"][0]["macro_recall"][str(k)] == pytest.approx(np.mean(means))
    assert sum(one["photos"] for one in found["results"][0]["classes"]) == 88
    assert "  of known classes @1" in run("evaluate", table, "-m", tiny).stdout


def test_no_photo_of_a_known_class_can_be_read(tiny: Path, shown) -> None:
    table = shown.folder / "none known.csv"
    table.write_text("image,label\nphoto 00.png,Quercus robur\ngone.jpg,1\n")
    result = run("evaluate", table, "-m", tiny, "--json")
    assert result.returncode == 1
    assert "NaN" not in result.stdout
    (only,) = json.loads(result.stdout)["results"]
    assert only["recall"]["1"] == 0
    assert only["recall_of_known"]["1"] is only["macro_recall"]["1"] is None
    assert "RuntimeWarning" not in result.stderr
    assert "nan  (0.000 to 1.000)" in run("evaluate", table, "-m", tiny).stdout


def test_a_folder_of_classes_and_synonyms(tiny: Path, shown, tmp_path: Path) -> None:
    folder = tmp_path / "classes"
    for n, label in enumerate(shown.truth[:12].tolist()):
        (folder / f"kind {label}").mkdir(parents=True, exist_ok=True)
        shutil.copy(shown.folder / f"photo {n:02d}.png", folder / f"kind {label}")
    (folder / "notes.txt").touch()
    labels = FungiClassifier(tiny, device="cpu").labels
    synonyms = tmp_path / "synonyms.csv"
    synonyms.write_text(
        "synonym,name\n" + "".join(f"kind {n},{name}\n" for n, name in enumerate(labels))
    )
    without = run("evaluate", folder, "-m", tiny)
    assert without.returncode == 2
    assert "none of its labels is a class of the model" in without.stderr
    result = run("evaluate", folder, "-m", tiny, "--synonyms", synonyms, "--json")
    assert result.returncode == 0
    assert "what lies in no class's folder was left out: notes.txt\n" in result.stderr
    found = json.loads(result.stdout)
    for k in (1, 5, 10):
        expected = expected_recall(shown.rows[:12], shown.truth[:12], k)
        assert found["recall"][str(k)] == expected


def test_what_cannot_be_done(tiny: Path, shown, tmp_path: Path) -> None:
    def refused(*arguments: object) -> tuple[int, str]:
        result = run("evaluate", *arguments, "-m", tiny)
        assert result.stdout == ""
        return result.returncode, result.stderr.strip()

    gone = tmp_path / "gone.csv"
    assert refused(gone) == (2, f"fungi-onnx: {gone}: no such file or folder")
    gone.write_text("image,label\ngone.jpg,1\n")
    code, told = refused(gone)
    assert code == 2
    assert told.startswith(f"fungi-onnx: {gone}: none of its 1 photos can be used; the first: ")
    nowhere = tmp_path / "no" / "report.html"
    assert refused(shown.table, "--html", nowhere) == (
        2,
        f"fungi-onnx: {nowhere}: there is no folder {nowhere.parent}",
    )
    assert refused(shown.table, "--csv", tmp_path) == (2, f"fungi-onnx: {tmp_path}: is a folder")
    assert os.listdir(tmp_path) == ["gone.csv"]
    with pytest.raises(TruthError, match="none of its 1 photos can be used"):
        evaluate(read_truth(gone), [FungiClassifier(tiny, device="cpu")])


def test_a_file_that_cannot_be_written_does_not_cost_the_figures(
    tiny: Path, shown, tmp_path: Path
) -> None:
    too_long = tmp_path / f"{'x' * 300}.csv"
    result = run("evaluate", shown.table, "-m", tiny, "--csv", too_long)
    assert result.returncode == 1
    assert "Recall@10" in result.stdout
    last = result.stderr.strip().splitlines()[-1]
    assert last == f"fungi-onnx: {too_long}: cannot be written: File name too long"
    assert os.listdir(tmp_path) == []


def test_calibrate_as_a_command(tiny: Path, shown, tmp_path: Path) -> None:
    model = shutil.copy(tiny, tmp_path / "tiny.onnx")
    result = run("calibrate", shown.table, "-m", model)
    assert result.returncode == 0, result.stderr
    path = tmp_path / "tiny.calibration.json"
    fitted = json.loads(path.read_text())["temperature"]
    assert result.stdout.startswith("temperature  ")
    assert f" {fitted:.4g} (" in result.stdout
    assert f"It is in {path}; nothing uses it until it is asked for" in result.stdout
    told = json.loads(run("calibrate", shown.table, "-m", model, "--json").stdout)
    assert (told["temperature"], told["path"]) == (fitted, str(path))
    photo = shown.folder / "photo 00.png"

    def best(*options: object) -> float:
        answer = run("classify", photo, "-m", model, "--json", *options)
        return json.loads(answer.stdout)["top"][0]["probability"]

    plain, tempered = best(), best("--temperature", "calibrated")
    assert plain == shown.rows[0].max()
    assert best("--temperature", 1) == pytest.approx(plain, rel=1e-6)
    assert tempered == best("--temperature", fitted) != plain
    evaluated = run("evaluate", shown.table, "-m", model, "--temperature", "calibrated", "--json")
    first = json.loads(evaluated.stdout)["results"][0]
    assert first["temperature"] == fitted
    assert first["recall"]["5"] == expected_recall(shown.rows, shown.truth, 5)
    path.unlink()
    missing = run("classify", photo, "-m", model, "--temperature", "calibrated")
    assert (missing.returncode, missing.stdout) == (3, "")
    assert "no such calibration; make it with: fungi-onnx calibrate" in missing.stderr


def test_a_calibration_that_cannot_be_kept_is_told(tiny: Path, shown, tmp_path: Path) -> None:
    model = shutil.copy(tiny, tmp_path / "tiny.onnx")
    (tmp_path / "tiny.calibration.json").mkdir()
    result = run("calibrate", shown.table, "-m", model)
    assert result.returncode == 3
    assert "cannot be written: Is a directory; the temperature can be given as a number, too: " in (
        result.stderr
    )
    assert sorted(os.listdir(tmp_path)) == ["tiny.calibration.json", "tiny.onnx"]


@pytest.mark.parametrize("option", ["--min-probability", "--temperature"])
@pytest.mark.parametrize("value", ["x", "-1", "nan"])
def test_numbers_that_are_none(tiny: Path, sample: Path, option: str, value: str) -> None:
    result = run("classify", sample, "-m", tiny, f"{option}={value}")
    assert result.returncode == 2
    assert f"argument {option}: {value!r} is not a number " in result.stderr


def test_unsure_answers_in_every_form(tiny: Path, sample: Path, tmp_path: Path) -> None:
    asked = ("-m", tiny, "-k", 1, "--min-probability", 0.9)
    one = json.loads(run("classify", sample, *asked, "--json").stdout)
    assert one["unsure"] is True
    assert run("classify", sample, *asked).stdout.splitlines()[0] == f"{sample}  (not sure)"
    photos = tmp_path / "photos"
    photos.mkdir()
    shutil.copy(sample, photos)
    for suffix in ("jsonl", "csv"):
        out = tmp_path / f"out.{suffix}"
        assert run("batch", photos, "-o", out, *asked).returncode == 0
        text = out.read_text()
        found = json.loads(text) if suffix == "jsonl" else next(csv.DictReader(text.splitlines()))
        assert found["unsure"] in (True, "true")
    otherwise = run("batch", photos, "-o", out, "-m", tiny, "-k", 1, "--resume")
    assert otherwise.returncode == 2
    assert "was made otherwise and would be mixed: min_probability 0.9 → None" in otherwise.stderr
