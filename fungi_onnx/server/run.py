"""A process that serves."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import signal
import socket
import sys

import uvicorn

from fungi_onnx.classifier import FungiClassifier
from fungi_onnx.errors import DeviceUnavailableError
from fungi_onnx.limits import Limits
from fungi_onnx.server.app import application
from fungi_onnx.server.protocol import Protocol
from fungi_onnx.server.settings import Settings

logger = logging.getLogger("fungi_onnx.server")

# The workers let go of Python's lock a hundred times for each picture, and wait for as long as
# this for each time that the loop holds it. Measured with 256 clients that come again at once
# when they are refused: 8 pictures a second with the default of 5 ms, 20 with this.
_SWITCH_INTERVAL = 0.0005  # seconds

# glibc's mallopt: larger blocks come from the system and go back to it at once, and of the rest
# so much is kept. By itself it gave the tensors back after each picture and fetched them again:
# 500 page faults a picture, and none with this.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGE, _KEPT = 4 << 20, 32 << 20  # bytes


def bind(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        OSError: the address cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=2048)


def serve(
    classifier: FungiClassifier, listener: socket.socket, settings: Settings, limits: Limits
) -> None:
    """Serves until SIGTERM or Ctrl-C, or until the GPU fails; then finishes what was accepted.

    Args:
        classifier: the model, with a session of one thread.
        listener: as of `bind`.
        settings: how it is served.
        limits: those that the classifier has.

    Raises:
        DeviceUnavailableError: the GPU failed. Whatever started the server may start it again.
    """
    settle_process()
    _log()
    failures: list[DeviceUnavailableError] = []

    def on_failure(error: DeviceUnavailableError) -> None:
        failures.append(error)
        server.should_exit = True

    config = uvicorn.Config(
        application(classifier, settings, limits, on_failure),
        http=Protocol,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        backlog=2048,
        timeout_graceful_shutdown=max(1, round(settings.grace)),
    )
    host, port, *_ = listener.getsockname()
    address = f"[{host}]" if ":" in host else host
    logger.info(
        "%s on %s, %d workers: http://%s:%d%s",
        classifier.model.name,
        classifier.device,
        settings.workers,
        address,
        port,
        settings.root_path,
    )
    # uvicorn gives a signal back when it has stopped; a stop that was asked for is no failure.
    signal.signal(signal.SIGTERM, lambda *_: None)
    server = uvicorn.Server(config)
    try:
        server.run(sockets=[listener])
    finally:
        logger.info("stopped: %d requests were answered", server.server_state.total_requests)
    if failures:
        raise failures[0]


def _log() -> None:
    """Our lines and uvicorn's errors go to standard error; what the decoders log goes nowhere."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    for name, level in (("fungi_onnx", logging.INFO), ("uvicorn.error", logging.ERROR)):
        found = logging.getLogger(name)
        found.setLevel(level)
        found.addHandler(handler)
        found.propagate = False


def settle_process() -> None:
    """Fits Python's and glibc's settings to a process that does nothing else than serve."""
    sys.setswitchinterval(_SWITCH_INTERVAL)
    with contextlib.suppress(OSError, AttributeError):  # not glibc
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        mallopt(_M_MMAP_THRESHOLD, _LARGE)
        mallopt(_M_TRIM_THRESHOLD, _KEPT)
