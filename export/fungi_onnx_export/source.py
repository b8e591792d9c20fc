"""A handle, a folder, an archive or a .tflite file → a module on the local disk."""

from __future__ import annotations

import hashlib
import os
import re
import socket
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from lzma import LZMAError
from pathlib import Path
from typing import Literal

from fungi_onnx_export import known
from fungi_onnx_export.errors import SourceError

Format = Literal["tf1-hub", "saved-model", "tflite"]

# A MobileNetV2 module has five files and 31 MB; these leave room for any classifier and none for
# a bomb.
MAX_FILES = 10_000
MAX_BYTES = 4 * 2**30

_HUB_MARK = b"\x08\x03"  # tfhub_module.pb: ModuleDef{format: FORMAT_V3}
_FORMS = "a folder, a .tar.gz or a .tflite file, or a https://tfhub.dev/ or kaggle.com/models/ one"


@dataclass(frozen=True)
class Source:
    """A module on the local disk.

    Attributes:
        location: what the user gave.
        format: what it turned out to be.
        path: the folder with ``saved_model.pb``, or the ``.tflite`` file.
        handle: the hub handle, if it was addressed by one.
    """

    location: str
    format: Format
    path: Path
    handle: str | None = None

    def digests(self) -> dict[str, str]:
        """SHA-256 of each of the module's own files, by relative path."""
        if self.format == "tflite":
            files = [self.path]
        else:
            patterns = ("saved_model.pb", "tfhub_module.pb", "variables/*", "assets/*")
            files = sorted(file for pattern in patterns for file in self.path.glob(pattern))
        base = self.path.parent if self.format == "tflite" else self.path
        return {file.relative_to(base).as_posix(): _sha256(file) for file in files}


@contextmanager
def opened(location: str) -> Iterator[Source]:
    """Finds the module and, for an archive, unpacks it for as long as the context lasts.

    Raises:
        SourceError: there is no module there; the text says what was found and what to give.
    """
    path = Path(location).expanduser()
    if handle := _handle(location):
        yield _module(_resolve(handle), location, handle)
    elif path.is_dir():
        yield _module(path, location)
    elif path.is_file() and _is_tflite(path):
        yield Source(location, "tflite", path)
    elif path.is_file() and _is_archive(path):
        with tempfile.TemporaryDirectory(prefix="fungi-onnx-") as folder:
            _unpack(path, Path(folder))
            yield _module(Path(folder), location)
    elif path.exists():
        raise SourceError(f"{location}: neither a module folder, a .tar.gz nor a .tflite file")
    else:
        raise SourceError(f"{location}: no such source; give {_FORMS}")


def _handle(location: str) -> str | None:
    """The location as a hub handle, if it is one; copied from a page, it may lack its scheme."""
    if re.match(r"(www\.)?(tfhub\.dev|kaggle\.com/models)/", location):
        return f"https://{location}"
    return location if re.match(r"https?://", location) else None


def _module(folder: Path, location: str, handle: str | None = None) -> Source:
    """Recognises the module in a folder, or in the one folder inside it."""
    if not (folder / "saved_model.pb").is_file():
        inner = [entry for entry in folder.iterdir() if (entry / "saved_model.pb").is_file()]
        if any(re.fullmatch(r"[0-9a-f]{40}", entry.name) for entry in inner):
            raise SourceError(_cache_listing(location, inner))
        if len(inner) != 1:
            found = ", ".join(sorted(entry.name for entry in folder.iterdir())[:8]) or "nothing"
            raise SourceError(f"{location}: holds no saved_model.pb, only {found}")
        folder = inner[0]
    mark = folder / "tfhub_module.pb"
    if not mark.is_file():
        return Source(location, "saved-model", folder, handle)
    if (content := mark.read_bytes()) != _HUB_MARK:
        raise SourceError(
            f"{location}: tfhub_module.pb holds {content[:8].hex(' ')}, not 08 03; this hub format"
            " is unknown"
        )
    return Source(location, "tf1-hub", folder, handle)


def _resolve(handle: str) -> Path:
    """A handle → a folder: the local cache first, then tensorflow_hub's own resolver."""
    cache = Path(os.environ.get("TFHUB_CACHE_DIR") or Path(tempfile.gettempdir()) / "tfhub_modules")
    bare = handle.rstrip("/")
    for spelling in (handle, bare, f"{bare}/", f"{bare}?tf-hub-format=compressed"):
        # tensorflow_hub names a cached module by the SHA-1 of the handle it was asked for.
        folder = cache / hashlib.sha1(spelling.encode(), usedforsecurity=False).hexdigest()
        if (folder / "saved_model.pb").is_file():
            return folder
    if model := known.by_handle(handle):
        raise SourceError(f"{handle} is not in the cache {cache}, and {model.gone}")

    import tensorflow_hub

    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(30)  # tensorflow_hub sets none, and would wait for ever
    try:
        return Path(tensorflow_hub.resolve(handle))
    except Exception as error:  # whatever urllib, tarfile or TensorFlow raise
        raise SourceError(
            f"{handle} cannot be fetched ({error}); give a local copy: a folder, a .tar.gz, a"
            f" .tflite file, or set TFHUB_CACHE_DIR to a cache that holds it (looked in {cache})"
        ) from None
    finally:
        socket.setdefaulttimeout(timeout)


def _cache_listing(location: str, modules: list[Path]) -> str:
    """The text for a TFHUB_CACHE_DIR given as the source itself."""
    lines = []
    for module in sorted(modules):
        description = module.with_name(f"{module.name}.descriptor.txt")
        text = description.read_text(errors="replace") if description.is_file() else ""
        handle = re.search(r"https?://[^\s,\"']+", text)
        lines.append(f"  {handle[0] if handle else module}")
    return (
        f"{location} is a cache of {len(modules)} modules; name one by its handle, with"
        f" TFHUB_CACHE_DIR={location}, or by its folder:\n" + "\n".join(lines)
    )


def _unpack(archive: Path, folder: Path) -> None:
    """Unpacks a .tar.gz: plain files and folders only, inside the folder, of bounded size."""
    count = size = 0
    too_large = f"unpacks to more than {MAX_FILES} files or {MAX_BYTES} bytes"
    try:
        with tarfile.open(archive, "r:*") as tar:
            for member in tar:
                count, size = count + 1, size + member.size
                if not (member.isfile() or member.isdir()):
                    raise SourceError(
                        f"{archive}: '{member.name}' is a link or a device; a module has only"
                        " files and folders"
                    )
                if member.name.startswith("/") or ".." in Path(member.name).parts:
                    raise SourceError(f"{archive}: '{member.name}' leads outside the archive")
                if count > MAX_FILES or size > MAX_BYTES:
                    raise SourceError(f"{archive}: {too_large}")
                tar.extract(member, folder, filter="data")
            # A tar has no checksum of its own; gzip compares its one at the very end alone.
            while tar.fileobj is not None and (rest := tar.fileobj.read(2**20)):
                if (size := size + len(rest)) > MAX_BYTES:
                    raise SourceError(f"{archive}: {too_large}")
    except (tarfile.TarError, EOFError, OSError, ValueError, zlib.error, LZMAError) as error:
        raise SourceError(f"{archive}: cannot be unpacked: {error}") from None


def _is_archive(path: Path) -> bool:
    """By content; a gzip cut short is an archive too, and then fails with its own words."""
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b" or tarfile.is_tarfile(path)


def _is_tflite(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(8)[4:] == b"TFL3"  # the FlatBuffer's file identifier


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
