"""Pictures and results in an S3-compatible store: a real server, with real refusals."""

from __future__ import annotations

import io
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pyarrow as pa
import pytest
from pyarrow import fs
from pyarrow import parquet as pq
from ray.cluster_utils import Cluster

from .conftest import KEYS, Run, make_pictures


@pytest.fixture
def bucket(s3: str, tmp_path: Path) -> Iterator[str]:
    """The query of addresses; the bucket ``photos`` holds forty pictures."""
    client = boto(s3)
    client.create_bucket(Bucket="photos")
    make_pictures(tmp_path / "here", 40)
    for path in (tmp_path / "here/000").iterdir():
        client.put_object(Bucket="photos", Key=f"a b/{path.name}", Body=path.read_bytes())
    client.put_object(Bucket="photos", Key="a b/.hidden", Body=b"x")
    yield f"scheme=http&endpoint_override={s3.removeprefix('http://')}"
    urllib.request.urlopen(f"{s3}/moto-api/reset", data=b"").close()
    allow_anyone(s3)


def allow_anyone(s3: str, actions: str = "1e9") -> None:
    """Lets so many requests pass before keys are checked."""
    text = {"Content-Type": "text/plain"}
    request = urllib.request.Request(f"{s3}/moto-api/reset-auth", actions.encode(), text)
    urllib.request.urlopen(request).close()


def boto(s3: str) -> Any:
    """A client of the server."""
    return boto3.client(
        "s3",
        endpoint_url=s3,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )


def parquet_of(table: pa.Table) -> bytes:
    """The bytes of a Parquet file."""
    file = io.BytesIO()
    pq.write_table(table, file)
    return file.getvalue()


def rows_of(s3: str) -> pa.Table:
    """The results in the bucket ``results``."""
    system = fs.S3FileSystem(
        access_key="test",
        secret_key="test",
        endpoint_override=s3.removeprefix("http://"),
        scheme="http",
        region="us-east-1",
    )
    return pq.read_table("results/out", filesystem=system)


def test_pictures_and_results_in_a_bucket(
    bucket: str, s3: str, run: Run, two_nodes: Cluster, tmp_path: Path
) -> None:
    boto(s3).create_bucket(Bucket="results")
    run("batch", "here", "-o", "single.parquet")
    single = pq.read_table(tmp_path / "single.parquet").sort_by("image")
    command = ("batch", f"s3://photos/a b?{bucket}", "-o", f"s3://results/out?{bucket}")
    on = ("--engine", "ray", "--address", two_nodes.address)
    done = run(*command, *on, env=KEYS)
    assert done.returncode == 1, done.stderr
    assert "40 pictures in" in done.stderr
    rows = rows_of(s3)
    names = [name.replace("here/000", "s3://photos/a b") for name in single["image"].to_pylist()]
    assert rows["image"].to_pylist() == names
    assert rows["top"].equals(single["top"])
    assert rows["error_type"].equals(single["error_type"])
    again = run(*command, "--resume", *on, env=KEYS)
    assert "nothing new, 40 were there already" in again.stderr


def test_a_missing_object_is_a_row(
    bucket: str, s3: str, run: Run, two_nodes: Cluster, tmp_path: Path
) -> None:
    names = [f"s3://photos/a b/{name}.jpg" for name in ("000001", "none", "000002")]
    on = ("--engine", "ray", "--address", two_nodes.address)
    table = pa.table({"path": names})
    boto(s3).put_object(Bucket="photos", Key="t.parquet", Body=parquet_of(table))
    done = run("batch", f"s3://photos/t.parquet?{bucket}", "-o", "out", *on, env=KEYS)
    assert done.returncode == 1, done.stderr
    rows = pq.read_table(tmp_path / "out")
    assert rows["image"].to_pylist() == names
    assert rows["error_message"].to_pylist() == [None, f"{names[1]}: no such file", None]
    assert rows["error_type"].to_pylist() == [None, "ImageFileError", None]


def test_bytes_in_a_bucket(
    bucket: str, s3: str, run: Run, two_nodes: Cluster, tmp_path: Path
) -> None:
    contents = [path.read_bytes() for path in sorted((tmp_path / "here/000").iterdir())]
    for number in range(2):
        body = parquet_of(pa.table({"bytes": contents[number * 20 :][:20]}))
        boto(s3).put_object(Bucket="photos", Key=f"tables/{number}.parquet", Body=body)
    on = ("--engine", "ray", "--address", two_nodes.address)
    done = run(
        "batch", f"s3://photos/tables?{bucket}", "-o", "out", "--column", "bytes", *on, env=KEYS
    )
    assert done.returncode == 1, done.stderr
    run("batch", "here", "-o", "single.parquet")
    single = pq.read_table(tmp_path / "single.parquet").sort_by("image")
    rows = pq.read_table(tmp_path / "out")
    assert rows["top"].equals(single["top"])
    assert rows["image"][25].as_py() == "s3://photos/tables/1.parquet#5"


def test_refused_credentials_stop_it_and_nothing_is_lost(
    bucket: str, s3: str, run: Run, two_nodes: Cluster, tmp_path: Path
) -> None:
    on = ("--engine", "ray", "--address", two_nodes.address)
    command = ("batch", f"s3://photos/a b?{bucket}", "-o", "out", *on)
    wrong = {**KEYS, "AWS_ACCESS_KEY_ID": "nobody"}
    allow_anyone(s3, "0")
    done = run(*command, env=wrong)
    assert done.returncode == 2, done.stderr
    assert "fungi-onnx: s3://photos/a b: cannot be read:" in done.stderr
    assert "ACCESS_DENIED" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()
    # Refused on the way: what was read before has its rows, the rest has none.
    allow_anyone(s3, "12")
    done = run(*command, env=KEYS)
    assert done.returncode == 2, done.stderr
    assert ".jpg: cannot be read:" in done.stderr
    assert "nothing is lost: mend that and go on with --resume" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    allow_anyone(s3)
    done = run(*command, "--resume", env=KEYS)
    assert done.returncode == 1, done.stderr
    rows = pq.read_table(tmp_path / "out")
    assert len(rows) == len(set(rows["image"].to_pylist())) == 40
    assert rows["error_type"].drop_null().to_pylist() == ["ImageDecodeError"]


def test_what_cannot_be_there_is_said(
    bucket: str, run: Run, two_nodes: Cluster, tmp_path: Path
) -> None:
    make_pictures(tmp_path / "photos", 3)
    on = ("--engine", "ray", "--address", two_nodes.address)
    for source, out, text in [
        (f"s3://photos/none?{bucket}", "out", "s3://photos/none: no such folder or list file"),
        (f"s3://none/none?{bucket}", "out", "s3://none/none: no such folder or list file"),
        ("s3://me:secret@photos/a", "out", "credentials do not belong in an address"),
        ("xyz://photos/a", "out", "xyz://photos/a: cannot be opened: "),
        ("photos", f"s3://none/out?{bucket}", "s3://none/out: cannot be written: "),
    ]:
        done = run("batch", source, "-o", out, *on, env=KEYS)
        assert done.returncode == 2, (source, done.stderr)
        assert text in done.stderr
        assert "secret" not in done.stderr
        assert len(done.stderr.splitlines()) == 1, done.stderr
