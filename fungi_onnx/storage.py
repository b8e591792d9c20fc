"""Files at addresses (``s3://``, ``gs://``, ``hdfs://``, ...) and in folders, by pyarrow.

Credentials and regions are found as pyarrow finds them: in the environment and the usual files.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator
from typing import Any

from fungi_onnx.errors import SourceError
from fungi_onnx.limits import Limits
from fungi_onnx.listing import bursts

try:
    from pyarrow import ArrowInvalid, fs
except ModuleNotFoundError as missing:
    raise SourceError(
        f"this needs {missing.name}: pip install 'fungi-onnx[ray]', on each machine of the cluster"
    ) from None

_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]+)://([^/?]*)/?([^?]*)(?:\?(.*))?", re.DOTALL)


class Lazy(io.RawIOBase):
    """A picture that is read when it is asked for: a file object with a name."""

    def __init__(self, name: str, data: bytes | OSError) -> None:
        super().__init__()
        self.name = name
        self._data = data
        self._file = io.BytesIO(data if isinstance(data, bytes) else b"")

    def read(self, size: int = -1, /) -> bytes:
        """Its bytes.

        Raises:
            OSError: it could not be read.
        """
        if isinstance(self._data, OSError):
            raise self._data
        return self._file.read(size)


class Storage:
    """Opens addresses; can be sent to other processes.

    A file system is made once for each scheme and host (or bucket).
    """

    def __init__(self, query: str = "") -> None:
        """``query`` is what follows the ``?`` of an address, for all of its kind.

        pyarrow takes options there: ``endpoint_override=...&scheme=http&region=...``.
        """
        self._query = query
        self._systems: dict[str, fs.FileSystem] = {}

    def __reduce__(self) -> tuple[type[Storage], tuple[str]]:
        return type(self), (self._query,)

    def locate(self, address: str) -> tuple[fs.FileSystem, str]:
        """The file system of an address and the path there.

        Raises:
            SourceError: there is no such kind of address, or it holds a password.
        """
        match = _ADDRESS.fullmatch(address)
        if match is None:
            return fs.LocalFileSystem(), os.path.abspath(address)
        scheme, host, path, _ = match.groups()
        if "@" in host:
            raise SourceError(
                f"{scheme}://...@{host.rpartition('@')[2]}: credentials do not belong in an"
                " address, which results and logs repeat; set them in the environment"
            )
        root = f"{scheme}://{host}"
        if root not in self._systems:
            query = f"?{self._query}" if self._query else ""
            try:
                self._systems[root] = fs.FileSystem.from_uri(f"{root}/{query}")
            except (ArrowInvalid, OSError, NotImplementedError) as error:
                raise SourceError(f"{address}: cannot be opened: {told(error)}") from None
        system, base = self._systems[root]
        return system, f"{base.rstrip('/')}/{path}" if base else path

    def read(self, address: str, limits: Limits) -> Lazy:
        """A picture's bytes, one more than there may be at most; none if there is no such file.

        Raises:
            SourceError: it cannot be told whether it is there: access is refused, say.
        """
        system, path = self.locate(address)
        try:
            with system.open_input_stream(path, compression=None) as file:
                return Lazy(address, file.read(limits.max_bytes + 1))
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            return Lazy(address, FileNotFoundError())
        except OSError as error:
            if system.type_name == "local":
                return Lazy(address, error)
            raise refused(address, error) from None


def is_address(name: str) -> bool:
    """Whether it is an address and no path."""
    return _ADDRESS.fullmatch(name) is not None


def query_of(source: str) -> tuple[str, str]:
    """An address without its query, and the query; a path may hold a ``?``."""
    match = _ADDRESS.fullmatch(source)
    if match is None or match[4] is None:
        return source, ""
    return source[: -len(match[4]) - 1], match[4]


def names(source: str, storage: Storage) -> Iterator[str]:
    """The names that a source has: as `fungi_onnx.listing.bursts`, or of an address.

    An address is a folder, which is gone through with all below it, name by name and folder by
    folder; or a list.

    Raises:
        SourceError: there is no such source, or it cannot be read.
    """
    if not is_address(source):
        return (name for burst in bursts(source) for name in burst)
    system, path = storage.locate(source)
    try:
        found = system.get_file_info(path.rstrip("/"))
        if found.type == fs.FileType.File:
            return _list(source, system.open_input_stream(path))
        if found.type == fs.FileType.Directory:
            return _walk(source.rstrip("/"), system, path.rstrip("/"))
    except OSError as error:
        raise refused(source, error) from None
    raise SourceError(f"{source}: no such folder or list file")


def refused(address: str, error: OSError) -> SourceError:
    """What is said when storage does not do what it is asked for."""
    return SourceError(
        f"{address}: cannot be read: {told(error)}; nothing is lost: mend that and go on with"
        " --resume"
    )


def told(error: Exception) -> str:
    """An error of pyarrow in a line, without the request's numbers."""
    text = " ".join(str(error).split())
    return text[:400] or type(error).__name__


def _walk(address: str, system: fs.FileSystem, path: str) -> Iterator[str]:
    try:
        entries = system.get_file_info(fs.FileSelector(path, allow_not_found=True))
    except OSError as error:
        raise refused(address, error) from None
    for entry in sorted(entries, key=lambda entry: str(entry.path)):
        if entry.base_name.startswith(".") or not entry.base_name:
            continue
        name = f"{address}/{entry.base_name}"
        if entry.type == fs.FileType.Directory:
            yield from _walk(name, system, entry.path)
        else:
            yield name


def _list(source: str, file: Any) -> Iterator[str]:
    try:
        with io.TextIOWrapper(file, "utf-8-sig", "surrogateescape", newline="\n") as lines:
            for line in lines:
                if name := line.rstrip("\r\n"):
                    yield name
    except OSError as error:
        raise refused(source, error) from None
