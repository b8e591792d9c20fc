"""A folder of results in Parquet parts, which a later run can go on with: here or in a bucket.

One process writes it. A part is there as a whole or not at all, so what is done is what the parts
hold, whatever has befallen whom; nothing else has to be remembered.

In the folder lie ``part-00000.parquet``, ``part-00001.parquet``, ... in the order of the rows, and
``_run.json``, which says what made the results. Readers of such folders (pyarrow, Spark, DuckDB,
Ray) pass over names that begin with ``_``.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any, Self

import pyarrow as pa
from pyarrow import fs
from pyarrow import parquet as pq

from fungi_onnx import parquet
from fungi_onnx.errors import ResultsError, ResultsWriteError, SourceError
from fungi_onnx.results import Done, locked, refuse_to_mix
from fungi_onnx.rows import Row, encoded
from fungi_onnx.storage import Storage, query_of, told

_SECONDS, _ROWS = 5.0, 100_000  # a part is written after so long, or when it has so many rows
_NAME = re.compile(r"part-(\d{5,})\.parquet")


class Parts:
    """A folder of results, open for more.

    Attributes:
        path: the folder, as it was named.
        done: the pictures that have their row already.
        failed: how many rows have an error, by its type.
    """

    def __init__(self, path: str, run: dict[str, Any], *, resume: bool = False) -> None:
        """Begins a folder, or goes on with one.

        Args:
            path: a folder or an address; it is made if it is not there.
            run, resume: as of `fungi_onnx.results.Results`.

        Raises:
            ResultsError: it cannot be written; there are results and ``resume`` is False, or they
                were made by something else; a part is damaged; another process is writing to them.
        """
        self.path, query = query_of(path)
        self._stack = contextlib.ExitStack()
        self._rows: list[Any] = []
        try:
            self._fs, self._root = Storage(query).locate(self.path.rstrip("/"))
            with self._stack:
                self._open(run, resume)
                self._stack = self._stack.pop_all()
        except (OSError, SourceError) as error:
            text = str(error) if isinstance(error, SourceError) else told(error)
            raise ResultsError(f"{self.path}: cannot be written: {text}") from None

    def append(self, rows: Any) -> None:
        """Takes rows, a ``pyarrow.RecordBatch`` or table of `fungi_onnx.parquet.SCHEMA`.

        They are in a part, and nothing takes them away any more, after five seconds at most or
        with the rows that come next, whichever is later.

        Raises:
            ResultsWriteError: a part could not be written.
        """
        if not self._rows:
            self._since = time.monotonic()
        table = rows if isinstance(rows, pa.Table) else pa.Table.from_batches([rows])
        self._rows.append(table)
        errors = table.column("error_type").drop_null()
        self.failed.update(errors.to_pylist())
        waited = time.monotonic() - self._since
        if waited >= _SECONDS or sum(map(len, self._rows)) >= _ROWS:
            self.flush()

    def flush(self) -> None:
        """Writes what was appended as a part.

        Raises:
            ResultsWriteError: it could not be written; what was appended is kept for another try.
        """
        if not self._rows:
            return
        table = pa.concat_tables(self._rows).replace_schema_metadata(self._schema.metadata)
        buffer = pa.BufferOutputStream()
        pq.write_table(table, buffer, compression="zstd")
        part = f"part-{self._next:05}.parquet"
        try:
            self._put(part, buffer.getvalue())
        except OSError as error:
            raise ResultsWriteError(
                f"{self.path}: {part} cannot be written: {told(error)}; the parts so far are kept:"
                " mend that and go on with --resume"
            ) from None
        self._next += 1
        self._rows.clear()

    def finish(self) -> None:
        """Writes the last part: there are no more rows to come in this run.

        Raises:
            ResultsWriteError: as `flush`.
        """
        self.flush()

    def close(self) -> None:
        """Lets go of the folder; the parts stay, and can be gone on with."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self, run: dict[str, Any], resume: bool) -> None:
        self._fs.create_dir(self._root, recursive=True)
        if isinstance(self._fs, fs.LocalFileSystem):
            lock = os.open(self._root, os.O_RDONLY)
            self._stack.callback(os.close, lock)
            if not locked(lock):
                raise ResultsError(f"{self.path}: another run is writing to it")
        entries = self._fs.get_file_info(fs.FileSelector(self._root))
        found = {entry.base_name: entry for entry in entries}
        parts = {int(m[1]): name for name in found if (m := _NAME.fullmatch(name))}
        strangers = sorted(set(found) - set(parts.values()) - {"_run.json", "_draft"})
        if strangers:
            raise ResultsError(
                f"{self.path}: holds other files, such as {strangers[0]}; write to a new folder"
            )
        if parts and "_run.json" not in found:
            raise ResultsError(
                f"{self.path}: holds results, and without _run.json nothing says what made them;"
                " write to another folder"
            )
        if parts and not resume:
            raise ResultsError(
                f"{self.path}: there are results already: go on with --resume, or remove them"
            )
        if parts:
            recorded = self._recorded()
            refuse_to_mix(self.path, recorded, run)
            run = recorded
        self._schema = parquet.schema(run)
        self.failed: Counter[str] = Counter()
        self.done = Done(self._rows_of([parts[number] for number in sorted(parts)]))
        self._next = max(parts, default=-1) + 1
        if not parts:
            self._put("_run.json", encoded(json.dumps(run, indent=2, ensure_ascii=False) + "\n"))

    def _recorded(self) -> dict[str, Any]:
        with self._fs.open_input_stream(f"{self._root}/_run.json") as file:
            try:
                match json.loads(file.read()):
                    case {"made_by": dict()} as run:
                        return dict(run)
            except ValueError:
                pass
        raise ResultsError(f"{self.path}: _run.json is damaged, and says not what made the results")

    def _rows_of(self, parts: list[str]) -> Iterator[Row]:
        for part in parts:
            try:
                with self._fs.open_input_file(f"{self._root}/{part}") as file:
                    table = pq.read_table(file, columns=["image", "error_type"])
            except (pa.ArrowException, OSError, KeyError) as error:
                raise ResultsError(
                    f"{self.path}: {part} cannot be read: {told(error)}; if you remove it, --resume"
                    " makes its rows again"
                ) from None
            for row in map(Row, *(column.to_pylist() for column in table.columns)):
                if row.error is not None:
                    self.failed[row.error] += 1
                yield row

    def _put(self, name: str, content: Any) -> None:
        """A whole file or none: a bucket's are so by themselves, elsewhere it is moved there."""
        draft = f"{self._root}/_draft"
        with self._fs.open_output_stream(draft) as file:
            file.write(content)
        if isinstance(self._fs, fs.LocalFileSystem):
            with open(draft, "rb") as file:
                os.fsync(file.fileno())
        self._fs.move(draft, f"{self._root}/{name}")
