"""Names of pictures from a folder, a list file or a pipe: lazily, never all of them at once."""

from __future__ import annotations

import os
import select
import stat
import sys
from collections.abc import Collection, Iterator
from typing import Protocol

from fungi_onnx.errors import SourceError

_PIECE = 1 << 16
_BOM = b"\xef\xbb\xbf"


class _Entries(Iterator[os.DirEntry[str]], Protocol):
    """What ``os.scandir`` gives."""

    def close(self) -> None: ...


def bursts(source: str, besides: Collection[str] = ()) -> Iterator[Iterator[str]]:
    """The names that a source has, in bursts: one burst is what is there without waiting.

    A folder or a list file is one burst. A pipe is as many as its writer makes pauses, so that who
    works through a burst to its end need not hold results back until the next name comes.

    A folder is gone through with all below it, in the order in which the file system gives the
    names. Hidden files and folders are passed over; everything else is named, whatever it is: a
    file that is no picture, a folder that cannot be listed and a link to a folder (which is not
    followed) tell when they are read. A list holds one path a line, in UTF-8 or in whatever bytes
    the file names have; blank lines are passed over, a byte order mark and CRLF are understood.

    Args:
        source: a folder, a list file, or ``-`` for standard input.
        besides: files that are not to be named, such as those that the results go to.

    Raises:
        SourceError: there is no such folder or list, or it cannot be read.
    """
    if source == "-":
        if sys.stdin is None:
            raise SourceError("standard input is closed")
        return _lines(sys.stdin.fileno(), "standard input")
    try:
        if os.path.isdir(source):
            return iter([_walk(os.scandir(source), source, besides)])
        descriptor = os.open(source, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    except FileNotFoundError:
        raise SourceError(f"{source}: no such folder or list file") from None
    except (OSError, ValueError) as error:
        raise SourceError(f"{source}: cannot be read: {_reason(error)}") from None
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        if b"\0" in os.read(descriptor, _PIECE):
            os.close(descriptor)
            raise SourceError(
                f"{source}: is not a list of names, a UTF-8 text with one path a line; a single"
                f" picture is for: fungi-onnx classify {source}"
            )
        os.lseek(descriptor, 0, os.SEEK_SET)
    return _lines(descriptor, source, ours=True)


def count(source: str, besides: Collection[str] = ()) -> int | None:
    """How many names `bursts` gives, by going through them; None for a pipe.

    Raises:
        SourceError: as `bursts`.
    """
    if source == "-" or not (os.path.isdir(source) or os.path.isfile(source)):
        return None
    return sum(1 for burst in bursts(source, besides) for _ in burst)


def _walk(top: _Entries, source: str, besides: Collection[str]) -> Iterator[str]:
    """Depth first, with one open folder a level: a million names side by side cost nothing."""
    passed_over = {os.path.realpath(path) for path in besides}
    suspects = {os.path.basename(path) for path in passed_over}
    levels = [(source, top)]
    try:
        while levels:
            folder, entries = levels[-1]
            try:
                entry = next(entries, None)
            except OSError:  # the rest of this folder cannot be read
                yield folder
                entry = None
            if entry is None:
                levels.pop()[1].close()
            elif not (
                entry.name.startswith(".")
                or (entry.name in suspects and os.path.realpath(entry.path) in passed_over)
            ):
                if (below := _listed(entry)) is None:
                    yield entry.path
                else:
                    levels.append((entry.path, below))
    finally:
        for _, entries in levels:
            entries.close()


def _listed(entry: os.DirEntry[str]) -> _Entries | None:
    """What is in it if it is a folder, else None: for one that cannot be listed as well.

    Whoever reads that is told why.
    """
    try:
        return os.scandir(entry.path) if entry.is_dir(follow_symlinks=False) else None
    except OSError:
        return None


def _lines(descriptor: int, source: str, *, ours: bool = False) -> Iterator[Iterator[str]]:
    """A descriptor's lines; a burst ends where reading on would have to wait."""
    rest, first, ended = b"", True, False

    def burst() -> Iterator[str]:
        nonlocal rest, first, ended
        while not ended:
            try:
                piece = os.read(descriptor, _PIECE)
            except OSError as error:
                raise SourceError(f"{source}: cannot be read: {_reason(error)}") from None
            ended = not piece
            *lines, rest = (rest + piece).split(b"\n")
            if ended:
                lines, rest = [rest], b""
            for line in lines:
                name = (line.removeprefix(_BOM) if first else line).removesuffix(b"\r")
                first = False
                if name.strip():
                    yield name.decode("utf-8", "surrogateescape")
            if not _ready(descriptor):
                return

    try:
        while not ended:
            yield burst()
    finally:
        if ours:
            os.close(descriptor)


def _ready(descriptor: int) -> bool:
    try:
        return bool(select.select([descriptor], [], [], 0)[0])
    except (OSError, ValueError):  # on Windows select is for sockets alone
        return True


def _reason(error: OSError | ValueError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
