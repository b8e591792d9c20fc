"""Label maps: a CSV ``id,name`` in any order, or one name a line."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

from fungi_onnx_export.errors import LabelError


def read(path: Path, classes: int) -> tuple[str, ...]:
    """Reads a label map.

    A file whose first line names the columns ``id`` and ``name`` (in any order, among any others)
    is a CSV; every other file holds one name a line, in id order. UTF-8, with or without BOM.

    Args:
        path: the file.
        classes: how many classes the model has.

    Returns:
        The names in id order.

    Raises:
        LabelError: missing, duplicate or out-of-range ids, a wrong count, an empty name, or bytes
            that are not UTF-8; the text names the line.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise LabelError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise LabelError(f"{path}, line {line}: is not UTF-8") from None
    first = text.partition("\n")[0]
    columns = [column.strip().lower() for column in next(csv.reader([first]), [])]
    if "id" in columns and "name" in columns:
        return _from_csv(path, text, columns, classes)
    if re.match(r"\d+,", first):
        raise LabelError(f"{path}, line 1: a CSV needs the header id,name above its rows")
    return _from_lines(path, text, classes)


def numbered(classes: int) -> tuple[str, ...]:
    """Names for a model without a label map."""
    return tuple(f"class {number}" for number in range(classes))


def _from_csv(path: Path, text: str, columns: list[str], classes: int) -> tuple[str, ...]:
    id_column, name_column = columns.index("id"), columns.index("name")
    names: dict[int, str] = {}
    seen: dict[int, int] = {}
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        for row in reader:
            line = reader.line_num
            if line == 1 or not row:
                continue
            if len(row) <= max(id_column, name_column):
                raise LabelError(f"{path}, line {line}: has {len(row)} columns, too few")
            number = _number(path, line, row[id_column].strip(), classes)
            if number in seen:
                raise LabelError(
                    f"{path}, line {line}: id {number} is there already, in line {seen[number]}"
                )
            names[number] = _name(path, line, row[name_column])
            seen[number] = line
    except csv.Error as error:
        raise LabelError(f"{path}, line {reader.line_num}: {error}") from None
    missing = [number for number in range(classes) if number not in names]
    if missing:
        raise LabelError(
            f"{path}: {len(names)} names for {classes} classes; the first missing id is"
            f" {missing[0]} (the last line is {reader.line_num})"
        )
    return tuple(names[number] for number in range(classes))


def _from_lines(path: Path, text: str, classes: int) -> tuple[str, ...]:
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    names = tuple(_name(path, number, line) for number, line in enumerate(lines, start=1))
    if len(names) != classes:
        raise LabelError(
            f"{path}: {len(names)} names for {classes} classes (the last line is {len(lines)})"
        )
    return names


def _number(path: Path, line: int, text: str, classes: int) -> int:
    if not (text.isascii() and text.isdigit()):
        raise LabelError(f"{path}, line {line}: '{text}' is not an id (0 to {classes - 1})")
    if int(text) >= classes:
        raise LabelError(
            f"{path}, line {line}: id {text} is out of range, the ids are 0 to {classes - 1}"
        )
    return int(text)


def _name(path: Path, line: int, text: str) -> str:
    name = text.strip()
    if not name:
        raise LabelError(f"{path}, line {line}: the name is empty")
    return name
