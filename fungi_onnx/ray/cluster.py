"""A Ray cluster: how it is reached, and what it says when something fails."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import socket
from collections.abc import Iterator

import ray
from ray.exceptions import RayError

from fungi_onnx import cpus
from fungi_onnx.errors import (
    ClusterError,
    DeviceUnavailableError,
    FungiOnnxError,
    ModelFormatError,
    SourceError,
)
from fungi_onnx.storage import told


@contextlib.contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Inside, Ray is connected to a cluster, or to one that is started of this machine's CPUs."""
    if ray.is_initialized():
        yield
        return
    # Without an address Ray would take any cluster that it finds on this machine.
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    own = address == "local"
    if own:  # by itself Ray reports to its makers
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        _reach(address)
        ray.init(
            address=address,
            num_cpus=cpus.available() if own else None,
            include_dashboard=False if own else None,
            log_to_driver=False,
            logging_level=logging.CRITICAL,  # what goes wrong is raised
        )
    except (OSError, RayError, ValueError, RuntimeError) as error:
        where = "on this machine" if own else f"at {address}"
        raise ClusterError(f"no Ray cluster {where}: {told(error)}") from None
    try:
        yield
    finally:
        ray.shutdown()


def _reach(address: str) -> None:
    """Raises OSError if nobody listens there; Ray by itself would try for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdecimal():
        with socket.create_connection((host.strip("[]"), int(port)), timeout=10):
            pass


def cause(error: RayError) -> FungiOnnxError:
    """What of ours is behind a failure, which Ray passes on as text; or what Ray says."""
    kinds = (SourceError, DeviceUnavailableError, ModelFormatError)
    found = re.findall(r"fungi_onnx\.errors\.(\w+): (.+)", str(error))
    for name, text in reversed(found):
        for kind in kinds:
            if kind.__name__ == name:
                return kind(text)
    return ClusterError(f"Ray failed: {told(error)}")
