"""Work in blocks that can be sent to other machines: names of pictures, or rows of a table.

A block is a ``pyarrow.Table`` with the column ``path``, a picture's name in the bytes of the file
system; and, where the pictures' bytes lie in Parquet files, ``table``, ``column``, ``group`` and
``row``, which say where. Or it has them itself, in the column ``bytes``.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa
from pyarrow import fs
from pyarrow import parquet as pq

from fungi_onnx.errors import SourceError
from fungi_onnx.limits import Limits
from fungi_onnx.overlap import in_order
from fungi_onnx.results import Done
from fungi_onnx.storage import Lazy, Storage, is_address, refused, told

_LARGEST, _EACH = 512, 8  # rows of a block, and blocks for each worker if there are few rows
_READERS = 8  # reads of a bucket at once, for each CPU: they wait, and cost little
_ROWS = 16  # pictures of a table in memory at once


def of_names(names: Iterable[str], workers: int) -> Iterator[pa.Table]:
    """Blocks of names: large ones of many, and of few so many that all workers have some."""
    source = iter(names)
    first = list(itertools.islice(source, _LARGEST * _EACH * workers))
    size = max(1, min(_LARGEST, len(first) // (_EACH * workers)))
    together = itertools.chain(first, source)
    while some := list(itertools.islice(together, size)):
        yield pa.table({"path": pa.array(map(os.fsencode, some), pa.binary())})


def of_table(
    source: str, column: str | None, storage: Storage, done: Done, workers: int
) -> Iterator[pa.Table]:
    """Blocks of a Parquet table, a file or a folder of them, without what is done.

    A column of texts holds names. One of bytes holds pictures, whose names are in the column
    ``path`` or, without one, ``FILE#ROW``.

    Args:
        source: a path or an address.
        column: the column; by default ``bytes``, or else ``path``.
        storage: opens ``source``.
        done: pictures that have their row.
        workers: as of `of_names`.

    Raises:
        SourceError: there is no such table or column, or it cannot be read.
    """
    files = list(_files(source, storage))
    if not files:
        raise SourceError(f"{source}: holds no file that ends with .parquet")
    with _table(files[0], storage) as table:
        schema = table.schema_arrow
        column = column or next((name for name in ("bytes", "path") if name in schema.names), "")
        if column not in schema.names:
            raise SourceError(
                f"{source}: has the columns {', '.join(schema.names)}, and"
                f" {f'not {column}' if column else 'neither bytes nor path'}: name the one with the"
                " pictures' bytes or paths with --column"
            )
        kind = schema.field(column).type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        names = (name for file in files for _, _, name in _names(file, column, storage) if name)
        yield from of_names((name for name in names if not done.take(name)), workers)
    elif pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        for file in files:
            rows = [row for row in _names(file, "path", storage) if not done.take(row[2])]
            for group, found in itertools.groupby(rows, key=lambda row: row[0]):
                of_group = list(found)
                for start in range(0, len(of_group), _LARGEST):
                    part = of_group[start : start + _LARGEST]
                    yield pa.table(
                        {
                            "path": pa.array([os.fsencode(name) for _, _, name in part]),
                            "row": pa.array([row for _, row, _ in part], pa.int64()),
                            "group": pa.array([group] * len(part), pa.int32()),
                            "table": pa.array([file] * len(part)),
                            "column": pa.array([column] * len(part)),
                        }
                    )
    else:
        raise SourceError(f"{source}: the column {column} has neither texts nor bytes, but {kind}")


def names(block: pa.Table) -> list[str]:
    """The pictures that a block names, without those whose bytes it has or points to."""
    if {"bytes", "table"} & set(block.column_names):
        return []
    return _texts(block.column("path"))


def pictures(
    block: pa.Table, storage: Storage, limits: Limits, num_cpus: int
) -> Iterator[tuple[str, Any]]:
    """The names and the pictures of a block: paths, and file objects that have the bytes.

    Args:
        block: see above.
        storage: opens what has an address.
        limits: how large files may be.
        num_cpus: of who decodes them, which has to be fed.

    Raises:
        SourceError: storage refuses, or the table is not there any more.
    """
    columns = block.column_names
    named = _texts(block.column("path")) if "path" in columns else [""] * len(block)
    values: Iterator[bytes | OSError]
    if "bytes" in columns:
        values = (_bytes(value) for value in block.column("bytes"))
    elif "table" in columns:
        values = _of_group(block, storage)
    else:

        def fetch(name: str) -> Any:
            return storage.read(name, limits) if is_address(name) else name

        remote = any(map(is_address, named))
        found = in_order(fetch, named, _READERS * num_cpus, ahead=1) if remote else iter(named)
        yield from zip(named, found, strict=True)
        return
    for name, value in zip(named, values, strict=True):
        yield name, Lazy(name or "(bytes)", value)


def _texts(column: pa.ChunkedArray) -> list[str]:
    """Names; those of a caller may be texts, and may be missing."""
    return [os.fsdecode(name) if name is not None else "" for name in column.to_pylist()]


def _bytes(value: pa.Scalar) -> bytes | OSError:
    data: bytes | None = value.as_py()
    return OSError(0, "the table has no bytes in this row") if data is None else data


def _of_group(block: pa.Table, storage: Storage) -> Iterator[bytes | OSError]:
    file, group, column = (block.column(name)[0].as_py() for name in ("table", "group", "column"))
    wanted = block.column("row").to_pylist()
    at, start = 0, 0
    try:
        with _table(file, storage) as table:
            for batch in table.iter_batches(_ROWS, row_groups=[group], columns=[column]):
                while at < len(wanted) and wanted[at] < start + len(batch):
                    yield _bytes(batch.column(0)[wanted[at] - start])
                    at += 1
                start += len(batch)
                if at == len(wanted):
                    return
    except (OSError, pa.ArrowException) as error:
        raise refused(file, OSError(told(error))) from None
    raise SourceError(f"{file}: has fewer rows than when the work was begun")


def _files(source: str, storage: Storage) -> Iterator[str]:
    system, path = storage.locate(source)
    try:
        found = system.get_file_info(path.rstrip("/"))
        if found.type == fs.FileType.NotFound:
            raise SourceError(f"{source}: no such table")
        if found.type == fs.FileType.File:
            yield source
            return
        inside = system.get_file_info(fs.FileSelector(path.rstrip("/"), recursive=True))
    except OSError as error:
        raise refused(source, error) from None
    for entry in sorted(inside, key=lambda entry: str(entry.path)):
        if entry.type == fs.FileType.File and entry.base_name.endswith(".parquet"):
            yield source.rstrip("/") + entry.path[len(path.rstrip("/")) :]


def _table(file: str, storage: Storage) -> pq.ParquetFile:
    system, path = storage.locate(file)
    try:
        # Pages as they are asked for: a group may be of many gigabytes.
        return pq.ParquetFile(system.open_input_file(path), pre_buffer=False, buffer_size=1 << 20)
    except pa.ArrowInvalid as error:
        raise SourceError(f"{file}: is no Parquet file that can be read: {told(error)}") from None
    except OSError as error:
        raise refused(file, error) from None


def _names(file: str, column: str, storage: Storage) -> Iterator[tuple[int, int, str]]:
    """Group, row in it and name of each row of a Parquet file."""
    with _table(file, storage) as table:
        named = column in table.schema_arrow.names
        number = 0
        for group in range(table.num_row_groups):
            rows = table.metadata.row_group(group).num_rows
            if not named:
                for row in range(rows):
                    yield group, row, f"{file}#{number + row}"
            else:
                row = 0
                for batch in table.iter_batches(10_000, row_groups=[group], columns=[column]):
                    for name in batch.column(0).to_pylist():
                        yield group, row, name or f"{file}#{number + row}"
                        row += 1
            number += rows


def check(block: pa.Table) -> None:
    """Raises SourceError if a caller's block has neither paths nor bytes."""
    if not {"path", "bytes"} & set(block.column_names):
        raise SourceError(
            f"the dataset has the columns {', '.join(block.column_names)}, and neither path nor"
            " bytes: rename_columns gives them these names"
        )
