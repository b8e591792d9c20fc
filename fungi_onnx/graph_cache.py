"""Graphs that onnxruntime has optimised for this machine, kept in the user's cache folder.

To optimise the fungi model's graph takes onnxruntime 100 of the 130 ms that a session takes to
make. An entry is a folder: the optimised graph, its weights in a file of their own, which
onnxruntime maps into memory instead of copying them, and a record of what they were made from. It
is named by all that the result depends on, so a stale one is never found; it is written beside its
place and renamed, so a half one is never seen; and what is damaged does not match its record.
The weights, as the model, are read through for that only if the file system says anything new of
them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import mmap
import os
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

_GRAPH, WEIGHTS, _RECORD = "graph.onnx", "weights.bin", "entry.json"
_FORMAT = 3  # of the entry; another number when its making changes
_MOST_ENTRIES = 8  # of 30 MB each; the ones not used for longest go first


def locate() -> tuple[Path | None, str]:
    """The cache folder, made if need be, or None and the reason why there is none.

    ``FUNGI_ONNX_CACHE`` names another folder, or is ``off``. One that others can write to is not
    used: they could give this process another model.
    """
    named = os.environ.get("FUNGI_ONNX_CACHE", "")
    if named.lower() == "off":
        return None, "FUNGI_ONNX_CACHE is off"
    path = Path(named) if named else _user_cache() / "fungi-onnx"
    if not path.is_absolute():
        return None, f"{path} is not an absolute path"
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = path.stat()
    except (OSError, ValueError) as error:
        return None, f"{path} cannot be made: {getattr(error, 'strerror', error)}"
    if os.name == "posix" and (status.st_uid != os.getuid() or status.st_mode & 0o077):
        return None, f"{path} is not private to this user (chmod 700)"
    return path, ""


def _user_cache() -> Path:
    """Where this system keeps its user's caches; platformdirs knows it too, 6 ms later."""
    home = os.path.expanduser("~")
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or f"{home}/AppData/Local")
    if sys.platform == "darwin":
        return Path(home, "Library", "Caches")
    return Path(os.environ.get("XDG_CACHE_HOME") or f"{home}/.cache")  # XDG base directories 0.8


def digest_of(model: Path, cache: Path) -> str:
    """The SHA-256 of a model file: computed once (20 ms for 30 MB), then known by its status.

    A note in the cache folder has the digest under all that the file system says of the file.
    Whatever is done to the file changes its ctime, which cannot be set; within the clock's tick
    alone it can be done unseen, so that the digest of a file just written is not noted.

    Raises:
        OSError: the file cannot be read.
    """
    status = model.stat()
    times = status.st_mtime_ns, status.st_ctime_ns
    seen = (str(model.resolve()), status.st_dev, status.st_ino, status.st_size, *times)
    note = cache / "digests" / hashlib.sha256(repr(seen).encode(errors="replace")).hexdigest()[:32]
    at_rest = os.name == "posix" and max(times) < time.time_ns() - 2_000_000_000
    if at_rest:
        with contextlib.suppress(OSError, ValueError):
            known = note.read_text(encoding="ascii")
            if re.fullmatch("[0-9a-f]{64}", known):
                return known
    with model.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if at_rest:
        with contextlib.suppress(OSError):
            note.parent.mkdir(mode=0o700, exist_ok=True)
            note.write_text(digest, encoding="ascii")
    return digest


def find(cache: Path, made_from: dict[str, str]) -> Path | None:
    """The graph made from just this, if there is one and it is as it was recorded.

    Args:
        cache: what `locate` gave.
        made_from: all that the result depends on, the model's digest above all.
    """
    place = _place(cache, made_from)
    try:
        record = json.loads((place / _RECORD).read_bytes())
        if record["made_from"] != made_from or record["graph"] != _digest(place / _GRAPH):
            return None
        # A copy has another status and the same sum, which takes 6 ms of a start's 200.
        weights = place / WEIGHTS
        if record["status"] != _status(weights) and record["weights"] != _checksum(weights):
            return None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    with contextlib.suppress(OSError):  # a cache that cannot be written is still good to read
        os.utime(place)
    return place / _GRAPH


