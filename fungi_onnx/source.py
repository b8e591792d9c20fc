"""Where a picture comes from: a path, bytes or a file object → the bytes of the file.

Nothing here waits or reads without bound: a pipe, a device or an endless stream is an error.
"""

from __future__ import annotations

import io
import os
import stat
from typing import Protocol

from fungi_onnx.errors import ImageFileError
from fungi_onnx.limits import Limits


class BinaryReader(Protocol):
    """Anything with a ``read(size)`` that gives bytes: an open file, an upload, a ``BytesIO``."""

    def read(self, size: int, /) -> bytes: ...


FileInput = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryReader


class FrugalBytes(io.BytesIO):
    """Bytes as a file that gives up after so many reads.

    Readers written in Python go from marker to marker and chunk to chunk; a hostile file of
    nothing else could keep them busy for minutes.
    """

    def __init__(self, data: bytes, most_reads: int) -> None:
        super().__init__(data)
        self._reads_left = most_reads

    def read(self, size: int | None = -1, /) -> bytes:
        """As of `io.BytesIO`; ValueError when the reads are used up."""
        self._reads_left -= 1
        if self._reads_left < 0:
            raise ValueError("too many small pieces")
        return super().read(size)


def name_of(image: object) -> str | None:
    """The path as text if ``image`` is one, else None."""
    return os.fspath(image) if isinstance(image, str | os.PathLike) else None


def read(image: FileInput, limits: Limits) -> tuple[bytes, str]:
    """Reads a whole file.

    Args:
        image: a path, the bytes themselves, or a binary file object, read from where it stands.
        limits: its ``max_bytes`` is kept.

    Returns:
        The bytes, and what errors call them: the path, the file object's name or ``"(bytes)"``.

    Raises:
        ImageFileError: the path cannot be read or is no regular file.
        ImageTooLargeError: there are more than ``limits.max_bytes``.
        TypeError: ``image`` is none of the above.
    """
    name = name_of(image)
    if name is not None:
        return _read_file(name, limits), name
    if isinstance(image, bytes | bytearray | memoryview):
        data, name = bytes(image), "(bytes)"
    elif not isinstance(image, str | os.PathLike) and hasattr(image, "read"):
        name = str(getattr(image, "name", "(file object)"))
        data = _read_stream(image, name, limits)
    else:
        raise TypeError(
            "an image is a path, bytes, a binary file object or an array [height, width, 3],"
            f" not {type(image).__name__} (numpy.asarray(image.convert('RGB')) makes an array of"
            " a Pillow image)"
        )
    limits.check_bytes(len(data), name)
    return data, name


def _read_file(path: str, limits: Limits) -> bytes:
    try:
        # Without O_NONBLOCK, opening a pipe waits for a writer.
        with open(path, "rb", opener=_open_without_waiting) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                kind = "pipe" if stat.S_ISFIFO(status.st_mode) else "device"
                raise ImageFileError(path, f"is a {kind}, not a file")
            limits.check_bytes(status.st_size, path)
            return file.read(status.st_size)
    except FileNotFoundError:
        raise ImageFileError(path, "no such file") from None
    except IsADirectoryError:
        raise ImageFileError(path, "is a folder, not a picture") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ImageFileError(path, f"cannot be read: {reason}") from None


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _read_stream(stream: BinaryReader, name: str, limits: Limits) -> bytes:
    # A stream may give less than asked, and may never end.
    parts, left = [], limits.max_bytes + 1
    while left > 0:
        try:
            part = stream.read(min(left, 1 << 20))
        except FileNotFoundError:  # one that is opened when it is read
            raise ImageFileError(name, "no such file") from None
        except OSError as error:
            raise ImageFileError(name, f"cannot be read: {error.strerror or error}") from None
        if not part:
            break
        if not isinstance(part, bytes | bytearray):
            raise TypeError("a file object must be opened in binary mode: open(path, 'rb')")
        parts.append(part)
        left -= len(part)
    return b"".join(parts)
