"""Keeps the decoders from writing to a user's terminal."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def decoders_silenced() -> Iterator[None]:
    """Nothing of what the decoders say about broken files comes through: an ImageError says it.

    libtiff, libpng and OpenCV write to file descriptor 2, Pillow warns and logs. ``sys.stderr``
    goes on writing to where the descriptor led. This is for a process of one's own and not for a
    library: descriptor and warning filters belong to all threads.
    """
    logging.getLogger("PIL").addHandler(logging.NullHandler())  # or it would go to stderr
    with warnings.catch_warnings(), _descriptor_2_led_away():
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def _descriptor_2_led_away() -> Iterator[None]:
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
