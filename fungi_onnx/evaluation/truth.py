"""What is on photos: a table of them, or a folder with a folder for each class."""

from __future__ import annotations

import csv
import difflib
import io
import os
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fungi_onnx import listing
from fungi_onnx.errors import SourceError, TruthError

UNKNOWN = -1


@dataclass(frozen=True, slots=True)
class Photo:
    """A photo and what it shows.

    ``image`` is its name in the table, or below the folder; ``path`` is where it lies.
    """

    image: str
    path: str
    label: str


@dataclass(frozen=True)
class Truth:
    """Photos of which one knows what they show.

    Attributes:
        source: the table or the folder.
        photos: in the table's order, or by class and name.
        synonyms: the model's name of a class, for other names of it.
        strays: files of the folder that lie in no class.
    """

    source: str
    photos: tuple[Photo, ...]
    synonyms: Mapping[str, str] = field(default_factory=dict)
    strays: tuple[str, ...] = ()

    def ids(self, labels: Sequence[str]) -> NDArray[np.int64]:
        """The class of each photo; `UNKNOWN` if its label is none of the model's.

        A label is a name, letter by letter, or a synonym of one, or an id.

        Args:
            labels: the model's, in id order.

        Raises:
            TruthError: a label names two classes, or no label names any.
        """
        names = [unicodedata.normalize("NFC", name) for name in labels]
        id_of, twice = dict(zip(names, range(len(names)), strict=True)), Counter(names)

        def find(label: str) -> int:
            name = label if label in id_of else self.synonyms.get(label, label)
            if twice[name] > 1:
                raise TruthError(
                    f"{self.source}: the model calls {twice[name]} classes {name!r}: label these"
                    " photos with ids"
                )
            if name in id_of:
                return id_of[name]
            return int(name) if name.isdecimal() and int(name) < len(names) else UNKNOWN

        found = {label: find(label) for label in {photo.label for photo in self.photos}}
        if set(found.values()) == {UNKNOWN}:
            example = self.photos[0].label
            raise TruthError(
                f"{self.source}: none of its labels is a class of the model, such as {labels[0]!r};"
                f" the first is {example!r}{did_you_mean(example, labels)}"
            )
        return np.array([found[photo.label] for photo in self.photos], np.int64)


def did_you_mean(label: str, labels: Sequence[str]) -> str:
    """The name that is nearest to an unknown one, as the end of a sentence; or nothing."""
    near = difflib.get_close_matches(label, labels, n=1, cutoff=0.8)
    return f" (did you mean {near[0]!r}?)" if near else ""


def read_truth(
    source: str | os.PathLike[str], synonyms: str | os.PathLike[str] | None = None
) -> Truth:
    """Reads what is on photos.

    Tables are CSV in UTF-8, with a header and commas, semicolons or tabs; other columns are passed
    over.

    Args:
        source: a table with the columns ``image``, a path as seen from the table's folder, and
            ``label``, a name or an id of the model's; or a folder with a folder for each class, of
            which all below it is taken except what is hidden.
        synonyms: a table with the columns ``synonym`` and ``name``.

    Raises:
        TruthError: it cannot be read, names no photos or one twice, or a row is not whole.
    """
    source = os.fspath(source)
    others = {} if synonyms is None else _synonyms(os.fspath(synonyms))
    if not os.path.isdir(source):
        return Truth(source, tuple(_table(source)), others)
    strays = sorted(entry.name for entry in _entries(source) if not entry.is_dir())
    photos = tuple(_below(source))
    if not photos:
        raise TruthError(
            f"{source}: has no photos in folders: each class needs a folder of its name"
        )
    return Truth(source, photos, others, tuple(strays))


def _table(source: str) -> Iterator[Photo]:
    seen: dict[str, int] = {}
    for line, (image, label) in _rows(source, ("image", "label")):
        if image in seen:
            raise TruthError(f"{source}, line {line}: {image} is in line {seen[image]} already")
        seen[image] = line
        yield Photo(image, os.path.join(os.path.dirname(source), image), label)


def _synonyms(source: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for line, (synonym, name) in _rows(source, ("synonym", "name")):
        if found.setdefault(synonym, name) != name:
            raise TruthError(
                f"{source}, line {line}: {synonym} is a synonym of {found[synonym]} already"
            )
    return found


def _rows(source: str, columns: tuple[str, str]) -> Iterator[tuple[int, tuple[str, str]]]:
    """The two columns of each row, with its line's number."""
    wanted = " and ".join(columns)
    try:
        text = Path(source).read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise TruthError(f"{source}: no such file or folder") from None
    except UnicodeDecodeError:
        raise TruthError(
            f"{source}: is not a table in UTF-8 with the columns {wanted}; save it as CSV UTF-8"
        ) from None
    except OSError as error:
        raise TruthError(f"{source}: cannot be read: {error.strerror}") from None
    head = text.partition("\n")[0]
    delimiter = max(",;\t", key=head.count)  # spreadsheets of many countries write semicolons
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        header = [name.strip().lower() for name in next(reader, [])]
        missing = [name for name in columns if name not in header]
        if missing:
            raise TruthError(
                f"{source}: its first line must name the columns {wanted}; {missing[0]} is not"
                f" among {', '.join(filter(None, header)) or 'them'}"
            )
        first, second = map(header.index, columns)
        number = 0
        for row in reader:
            if not any(row):
                continue
            number += 1
            values = [unicodedata.normalize("NFC", value.strip()) for value in row]
            if len(values) <= max(first, second) or not (values[first] and values[second]):
                raise TruthError(f"{source}, line {reader.line_num}: needs {wanted}")
            # A path is the system's business, letter by letter.
            kept = row[first] if columns[0] == "image" else values[first]
            yield reader.line_num, (kept, values[second])
    except csv.Error as error:
        raise TruthError(f"{source}, line {reader.line_num}: is not CSV: {error}") from None
    if number == 0:
        raise TruthError(f"{source}: has no rows below its header")


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise TruthError(f"{folder}: cannot be read: {error.strerror}") from None


def _below(source: str) -> Iterator[Photo]:
    for entry in sorted(_entries(source), key=lambda entry: entry.name):
        if entry.is_dir():
            label = unicodedata.normalize("NFC", entry.name)
            try:
                paths = sorted(path for burst in listing.bursts(entry.path) for path in burst)
            except SourceError as error:
                raise TruthError(str(error)) from None
            for path in paths:
                yield Photo(os.path.relpath(path, source), path, label)
