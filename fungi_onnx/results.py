"""A file of results that can be gone on with: what is in it, what made it, who writes to it.

Beside ``OUT`` lies ``OUT.run.json``. It says what made the results, so that no others are mixed
with them, and whoever writes holds its lock. Rows of a Parquet table are collected in
``OUT.journal.jsonl`` until it can be written.
"""

from __future__ import annotations

import contextlib
import json
import os
from array import array
from collections import Counter
from collections.abc import Iterator
from hashlib import blake2b
from typing import Any, BinaryIO, Self

import numpy as np

from fungi_onnx.errors import ResultsError
from fungi_onnx.log import Log, sync_folder
from fungi_onnx.prediction import Prediction
from fungi_onnx.rows import Csv, Format, JsonLines, Row, encoded, sound

try:
    import fcntl
except ModuleNotFoundError:  # Windows: two runs into one file are not found out there
    fcntl = None  # type: ignore[assignment]

SUFFIXES = (".jsonl", ".ndjson", ".csv", ".parquet")


def files(path: str) -> tuple[str, str, str, str]:
    """All that results may consist of: themselves, ``.run.json``, a journal and a draft.

    Raises:
        ResultsError: the path ends with none of `SUFFIXES`.
    """
    _suffix(path)
    return path, f"{path}.run.json", f"{path}.journal.jsonl", f"{path}.draft"


class Results:
    """A results file, open for more.

    Attributes:
        done: the pictures that have their row already.
        failed: how many rows have an error, by its type.
    """

    def __init__(self, path: str, run: dict[str, Any], best: int, *, resume: bool = False) -> None:
        """Begins a file, or goes on with one.

        Args:
            path: ends with one of `SUFFIXES`, which is its format.
            run: what makes the results: JSON's types, of which everything under the key
                ``"made_by"`` must be the same when results are gone on with.
            best: how many classes a row has.
            resume: go on with the results that are there, if any.

        Raises:
            ResultsError: the path has another suffix, or cannot be written; there are results and
                ``resume`` is False; they were made by something else; their end is not all that is
                damaged; another process is writing to them.
        """
        self.path = path
        self._table = _suffix(path) == ".parquet"
        _, companion, journal, self._draft = files(path)
        self._log_path = journal if self._table else path
        self._parquet: Any = None
        if self._table:
            from fungi_onnx import parquet

            self._parquet = parquet
        self._stack = contextlib.ExitStack()
        try:
            with self._stack:
                self._open(companion, run, best, resume)
                self._stack = self._stack.pop_all()
        except OSError as error:
            raise ResultsError(f"{path}: cannot be written: {error.strerror or error}") from None

    def append(self, prediction: Prediction) -> None:
        """Writes a row; when this returns, nothing that befalls the process takes it away.

        Raises:
            ResultsWriteError: the disk is full, for example.
        """
        self._log.append(self._format.row(prediction))
        if prediction.error is not None:
            self.failed[type(prediction.error).__name__] += 1

    def finish(self) -> None:
        """Makes the file whole: there are no more rows to come in this run.

        Raises:
            ResultsWriteError: the disk is full, for example.
        """
        self._log.sync()
        if self._parquet is None:
            return
        with open(self._log_path, "rb") as journal:
            journal.seek(len(self._format.head))
            if journal.peek(1) or not os.path.exists(self.path):
                self._parquet.write(self.path, self._draft, journal, self._run)
        self._log.close()
        os.remove(self._log_path)

    def close(self) -> None:
        """Lets go of the files; what was appended stays, and can be gone on with."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self, companion: str, run: dict[str, Any], best: int, resume: bool) -> None:
        if self._there() and not os.path.exists(companion):
            raise ResultsError(
                f"{self.path}: is there already, and without {companion} nothing says what made it;"
                " write to another file"
            )
        lock = os.open(companion, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
        self._stack.callback(os.close, lock)
        if not locked(lock):
            raise ResultsError(f"{self.path}: another run is writing to it")
        there = self._there()
        if there and not resume:
            raise ResultsError(
                f"{self.path}: there are results already: go on with --resume, or remove {there}"
            )
        self._run = _recorded(lock, companion) if there else run
        if there:
            refuse_to_mix(self.path, self._run, run)
        else:
            _record(lock, run)
        before = self._parquet.count(self.path) if self._table else 0
        self._format = self._format_of(best, before)
        self.failed: Counter[str] = Counter()
        self.done = Done(self._rows())
        new = not os.path.exists(self._log_path)
        self._log = Log(self._log_path, None if new else self._sound)
        self._stack.callback(self._log.close)
        if self._sound == 0 and self._format.head:
            self._log.append(self._format.head)
        if new:
            sync_folder(self.path)

    def _there(self) -> str:
        """The file that holds rows of an earlier run, if any does."""
        return next((path for path in (self._log_path, self.path) if os.path.exists(path)), "")

    def _format_of(self, best: int, before: int) -> Format:
        if self._table:
            # The rows that the table had when the journal was begun: whoever dies between putting
            # the new table in place and removing the journal must not add its rows once more.
            return JsonLines(json.dumps({"rows_before": before}).encode() + b"\n")
        return Csv(best) if _suffix(self.path) == ".csv" else JsonLines()

    def _rows(self) -> Iterator[Row]:
        """All that is there, and on the way where the log's last sound row ends."""
        if self._table:
            yield from self._noted(self._parquet.rows(self.path))
        self._sound = 0
        if os.path.exists(self._log_path):
            yield from self._noted(self._rows_of_log())

    def _noted(self, rows: Iterator[Row]) -> Iterator[Row]:
        for row in rows:
            if row.error is not None:
                self.failed[row.error] += 1
            yield row

    def _rows_of_log(self) -> Iterator[Row]:
        head = self._format.head
        with open(self._log_path, "rb") as file:
            found = file.read(len(head))
            if found != head:
                if not (head.startswith(found) or self._in_the_table(file)):
                    raise ResultsError(f"{self._log_path}: does not begin as it should")
                return
            self._sound = len(head)
            for size, row in sound(file, self._format, self._log_path):
                self._sound += size
                yield row

    def _in_the_table(self, journal: BinaryIO) -> bool:
        """True if the process died when its journal had become part of the table."""
        journal.seek(0)
        try:
            before = int(json.loads(journal.readline())["rows_before"])
        except (ValueError, TypeError, KeyError):
            return False
        rows = before + sum(1 for _ in journal)
        return rows == int(self._parquet.count(self.path))


