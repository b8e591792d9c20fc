"""A file that only grows, by whole lines, so that it is sound whenever the process dies."""

from __future__ import annotations

import contextlib
import os

from fungi_onnx.errors import ResultsWriteError


class Log:
    """An append-only file.

    Each line is given to the system in one call as soon as it is there: whatever kills the process
    afterwards, the line stays. (Linux looks for SIGKILL between two pages of a call: a line that is
    being written in that very microsecond can be cut where it crosses a page.) What the machine
    itself loses when its power fails is what the system had not put on the disk yet: it does so
    after half a minute. To wait for the disk here would make a run wait.
    """

    def __init__(self, path: str, end: int | None = None) -> None:
        """Opens it.

        Args:
            path: the file.
            end: where its last sound line ends: what follows is cut off. None makes a new file.

        Raises:
            OSError: it cannot be written, or is there although it should be new.
        """
        mode = os.O_CREAT | os.O_EXCL if end is None else 0
        flags = os.O_RDWR | os.O_APPEND | getattr(os, "O_BINARY", 0)
        self._path = path
        self._file: int = os.open(path, flags | mode, 0o666)
        self._end = end or 0
        try:
            if os.fstat(self._file).st_size > self._end:
                os.ftruncate(self._file, self._end)
        except OSError:
            os.close(self._file)
            raise

    def append(self, line: bytes) -> None:
        """Writes a line, or nothing of it.

        Raises:
            ResultsWriteError: the disk is full, for example.
        """
        left = memoryview(line)
        try:
            while left:  # a disk that is nearly full takes a part of it, and then none
                left = left[os.write(self._file, left) :]
        except OSError as error:
            with contextlib.suppress(OSError):  # resuming cuts it off as well
                os.ftruncate(self._file, self._end)
            raise self._failed(error) from None
        self._end += len(line)

    def sync(self) -> None:
        """Waits until everything is on the disk.

        Raises:
            ResultsWriteError: the disk refuses.
        """
        try:
            os.fsync(self._file)
        except OSError as error:
            raise self._failed(error) from None

    def close(self) -> None:
        """Closes the file; what was appended is the system's already."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _failed(self, error: OSError) -> ResultsWriteError:
        return ResultsWriteError(
            f"{self._path}: cannot be written: {error.strerror}; the results so far are kept: mend"
            " that and go on with --resume"
        )


def sync_folder(path: str) -> None:
    """Puts the entries of a file's folder on the disk, where the system can do that."""
    with contextlib.suppress(OSError):
        folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
