"""`fungi_onnx.ray.classify`: for those who have a dataset of their own."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import ray
from pyarrow import parquet as pq
from ray.cluster_utils import Cluster
from ray.exceptions import RayError

from fungi_onnx import FungiClassifier, ModelNotFoundError
from fungi_onnx.ray import Look, classify

from .conftest import MODEL, Run, make_pictures


@pytest.fixture(scope="module", autouse=True)
def _connected(cluster: Cluster) -> Iterator[None]:
    """This process is connected to the cluster."""
    ray.init(address=cluster.address, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture
def expected(run: Run, tmp_path: Path) -> list[dict[str, Any]]:
    """What a single machine says of a hundred pictures, one of them broken."""
    make_pictures(tmp_path / "photos", 100)
    run("batch", "photos", "-o", "single.parquet")
    return list(pq.read_table(tmp_path / "single.parquet").sort_by("image").to_pylist())


def rows_of(dataset: ray.data.Dataset) -> list[dict[str, Any]]:
    """In the order of the names."""
    table = pa.concat_tables(ray.get(dataset.to_arrow_refs()))
    return list(table.sort_by("image").to_pylist())


@pytest.mark.usefixtures("two_nodes")
def test_paths_and_bytes(
    expected: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = [row["image"] for row in expected]
    assert rows_of(classify(names, MODEL)) == expected
    paths = ray.data.from_arrow(pa.table({"path": names}))
    assert rows_of(classify(paths, MODEL, concurrency=1)) == expected
    pictures = ray.data.read_binary_files("photos", include_paths=True)
    rows = rows_of(classify(pictures, MODEL, concurrency=(1, 2)))
    assert [row["top"] for row in rows] == [row["top"] for row in expected]
    assert [Path(row["image"]).name for row in rows] == [Path(name).name for name in names]
    nameless = rows_of(classify(pictures.select_columns("bytes"), MODEL, look=Look(top_k=2)))
    assert {row["image"] for row in nameless} == {""}
    assert {len(row["top"]) for row in nameless if row["top"]} == {2}
    assert [row["error_type"] for row in nameless].count("ImageDecodeError") == 1


@pytest.mark.usefixtures("two_nodes")
def test_a_least_probability_and_what_lies_beside_the_model_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make_pictures(tmp_path / "photos", 4)
    names = sorted(map(str, Path("photos").rglob("*.jpg")))
    model = Path(shutil.copy(MODEL, tmp_path / "own.onnx"))
    facts = {"temperature": 0.5, "model_sha256": hashlib.sha256(model.read_bytes()).hexdigest()}
    (tmp_path / "own.calibration.json").write_text(json.dumps(facts))
    here = FungiClassifier(model, device="cpu", temperature=0.5)
    least = sorted(one.top[0].probability for one in here.classify_many(names))[2]
    alone = [one.to_dict() for one in here.classify_many(names, min_probability=least)]
    look = Look(temperature="calibrated", min_probability=least)
    rows = rows_of(classify(names, model, look=look, concurrency=1))
    assert [row["top"] for row in rows] == [one.get("top") for one in alone]
    assert [row["unsure"] for row in rows] == [one["unsure"] for one in alone]
    assert sorted(row["unsure"] for row in rows) == [False, False, True, True]


@pytest.mark.usefixtures("two_nodes")
def test_what_cannot_be_done_is_said(tmp_path: Path) -> None:
    other = ray.data.from_arrow(pa.table({"jpeg": [b"x"]}))
    with pytest.raises(RayError, match="has the columns jpeg, and neither path nor bytes: rename"):
        classify(other, MODEL).materialize()
    with pytest.raises(ModelNotFoundError, match="none.onnx"):
        classify(["a.jpg"], tmp_path / "none.onnx")
    with pytest.raises(ValueError, match=r"concurrency must be at least 1, and not \(2, 1\)"):
        classify(["a.jpg"], MODEL, concurrency=(2, 1))
    with pytest.raises(ValueError, match="a worker has at least 1 CPU, and not 0 and 0 GPUs"):
        classify(["a.jpg"], MODEL, num_cpus=0)
