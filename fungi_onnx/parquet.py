"""Results as a Parquet table: made of a journal in one step, because a part of one is unreadable.

`SCHEMA` and `record_batch` say what a table of results is, for all that write one. The columns are
``image`` (string), ``top`` (list of {id: int32, name: string, probability: double}), ``unsure``
(bool, null if no least probability was asked for), ``error_type`` and ``error_message`` (string). A
row has either ``top`` or the errors. The key ``fungi_onnx.run`` of the file's metadata holds what
made the results.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
from collections.abc import Iterable, Iterator
from typing import Any

from fungi_onnx.errors import ResultsError, ResultsWriteError
from fungi_onnx.log import sync_folder
from fungi_onnx.rows import Row, encoded

try:
    import pyarrow as pa
    from pyarrow import parquet as pq
except ModuleNotFoundError as missing:
    raise ResultsError(
        f"Parquet files need {missing.name}: pip install 'fungi-onnx[parquet]', or write .jsonl or"
        " .csv"
    ) from None

_ROWS = 10_000  # in a row group: some megabytes
_MATCH = pa.struct([("id", pa.int32()), ("name", pa.string()), ("probability", pa.float64())])
SCHEMA = pa.schema(
    [
        ("image", pa.string()),
        ("top", pa.list_(_MATCH)),
        ("unsure", pa.bool_()),
        ("error_type", pa.string()),
        ("error_message", pa.string()),
    ]
)


def count(path: str) -> int:
    """How many rows a table has; none if it is not there.

    Raises:
        ResultsError: it is no table of results.
    """
    if not os.path.exists(path):
        return 0
    with _opened(path) as table:
        return int(table.metadata.num_rows)


def rows(path: str) -> Iterator[Row]:
    """What resuming has to know of a table's rows.

    Raises:
        ResultsError: it is no table of results.
    """
    if not os.path.exists(path):
        return
    with _opened(path) as table:
        for batch in table.iter_batches(_ROWS, columns=["image", "error_type"]):
            yield from map(Row, *(column.to_pylist() for column in batch.columns))


def write(path: str, draft: str, journal: Iterable[bytes], run: dict[str, Any]) -> None:
    """Puts a table in place that holds the rows of the one before, if any, and of a journal.

    Args:
        path: the table; until the new one is whole the old one stays.
        draft: the file to write on the way.
        journal: the lines of the new rows, as `fungi_onnx.rows.JsonLines` writes them.
        run: what made the results.

    Raises:
        ResultsError: the table before is no table of results.
        ResultsWriteError: the disk is full, for example; the draft is gone.
    """
    described = schema(run)
    try:
        with open(draft, "wb") as file:
            with pq.ParquetWriter(file, described, compression="zstd") as writer:
                if os.path.exists(path):
                    with _opened(path) as table:
                        for batch in table.iter_batches(_ROWS):
                            writer.write_batch(batch.replace_schema_metadata(described.metadata))
                lines = iter(journal)
                while part := list(itertools.islice(lines, _ROWS)):
                    batch = record_batch([json.loads(line) for line in part])
                    writer.write_batch(batch.replace_schema_metadata(described.metadata))
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.remove(draft)
        if not isinstance(error, OSError):
            raise
        raise ResultsWriteError(
            f"{path}: cannot be written: {error.strerror or error}; the results are kept beside it:"
            " mend that and go on with --resume"
        ) from None
    sync_folder(path)


def schema(run: dict[str, Any]) -> Any:
    """The `SCHEMA` with what made the results in its metadata."""
    return SCHEMA.with_metadata({"fungi_onnx.run": json.dumps(run)})


def record_batch(rows: list[dict[str, Any]]) -> Any:
    """Rows, each as `Prediction.to_dict` gives it, as a ``pyarrow.RecordBatch`` of `SCHEMA`."""
    errors = [row.get("error", {}) for row in rows]
    columns = [
        [encoded(row["image"]).decode() for row in rows],
        [row.get("top") for row in rows],
        [row.get("unsure") for row in rows],
        [error.get("type") for error in errors],
        [
            None if (text := error.get("message")) is None else encoded(text).decode()
            for error in errors
        ],
    ]
    arrays = [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)]
    return pa.record_batch(arrays, schema=SCHEMA)


def _opened(path: str) -> Any:
    try:
        table = pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise ResultsError(f"{path}: is not a Parquet file that can be read: {error}") from None
    if not table.schema_arrow.equals(SCHEMA):
        table.close()
        raise ResultsError(f"{path}: is a Parquet file, but not one of results")
    return table