class Done:
    """The pictures that have a row, as often as they have one: 12 bytes for each name."""

    def __init__(self, rows: Iterator[Row]) -> None:
        """Takes in the rows one by one."""
        digests = array("Q")
        digests.extend(_digest(row.image) for row in rows)
        self._digests, counts = np.unique(np.frombuffer(digests, np.uint64), return_counts=True)
        self._left = counts.astype(np.uint32)
        self.rows = len(digests)

    def take(self, image: str) -> bool:
        """True if this picture has a row that was not taken yet; then it is."""
        digest = np.uint64(_digest(image))
        at = int(np.searchsorted(self._digests, digest))
        if at == len(self._digests) or self._digests[at] != digest or self._left[at] == 0:
            return False
        self._left[at] -= 1
        return True


def _suffix(path: str) -> str:
    found = os.path.splitext(path)[1].lower()
    if found not in SUFFIXES:
        raise ResultsError(f"{path}: the file of results must end with {', '.join(SUFFIXES)}")
    return found


def _digest(image: str) -> int:
    return int.from_bytes(blake2b(encoded(image), digest_size=8).digest(), "little")


def locked(companion: int) -> bool:
    """Locks it until it is closed or the process ends; False if another process has the lock."""
    if fcntl is not None:
        try:
            fcntl.flock(companion, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # some network file systems have no locks
            pass
    return True


def _record(companion: int, run: dict[str, Any]) -> None:
    """Written in place, because the lock is on it; no row is there before it is whole."""
    with open(companion, "wb", closefd=False) as file:
        file.truncate(0)
        file.write(encoded(json.dumps(run, indent=2, ensure_ascii=False) + "\n"))
        file.flush()
        os.fsync(companion)


def _recorded(companion: int, path: str) -> dict[str, Any]:
    with open(companion, "rb", closefd=False) as file:
        try:
            match json.load(file):
                case {"made_by": dict()} as run:
                    return dict(run)
        except ValueError:
            pass
    raise ResultsError(f"{path}: is damaged, and nothing else says what made the results")


def refuse_to_mix(path: str, recorded: dict[str, Any], run: dict[str, Any]) -> None:
    """Sees to it that results are gone on with by what made them.

    Raises:
        ResultsError: something that answers depend on differs.
    """
    old, new = recorded["made_by"], run["made_by"]
    differences = [
        f"{key} {old.get(key)} → {new.get(key)}"
        for key in {**old, **new}
        if old.get(key) != new.get(key)
    ]
    if differences:
        raise ResultsError(
            f"{path}: was made otherwise and would be mixed: {', '.join(differences)}; go on as it"
            " was begun, or write to another file"
        )
