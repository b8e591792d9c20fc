"""Files that are there as a whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def replaced(path: Path) -> Iterator[BinaryIO]:
    """A new file that takes the place of ``path`` when all of it is written.

    Raises:
        OSError: it cannot be written; then what was there is there as it was.
    """
    # Beside it, because a move is one step within a file system alone; and as it would be made.
    mode = os.umask(0)
    os.umask(mode)
    descriptor, draft = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
        os.chmod(draft, 0o666 & ~mode)
        os.replace(draft, path)
    except BaseException:
        os.unlink(draft)
        raise
