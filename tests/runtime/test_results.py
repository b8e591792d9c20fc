"""The files of results: what is in a row, what survives, what is refused."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet as pq

from fungi_onnx import FungiOnnxError, ImageDecodeError, Match, Prediction
from fungi_onnx.errors import ResultsError, ResultsWriteError
from fungi_onnx.log import Log
from fungi_onnx.results import Done, Results
from fungi_onnx.rows import Csv, JsonLines, Row

RUN: dict[str, Any] = {"made_by": {"model": "m", "top_k": 2}, "licence": "L"}
NAMES = [
    "plain.jpg",
    'comma, "quote" and\nline\r\nbreaks\r.jpg',
    "ünïcode 🍄 \u2028 \x85.jpg",
    "half \udcff\udcfe.jpg",
    '"',
    "=1+1",
    "'",
    "plain.jpg",
]


def predictions() -> list[Prediction]:
    matches = (Match(7, 'Amanita "muscaria", (L.)', 0.1 + 0.2), Match(0, "b\n", 1e-8))
    rows: list[Prediction] = []
    for number, name in enumerate(NAMES):
        error = ImageDecodeError(name, "is broken, and how") if number % 3 == 1 else None
        unsure = (None, False, True)[number % 3] if not error else None
        rows.append(Prediction(name, () if error else matches, error, unsure))
    return rows


def fill(path: Path, rows: list[Prediction], *, resume: bool = False) -> Path:
    with Results(str(path), RUN, 2, resume=resume) as results:
        for row in rows:
            results.append(row)
        results.finish()
    return path


def read(path: Path) -> list[dict[str, Any]]:
    """The rows of any of the formats, as `Prediction.to_dict` gives them."""
    if path.suffix == ".parquet":
        table = pq.read_table(path).to_pylist()
        flat = [
            (r["image"], r["top"], r["unsure"], r["error_type"], r["error_message"]) for r in table
        ]
    elif path.suffix == ".csv":
        flat = []
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file, strict=True):
                top = [
                    {
                        "id": int(row[f"id_{n}"]),
                        "name": row[f"name_{n}"],
                        "probability": float(row[f"probability_{n}"]),
                    }
                    for n in range(1, len(row))
                    if row.get(f"id_{n}")
                ]
                unsure = {"": None, "true": True, "false": False}[row["unsure"]]
                flat.append((row["image"], top, unsure, row["error_type"], row["error_message"]))
    else:
        return [json.loads(line) for line in path.read_bytes().splitlines(keepends=False)]
    return [
        {"image": image, "error": {"type": kind, "message": message}}
        if kind
        else {"image": image, "top": top, **({} if unsure is None else {"unsure": unsure})}
        for image, top, unsure, kind, message in flat
    ]


def expected(rows: list[Prediction], suffix: str) -> list[dict[str, Any]]:
    """Only JSON can say half a character; the others write the escape."""
    whole = [row.to_dict() for row in rows]
    if suffix != ".jsonl":
        text = json.dumps(whole, ensure_ascii=False).encode("utf-8", "surrogatepass")
        text = text.replace(b"\xed\xb3\xbf", rb"\\udcff").replace(b"\xed\xb3\xbe", rb"\\udcfe")
        whole = json.loads(text)
    return whole


SUFFIXES = pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
LINES = pytest.mark.parametrize("suffix", [".jsonl", ".csv"])


@SUFFIXES
def test_what_is_written_is_what_was_predicted(tmp_path: Path, suffix: str) -> None:
    path = fill(tmp_path / f"out{suffix}", predictions())
    assert read(path) == expected(predictions(), suffix)
    companion = json.loads((tmp_path / f"out{suffix}.run.json").read_text())
    assert companion == RUN
    assert sorted(os.listdir(tmp_path)) == [path.name, f"{path.name}.run.json"]
    if suffix == ".parquet":
        metadata = pq.read_schema(path).metadata
        assert json.loads(metadata[b"fungi_onnx.run"]) == RUN


def test_a_row_of_each_format() -> None:
    good = Prediction("a,b.jpg", (Match(3, "x", 0.5), Match(1, "y", 0.25)))
    bad = Prediction("c.jpg", (), ImageDecodeError("c.jpg", "is empty"))
    assert JsonLines().row(good) == (
        b'{"image": "a,b.jpg", "top": [{"id": 3, "name": "x", "probability": 0.5},'
        b' {"id": 1, "name": "y", "probability": 0.25}]}\n'
    )
    assert Csv(2).head == (
        b"image,id_1,name_1,probability_1,id_2,name_2,probability_2,unsure,"
        b"error_type,error_message\r\n"
    )
    assert Csv(2).row(good) == b'"a,b.jpg",3,x,0.5,1,y,0.25,,,\r\n'
    assert Csv(2).row(bad) == b"c.jpg,,,,,,,,ImageDecodeError,c.jpg: is empty\r\n"


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=20), max_size=10))
def test_any_name_comes_back(names: list[str]) -> None:
    rows = [Prediction(name, (Match(0, name, 0.5),)) for name in names]
    rows += [Prediction(name, (), FungiOnnxError(name)) for name in names]
    for format_ in (JsonLines(), Csv(1)):
        records = format_.records(io.BytesIO(b"".join(map(format_.row, rows))))
        assert [format_.parse(record) for record in records] == [
            *(Row(name, None) for name in names),
            *(Row(name, "FungiOnnxError") for name in names),
        ]


@LINES
def test_a_tail_cut_at_any_byte_is_mended(tmp_path: Path, suffix: str) -> None:
    rows = predictions()
    whole = fill(tmp_path / f"whole{suffix}", rows).read_bytes()
    companion = (tmp_path / f"whole{suffix}.run.json").read_bytes()
    path = tmp_path / f"cut{suffix}"
    Path(f"{path}.run.json").write_bytes(companion)
    head = len(Csv(2).head) if suffix == ".csv" else 0
    format_ = Csv(2) if suffix == ".csv" else JsonLines()
    ends = [head + len(b"".join(map(format_.row, rows[:n]))) for n in range(len(rows) + 1)]
    assert ends[-1] == len(whole)
    for size in [*range(head + 20), *range(ends[-4], len(whole) + 1)]:
        path.write_bytes(whole[:size])
        with Results(str(path), RUN, 2, resume=True) as results:
            done = sum(end <= size for end in ends[1:])
            assert results.done.rows == done
            assert [results.done.take(name) for name in NAMES[:done]] == [True] * done
            for row in rows[done:]:
                results.append(row)
            results.finish()
        assert path.read_bytes() == whole, size


def test_a_journal_cut_at_any_byte_is_mended(tmp_path: Path) -> None:
    rows = predictions()[:3]
    fill(tmp_path / "out.parquet", rows[:1])
    with Results(str(tmp_path / "out.parquet"), RUN, 2, resume=True) as results:
        results.append(rows[1])
        results.append(rows[2])
    table = (tmp_path / "out.parquet").read_bytes()
    journal = tmp_path / "out.parquet.journal.jsonl"
    whole = journal.read_bytes()
    assert whole.startswith(b'{"rows_before": 1}\n')
    for size in range(0, len(whole) + 1, 3):
        (tmp_path / "out.parquet").write_bytes(table)
        journal.write_bytes(whole[:size])
        done = max(1, whole[:size].count(b"\n"))
        with Results(str(tmp_path / "out.parquet"), RUN, 2, resume=True) as results:
            assert results.done.rows == done
            for row in rows[done:]:
                results.append(row)
            results.finish()
        assert read(tmp_path / "out.parquet") == expected(rows, ".parquet")
        assert not journal.exists()


def test_a_journal_that_is_in_the_table_already_is_not_added_again(tmp_path: Path) -> None:
    """As after a kill between the table's arrival and the journal's end."""
    path, journal = tmp_path / "out.parquet", tmp_path / "out.parquet.journal.jsonl"
    for count in (3, 5):
        with Results(str(path), RUN, 2, resume=True) as results:
            for row in predictions()[results.done.rows : count]:
                results.append(row)
            kept = journal.read_bytes()
            results.finish()
        journal.write_bytes(kept)
        with Results(str(path), RUN, 2, resume=True) as results:
            assert results.done.rows == count
            results.finish()
        assert read(path) == expected(predictions()[:count], ".parquet")
        assert not journal.exists()
    journal.write_bytes(kept)  # two rows after three, but the table has now none
    path.unlink()
    with pytest.raises(ResultsError, match="journal.jsonl: does not begin as it should"):
        Results(str(path), RUN, 2, resume=True)
    assert journal.read_bytes() == kept


@pytest.mark.parametrize(
    "tail", [b"\0" * 5000, b'{"image": "x.jpg", "top": [', b"\xff\xfe\n", b'"']
)
@LINES
def test_rubbish_at_the_end_is_cut_off(tmp_path: Path, suffix: str, tail: bytes) -> None:
    path = fill(tmp_path / f"out{suffix}", predictions())
    whole = path.read_bytes()
    path.write_bytes(whole + tail)
    fill(path, [], resume=True)
    assert path.read_bytes() == whole


@LINES
def test_damage_in_the_middle_is_refused(tmp_path: Path, suffix: str) -> None:
    path = fill(tmp_path / f"out{suffix}", predictions())
    damaged = path.read_bytes().replace(b"plain.jpg", b'pla"in.jpg', 1)
    path.write_bytes(damaged)
    with pytest.raises(ResultsError, match=r"row 1 is damaged \(.*, and others follow it"):
        Results(str(path), RUN, 2, resume=True)
    assert path.read_bytes() == damaged
    path.write_bytes(damaged[: damaged.index(b"pla")] + b'"x' * (1 << 23) + b"x")
    with pytest.raises(ResultsError, match="row 1 is damaged"):
        Results(str(path), RUN, 2, resume=True)


def test_another_header_is_refused(tmp_path: Path) -> None:
    path = fill(tmp_path / "out.csv", predictions())
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())  # as a spreadsheet saves it
    with pytest.raises(ResultsError, match="out.csv: does not begin as it should"):
        Results(str(path), RUN, 2, resume=True)


@SUFFIXES
def test_gone_on_with_by_the_same_only(tmp_path: Path, suffix: str) -> None:
    path = fill(tmp_path / f"out{suffix}", predictions())
    before = path.read_bytes()
    with pytest.raises(ResultsError, match="there are results already: go on with --resume, or"):
        Results(str(path), RUN, 2)
    for other, told in (
        ({"model": "n", "top_k": 2}, "mixed: model m → n; go on"),
        ({"model": "n", "top_k": 3}, "mixed: model m → n, top_k 2 → 3; go on"),
        ({"model": "m", "top_k": 2, "view": "fast"}, "mixed: view None → fast; go on"),
    ):
        with pytest.raises(ResultsError, match=told):
            Results(str(path), {"made_by": other}, 2, resume=True)
    with Results(str(path), {**RUN, "licence": "another"}, 2, resume=True) as results:
        assert results.done.rows == len(NAMES)
        assert dict(results.failed) == {"ImageDecodeError": 3}
        results.finish()
    assert path.read_bytes() == before


@SUFFIXES
def test_what_others_made_is_not_touched(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out{suffix}"
    path.write_bytes(b"theirs")
    for resume in (False, True):
        with pytest.raises(ResultsError, match=r"without .*run.json nothing says what made it"):
            Results(str(path), RUN, 2, resume=resume)
    assert os.listdir(tmp_path) == [path.name]
    assert path.read_bytes() == b"theirs"
    Path(f"{path}.run.json").write_text('{"made_by": ')
    with pytest.raises(ResultsError, match="run.json: is damaged"):
        Results(str(path), RUN, 2, resume=True)
    if suffix == ".parquet":
        Path(f"{path}.run.json").write_text(json.dumps(RUN))
        with pytest.raises(ResultsError, match="is not a Parquet file that can be read"):
            Results(str(path), RUN, 2, resume=True)
        pq.write_table(pq.read_table(fill(tmp_path / "b.parquet", [])).select(["image"]), path)
        with pytest.raises(ResultsError, match="is a Parquet file, but not one of results"):
            Results(str(path), RUN, 2, resume=True)


@SUFFIXES
def test_a_companion_alone_is_no_result(tmp_path: Path, suffix: str) -> None:
    """The process died between the two, or somebody removed the results."""
    path = tmp_path / f"out{suffix}"
    for content in (b"", b'{"made_by"', json.dumps({"made_by": {"model": "old"}}).encode()):
        Path(f"{path}.run.json").write_bytes(content)
        fill(path, predictions(), resume=content == b"")
        assert read(path) == expected(predictions(), suffix)
        path.unlink()


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    for path, told in (
        (tmp_path / "gone" / "out.csv", "cannot be written: No such file or directory"),
        (Path("/sys/out.jsonl"), "cannot be written: "),  # root may not either
        (tmp_path / "out.txt", "must end with .jsonl, .ndjson, .csv, .parquet"),
        (tmp_path / "out", "must end with"),
    ):
        with pytest.raises(ResultsError, match=told):
            Results(str(path), RUN, 2)
    assert os.listdir(tmp_path) == []
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(ResultsError, match="folder.csv: is there already"):
        Results(str(tmp_path / "folder.csv"), RUN, 2)


@SUFFIXES
def test_only_one_at_a_time(tmp_path: Path, suffix: str) -> None:
    path = str(tmp_path / f"out{suffix}")
    with (
        Results(path, RUN, 2),
        pytest.raises(ResultsError, match="another run is writing to it"),
    ):
        Results(path, RUN, 2, resume=True)
    Results(path, RUN, 2, resume=True).close()


FULL = """
import json, resource, sys
from pathlib import Path
from fungi_onnx.errors import ResultsWriteError
from fungi_onnx.results import Results
from fungi_onnx import Match, Prediction
path, limit = sys.argv[1], int(sys.argv[2])
written = 0
with Results(path, {"made_by": {}}, 1, resume=True) as results:
    written = results.done.rows
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        while written < 100:
            results.append(Prediction(f"{written}.jpg", (Match(0, "x" * 30, 0.5),)))
            written += 1
        results.finish()
    except ResultsWriteError as error:
        print(error)
