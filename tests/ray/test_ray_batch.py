"""`fungi-onnx batch --engine ray` on real clusters: nodes and drivers are really killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet as pq
from ray.cluster_utils import Cluster

from fungi_onnx.parts import Parts

from .conftest import BROKEN, COMMAND, MODEL, Run, make_pictures

MANY, SIZE = 5000, (1200, 900)  # a quarter of a minute of work


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Many pictures, one in a hundred broken."""
    folder = tmp_path_factory.mktemp("many")
    make_pictures(folder / "photos", MANY, SIZE)
    return folder


@pytest.fixture(scope="module")
def expected(many: Path) -> pa.Table:
    """What a single machine says of them."""
    subprocess.run(
        [COMMAND, "batch", "photos", "-m", str(MODEL), "-o", "single.parquet"],
        cwd=many,
        check=False,
        capture_output=True,
    )
    table = pq.read_table(many / "single.parquet")
    assert len(table) == MANY
    assert table.column("error_type").null_count == MANY - MANY // BROKEN
    return table


def started(many: Path, cluster: Cluster, out: Path, *more: str) -> subprocess.Popen[str]:
    command = [COMMAND, "batch", "photos", "-m", str(MODEL), "-o", str(out), "--engine", "ray"]
    return subprocess.Popen(
        [*command, "--address", cluster.address, "--json", *more],
        cwd=many,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def first_part(out: Path, process: subprocess.Popen[str]) -> None:
    """Waits until a part is there."""
    deadline = time.monotonic() + 90
    while not list(out.glob("part-*.parquet")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "no part was written"
        time.sleep(0.05)


def ended(process: subprocess.Popen[str]) -> tuple[int, dict[str, Any]]:
    out, err = process.communicate(timeout=120)
    assert out.startswith("{"), (out, err)
    return process.returncode, json.loads(out)


def test_equals_a_single_machine_row_for_row_though_a_node_is_killed(
    many: Path, expected: pa.Table, two_nodes: Cluster, tmp_path: Path
) -> None:
    process = started(many, two_nodes, tmp_path / "out")
    first_part(tmp_path / "out", process)
    two_nodes.remove_node(next(iter(two_nodes.worker_nodes)), allow_graceful=False)
    assert len(pq.read_table(tmp_path / "out")) < MANY, "the node was killed too late"
    code, summary = ended(process)
    assert (code, summary["pictures"], summary["already"]) == (1, MANY, 0)
    assert summary["failed"] == {"ImageDecodeError": MANY // BROKEN}
    assert pq.read_table(tmp_path / "out").equals(expected)


def test_a_killed_driver_costs_what_was_in_flight_and_nothing_is_done_twice(
    many: Path, expected: pa.Table, two_nodes: Cluster, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    process = started(many, two_nodes, out)
    first_part(out, process)
    process.kill()
    process.communicate()
    there = pq.read_table(out, columns=["image"]).column("image").to_pylist()
    assert 0 < len(there) < MANY
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    code, summary = ended(started(many, two_nodes, out, "--resume"))
    assert (code, summary["pictures"], summary["already"]) == (1, MANY, len(there))
    table = pq.read_table(out)
    assert set(Counter(table.column("image").to_pylist()).values()) == {1}
    assert table.sort_by("image").equals(expected.sort_by("image"))
    # What was there is as it was: the second run added only what was missing.
    assert {name: (out / name).read_bytes() for name in before} == before
    new = [name for path in out.iterdir() if (name := path.name) not in before]
    assert sum(pq.read_metadata(out / name).num_rows for name in new) == MANY - len(there)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_what_is_finished(
    number: int, many: Path, two_nodes: Cluster, tmp_path: Path
) -> None:
    process = started(many, two_nodes, tmp_path / "out")
    first_part(tmp_path / "out", process)
    process.send_signal(number)
    code, summary = ended(process)
    assert (code, summary["stopped_by"]) == (-number, number)
    assert len(pq.read_table(tmp_path / "out")) == summary["pictures"] < MANY


def test_on_this_machine_alone(run: Run, tmp_path: Path) -> None:
    make_pictures(tmp_path / "photos", 120)
    odd = os.fsdecode(b"photos/000/odd \xff name?#%.jpg")
    (tmp_path / "photos/000/000000.jpg").rename(tmp_path / odd)
    single = run("batch", "photos", "-o", "single.parquet")
    ray = run("batch", "photos", "-o", "out", "--engine", "ray")
    assert (single.returncode, ray.returncode) == (1, 1)
    assert "120 pictures in" in ray.stderr
    assert "2 failed (2 ImageDecodeError): out" in ray.stderr
    assert "Not for telling edible from inedible" in ray.stderr
    assert len(ray.stderr.splitlines()) == 3, ray.stderr  # Ray itself says nothing
    assert pq.read_table(tmp_path / "out").equals(pq.read_table(tmp_path / "single.parquet"))
    recorded = json.loads((tmp_path / "out/_run.json").read_text())
    assert (
        recorded["made_by"]
        == json.loads((tmp_path / "single.parquet.run.json").read_text())["made_by"]
    )
    metadata = pq.read_schema(tmp_path / "out/part-00000.parquet").metadata
    assert json.loads(metadata[b"fungi_onnx.run"]) == recorded


def test_tables_of_paths_and_of_bytes(run: Run, two_nodes: Cluster, tmp_path: Path) -> None:
    make_pictures(tmp_path / "photos", 60)
    on = ("--engine", "ray", "--address", two_nodes.address)
    files = sorted(str(p.relative_to(tmp_path)) for p in tmp_path.glob("photos/*/*.jpg"))
    (tmp_path / "list.txt").write_text("\n".join(files))
    run("batch", "list.txt", "-o", "single.parquet")
    expected = pq.read_table(tmp_path / "single.parquet")
    contents = [(tmp_path / name).read_bytes() for name in files]
    pq.write_table(pa.table({"path": files}), tmp_path / "paths.parquet")
    pq.write_table(
        pa.table({"path": files, "bytes": contents}), tmp_path / "bytes.parquet", row_group_size=25
    )
    (tmp_path / "some").mkdir()
    for number, part in enumerate((contents[:20], [None, *contents[20:]])):
        pq.write_table(pa.table({"jpeg": part}), tmp_path / f"some/{number}.parquet")

    assert run("batch", "paths.parquet", "-o", "a", *on).returncode == 1
    assert pq.read_table(tmp_path / "a").equals(expected)
    assert run("batch", "bytes.parquet", "-o", "b", *on).returncode == 1
    assert pq.read_table(tmp_path / "b").equals(expected)
    # A folder of tables, a column of another name, and pictures that have none.
    assert run("batch", "some", "-o", "c", "--column", "jpeg", *on).returncode == 1
    rows = pq.read_table(tmp_path / "c")
    names = [f"some/0.parquet#{n}" for n in range(20)] + [f"some/1.parquet#{n}" for n in range(41)]
    assert rows.column("image").to_pylist() == names
    assert rows.column("top").to_pylist() == [
        *expected.column("top").to_pylist()[:20],
        None,
        *expected.column("top").to_pylist()[20:],
    ]
    assert "the table has no bytes in this row" in rows.column("error_message")[20].as_py()
    # Of what a part held that is gone, those pictures are done again, and no others.
    assert run("batch", "bytes.parquet", "-o", "b", "--resume", *on).returncode == 1
    assert len(list((tmp_path / "b").glob("part-*"))) == 1


def test_duplicates_stay(run: Run, two_nodes: Cluster, tmp_path: Path) -> None:
    make_pictures(tmp_path / "photos", 4)
    on = ("--engine", "ray", "--address", two_nodes.address)
    names = ["photos/000/000001.jpg", "photos/000/000002.jpg"]
    (tmp_path / "list.txt").write_text("\n".join(names))
    assert run("batch", "list.txt", "-o", "out", *on).returncode == 0
    (tmp_path / "list.txt").write_text("\n".join([*names, names[0], "photos/none.jpg"]))
    assert run("batch", "list.txt", "-o", "out", "--resume", *on).returncode == 1
    rows = pq.read_table(tmp_path / "out")
    assert rows.column("image").to_pylist() == [*names, names[0], "photos/none.jpg"]
    assert rows.column("error_message")[3].as_py() == "photos/none.jpg: no such file"


def test_what_cannot_be_done_is_said(run: Run, two_nodes: Cluster, tmp_path: Path) -> None:
    make_pictures(tmp_path / "photos", 3)
    on = ("--engine", "ray", "--address", two_nodes.address)
    pq.write_table(pa.table({"a": [1], "b": ["x"]}), tmp_path / "other.parquet")
    (tmp_path / "no.parquet").write_text("no table")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/notes.txt").write_text("mine")
    assert run("batch", "photos", "-o", "out", *on).returncode == 0
    for arguments, code, text in [
        (("batch", "none", "-o", "x", *on), 2, "none: no such folder or list file"),
        (("batch", "none.parquet", "-o", "x", *on), 2, "none.parquet: no such table"),
        (("batch", "no.parquet", "-o", "x", *on), 2, "no.parquet: is no Parquet file that can be"),
        (
            ("batch", "other.parquet", "-o", "x", *on),
            2,
            "other.parquet: has the columns a, b, and neither bytes nor path: name the one with the"
            " pictures' bytes or paths with --column",
        ),
        (("batch", "other.parquet", "-o", "x", "--column", "c", *on), 2, "and not c: name the one"),
        (
            ("batch", "other.parquet", "-o", "x", "--column", "a", *on),
            2,
            "the column a has neither texts nor bytes, but int64",
        ),
        (("batch", "photos", "-o", "full", *on), 2, "full: holds other files, such as notes.txt"),
        (("batch", "photos", "-o", "out", *on), 2, "out: there are results already: go on with"),
        (
            ("batch", "photos", "-o", "out", "-k", "2", "--resume", *on),
            2,
            "out: was made otherwise and would be mixed: top_k 5 → 2",
        ),
        (
            ("batch", "photos", "-o", "x", "--device", "cuda", *on),
            4,
            "device 'cuda' was asked for, and the cluster has no GPU",
        ),
        (("batch", "photos", "-o", "x", "--device", "tpu", *on), 2, "device must be 'auto', 'cpu'"),
        (
            ("batch", "photos", "-o", "x", "--engine", "ray", "--address", "127.0.0.1:9"),
            1,
            "no Ray cluster at 127.0.0.1:9: [Errno 111] Connection refused",
        ),
        (("batch", "photos", "-o", "x.csv", "--column", "c"), 2, "--column are for --engine ray"),
        (("batch", "s3://b/p", "-o", "x.csv"), 2, "s3://b/p: addresses are for --engine ray"),
    ]:
        done = run(*arguments)
        assert (done.returncode, done.stdout) == (code, ""), (arguments, done.stderr)
        assert text in done.stderr
        assert len(done.stderr.splitlines()) == 1, done.stderr
    # Nothing of that took anything away; and one run at a time writes to a folder.
    assert run("batch", "photos", "-o", "out", "--resume", *on).returncode == 0
    with Parts(str(tmp_path / "busy"), {"made_by": {}}):
        done = run("batch", "photos", "-o", "busy", *on)
    assert (done.returncode, done.stderr) == (
        2,
        "fungi-onnx: busy: another run is writing to it\n",
    )
