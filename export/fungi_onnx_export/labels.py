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
    lines = re.split(r"\r\n|\r|\n", text)
    if {"id", "name"} <= set(_columns(lines[0])):
        return _from_csv(path, text, classes)
    if re.match(r"\d+[,;\t]", lines[0]):
        raise LabelError(f"{path}, line 1: a CSV needs the header id,name above its rows")
    if {"id", "name"} <= set(_columns(re.sub(r"[;\t]", ",", lines[0]))):
        raise LabelError(f"{path}, line 1: the columns must be separated by commas")
    return _from_lines(path, lines, classes)


def numbered(classes: int) -> tuple[str, ...]:
    """Names for a model without a label map."""
    return tuple(f"class {number}" for number in range(classes))


def _columns(header: str) -> list[str]:
    try:
        return [column.strip().lower() for column in next(csv.reader([header]), [])]
    except csv.Error:  # a line of more than 131,072 characters
        return []


def _from_csv(path: Path, text: str, classes: int) -> tuple[str, ...]:
    names: dict[int, str] = {}
    seen: dict[int, int] = {}
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        columns = [column.strip().lower() for column in next(reader)]
        id_column, name_column = columns.index("id"), columns.index("name")
        following = reader.line_num + 1
        for row in reader:
            # A quoted name may go on in the next line; the row is where it begins.
            line, following = following, reader.line_num + 1
            if not row:
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


def _from_lines(path: Path, lines: list[str], classes: int) -> tuple[str, ...]:
    if lines[-1] == "":
        lines = lines[:-1]
    names = tuple(_name(path, number, line) for number, line in enumerate(lines, start=1))
    if len(names) != classes:
        raise LabelError(
            f"{path}: {len(names)} names for {classes} classes (the last line is {len(lines)})"
        )
    return names


def _number(path: Path, line: int, text: str, classes: int) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text):
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