print(written)
"""


@SUFFIXES
def test_a_full_disk(tmp_path: Path, suffix: str) -> None:
    """The kernel refuses to let the file grow, in the middle of a row, as on a full disk."""
    path = tmp_path / f"out{suffix}"
    file = Path(f"{path}.journal.jsonl") if suffix == ".parquet" else path
    kept = 0
    for limit in (1000, 1001, 2000, 1_000_000):
        result = subprocess.run(
            [sys.executable, "-c", FULL, path, str(limit)],
            capture_output=True,
            text=True,
            check=True,
        )
        *told, count = result.stdout.splitlines()
        assert int(count) >= kept
        kept = int(count)
        if limit < 1_000_000:
            assert told == [
                f"{file}: cannot be written: File too large; the results so far are kept: mend that"
                " and go on with --resume"
            ]
            assert limit - 150 < file.stat().st_size <= limit
            assert file.read_bytes().endswith(b"\n")
    assert kept == 100
    assert [row["image"] for row in read(path)] == [f"{n}.jpg" for n in range(100)]


def test_a_table_that_does_not_fit_leaves_the_journal(tmp_path: Path) -> None:
    path = tmp_path / "out.parquet"
    code = FULL.replace(
        "results.finish()",
        "resource.setrlimit(resource.RLIMIT_FSIZE, (900, -1))\n        results.finish()",
    )
    result = subprocess.run(
        [sys.executable, "-c", code, path, "1000000"], capture_output=True, text=True, check=True
    )
    assert "out.parquet: cannot be written: " in result.stdout
    assert "the results are kept beside it" in result.stdout
    assert sorted(os.listdir(tmp_path)) == ["out.parquet.journal.jsonl", "out.parquet.run.json"]
    with Results(str(path), {"made_by": {}}, 1, resume=True) as results:
        assert results.done.rows == 100
        results.finish()
    assert len(read(path)) == 100


def test_a_device_that_is_full(tmp_path: Path) -> None:
    (tmp_path / "log").symlink_to("/dev/full")
    full = Log(str(tmp_path / "log"), end=0)
    with pytest.raises(ResultsWriteError, match="No space left on device; the results so far"):
        full.append(b"line\n")
    full.close()
    full.close()


def test_a_disk_that_refuses_is_told_of(tmp_path: Path) -> None:
    """A pipe takes lines and cannot be synchronised."""
    os.mkfifo(tmp_path / "log")
    told = "log: cannot be written: Invalid argument; the results so far are kept"
    asked = Log(str(tmp_path / "log"), end=0)
    asked.append(b"line\n")
    with pytest.raises(ResultsWriteError, match=told):
        asked.sync()
    asked.close()


def test_without_pyarrow(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "from fungi_onnx.results import Results\n"
        "Results(sys.argv[1], {'made_by': {}}, 1)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "out.parquet"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.stderr.splitlines()[-1] == (
        "fungi_onnx.errors.ResultsError: Parquet files need pyarrow: pip install"
        " 'fungi-onnx[parquet]', or write .jsonl or .csv"
    )
    assert os.listdir(tmp_path) == []


def test_the_tally_of_what_is_done() -> None:
    done = Done(Row(name, None) for name in ["a", "b", "a", "\udcff"])
    assert done.rows == 4
    assert [done.take(name) for name in ["a", "c", "a", "a", "\udcff", "\udcff", "b"]] == [
        True,
        False,
        True,
        False,
        True,
        False,
        True,
    ]
    assert not Done(iter([])).take("a")
    many = Done(Row(str(number), None) for number in range(50_000))
    assert all(many.take(str(number)) for number in range(50_000))
    assert not any(many.take(str(number)) for number in range(60_000))


def test_a_large_table_is_copied_in_parts(tmp_path: Path) -> None:
    rows = [Prediction(f"{n}.jpg", (Match(n, "x", 0.5),)) for n in range(25_000)]
    path = fill(tmp_path / "out.parquet", rows)
    fill(path, rows[:10], resume=True)
    table = pq.ParquetFile(path)
    assert table.metadata.num_rows == 25_010
    sizes = [table.metadata.row_group(n).num_rows for n in range(table.num_row_groups)]
    assert max(sizes) <= 10_000
    assert [row["image"] for row in read(path)] == [row.image for row in [*rows, *rows[:10]]]