def publish(cache: Path, made_from: dict[str, str], make: Callable[[Path], None]) -> Path | None:
    """Makes an entry, in one step for all who look.

    Args:
        cache: what `locate` gave.
        made_from: all that the result depends on.
        make: writes the graph to the path it is given, and `WEIGHTS` beside it; whatever it raises
            means that there will be no entry.

    Returns:
        The graph; None if it could not be made or written: the disk is full or read-only.
    """
    import shutil
    import tempfile

    draft = None
    try:
        draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=cache))
        make(draft / _GRAPH)
        record = json.dumps(_record(draft, made_from), indent=1)
        (draft / _RECORD).write_text(record, encoding="utf-8")
        _put(draft, cache, made_from)
    except Exception:  # onnxruntime raises all sorts of things, as the disk fills up
        return None
    finally:
        if draft is not None:
            shutil.rmtree(draft, ignore_errors=True)
    _tidy(cache)
    return find(cache, made_from)


def discard(graph: Path) -> None:
    """Takes an entry that does not work out of the way of a new one."""
    _remove(graph.parent)


def _record(entry: Path, made_from: dict[str, str]) -> dict[str, Any]:
    """What is written beside the graph, and what is read is held against."""
    return {
        "made_from": made_from,
        "graph": _digest(entry / _GRAPH),
        "weights": _checksum(entry / WEIGHTS),
        "status": _status(entry / WEIGHTS),
    }


def _place(cache: Path, made_from: dict[str, str]) -> Path:
    text = json.dumps({"format": _FORMAT, **made_from}, sort_keys=True)
    return cache / hashlib.sha256(text.encode()).hexdigest()[:32]


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _status(path: Path) -> list[int]:
    """What changes whenever a file's content does: its ctime cannot be set."""
    found = path.stat()
    return [found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns]


def _checksum(path: Path) -> str:
    """Length and sum of a file's 64-bit words, in 4 ms for 30 MB where a digest takes 20.

    It is against accidents: who can write to this folder can also write another record.
    """
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        words = np.frombuffer(content, np.uint64, len(content) // 8)
        total = int(np.add.reduce(words))
        del words  # or the file could not be closed
        return f"{len(content)} {total} {content[len(content) // 8 * 8 :].hex()}"


def _put(draft: Path, cache: Path, made_from: dict[str, str]) -> None:
    """Renames the draft into its place, unless another process was quicker."""
    place = _place(cache, made_from)
    for _ in range(10):
        try:
            draft.rename(place)
            return
        except OSError:
            if not place.exists():
                raise
        if find(cache, made_from):
            return
        _remove(place)
    raise OSError(f"{place} is broken and cannot be replaced")


def _remove(place: Path) -> None:
    """In one step for all who look; those who have its files open keep them."""
    import shutil
    import tempfile

    with contextlib.suppress(OSError):
        aside = Path(tempfile.mkdtemp(prefix=".old-", dir=place.parent))
        with contextlib.suppress(OSError):
            place.rename(aside / "entry")
        shutil.rmtree(aside, ignore_errors=True)


def _tidy(cache: Path) -> None:
    """Removes what has not been used for longest, and what killed processes left."""
    import shutil

    with contextlib.suppress(OSError):
        folders = sorted(cache.iterdir(), key=lambda place: place.stat().st_mtime, reverse=True)
        entries = [place for place in folders if (place / _RECORD).exists()]
        an_hour_ago = time.time() - 3600
        left = [
            place
            for place in folders
            if place.name.startswith((".draft-", ".old-")) and place.stat().st_mtime < an_hour_ago
        ]
        for place in entries[_MOST_ENTRIES:] + left:
            shutil.rmtree(place, ignore_errors=True)
