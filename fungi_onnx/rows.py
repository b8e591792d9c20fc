"""Results as lines of text: how a prediction becomes a row, and how its row is read back.

Both formats are UTF-8 on every machine. Of a file name that is no UTF-8 the odd bytes are written
as ``\\udcNN``, which in a JSON string is the very escape that gives the name back.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple, Protocol

from fungi_onnx.errors import ResultsError
from fungi_onnx.prediction import Prediction

_LONGEST = 1 << 24  # bytes that a row may have when it is read back


class Row(NamedTuple):
    """What resuming has to know of a row: the picture and its error's type, if it has one."""

    image: str
    error: str | None


class Format(Protocol):
    """A way to write results as lines, one after the other.

    Attributes:
        head: what stands before the first row.
    """

    head: bytes

    def row(self, prediction: Prediction) -> bytes:
        """One whole row, with its end."""
        ...

    def records(self, file: BinaryIO) -> Iterator[bytes]:
        """The file's bytes from where it stands, cut behind each row; lazily."""
        ...

    def parse(self, record: bytes) -> Row:
        """Reads one row back; ValueError if it is no whole one."""
        ...


class JsonLines:
    """One JSON object a line, as `Prediction.to_dict` gives it."""

    def __init__(self, head: bytes = b"") -> None:
        self.head = head

    def row(self, prediction: Prediction) -> bytes:
        """As of `Format`."""
        return encoded(json.dumps(prediction.to_dict(), ensure_ascii=False) + "\n")

    def records(self, file: BinaryIO) -> Iterator[bytes]:
        """As of `Format`."""
        return iter(lambda: file.readline(_LONGEST + 1), b"")

    def parse(self, record: bytes) -> Row:
        """As of `Format`."""
        if not record.endswith(b"\n"):
            raise ValueError("cut short")
        match json.loads(record):
            case {"image": str(image), "top": list()}:
                return Row(image, None)
            case {"image": str(image), "error": {"type": str(error), "message": str()}}:
                return Row(image, error)
        raise ValueError("not a row of results")


class Csv:
    """A table with a header: RFC 4180, so a name may hold commas, quotes and line breaks.

    The columns are ``image``, then ``id_N,name_N,probability_N`` for each of the best, then
    ``unsure`` (true, false, or empty if no least probability was asked for), then
    ``error_type,error_message``, of which a row has either.
    """

    def __init__(self, best: int) -> None:
        """``best`` is how many classes a row has."""
        columns = [f"{what}_{n + 1}" for n in range(best) for what in ("id", "name", "probability")]
        self._columns = ["image", *columns, "unsure", "error_type", "error_message"]
        self.head = self._line(self._columns)

    def row(self, prediction: Prediction) -> bytes:
        """As of `Format`."""
        values = [v for m in prediction.matches for v in (m.id, m.name, m.probability)]
        values += [""] * (len(self._columns) - 4 - len(values))
        error = prediction.error
        unsure = {None: "", True: "true", False: "false"}[prediction.unsure]
        told = ["", ""] if error is None else [type(error).__name__, str(error)]
        return self._line([prediction.image, *values, unsure, *told])

    def records(self, file: BinaryIO) -> Iterator[bytes]:
        """As of `Format`. A line break stands inside quotes if their number before it is odd."""
        parts: list[bytes] = []
        inside, size = False, 0
        while line := file.readline(_LONGEST + 1):
            parts.append(line)
            size += len(line)
            inside ^= line.count(b'"') % 2 == 1
            if not inside or size > _LONGEST:
                yield b"".join(parts)
                parts.clear()
                size = 0
        if parts:
            yield b"".join(parts)

    def parse(self, record: bytes) -> Row:
        """As of `Format`."""
        if not record.endswith(b"\r\n"):
            raise ValueError("cut short")
        csv.field_size_limit(1 << 30)  # a name in a list may be of any length
        try:
            (row,) = csv.reader(io.StringIO(record.decode(), newline=""), strict=True)
        except csv.Error as error:
            raise ValueError(str(error)) from None
        if len(row) != len(self._columns):
            raise ValueError(f"{len(row)} columns and not {len(self._columns)}")
        return Row(row[0], row[-2] or None)

    @staticmethod
    def _line(values: list[Any]) -> bytes:
        text = io.StringIO()
        csv.writer(text).writerow(values)
        return encoded(text.getvalue())


def sound(file: BinaryIO, format_: Format, path: str) -> Iterator[tuple[int, Row]]:
    """The rows from where the file stands, each with its size in bytes, up to a broken end.

    Args:
        file: the results.
        format_: theirs.
        path: for the error's text.

    Raises:
        ResultsError: a row is broken and others follow it, or more than a row can have.
    """
    broken, tail = "", 0
    for number, record in enumerate(format_.records(file), start=1):
        try:
            row = format_.parse(record)
        except ValueError as error:
            broken = broken or f"{path}: row {number} is damaged ({error})"
            tail += len(record)
            # A stray quote makes one row of all that follow.
            lines = record.split(b"\n")[1:-1]
            more = tail > _LONGEST or any(_is_row(line + b"\n", format_) for line in lines)
        else:
            more = True
            if not broken:
                yield len(record), row
        if broken and more:
            raise ResultsError(f"{broken}, and others follow it: mend or remove it by hand")


def _is_row(line: bytes, format_: Format) -> bool:
    try:
        format_.parse(line)
    except ValueError:
        return False
    return True


def encoded(text: str) -> bytes:
    """UTF-8, with lone surrogates as ``\\udcNN``."""
    return text.encode("utf-8", "backslashreplace")
