"""Keeps the C libraries below from writing to a user's terminal."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def decoders_silenced() -> Iterator[None]:
    """What libpng, libtiff and OpenCV write to file descriptor 2 goes nowhere.

    An ImageError says it better. ``sys.stderr`` goes on writing to where the descriptor led. This
    is for a process of one's own, not for a library: the descriptor belongs to all threads.
    """
    try:
        ours = sys.stderr.fileno() == 2
    except (OSError, ValueError):  # captured, closed
        ours = False
    if not ours:
        yield
        return
    sys.stderr.flush()
    python = sys.stderr
    with open(os.dup(2), "w", encoding=python.encoding, errors=python.errors, buffering=1) as kept:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        sys.stderr = kept
        try:
            yield
        finally:
            sys.stderr = python
            os.dup2(kept.fileno(), 2)
