"""One model on several GPUs, which answer as one session does."""

from __future__ import annotations

import queue
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fungi_onnx.bound import Images
from fungi_onnx.session import Session, parse_device


class Pool:
    """Sessions of one model on several devices: a run goes to one that is free.

    The attributes are those of a `Session`; ``device`` has all of them, separated by commas.
    """

    def __init__(self, sessions: list[Session]) -> None:
        """Takes sessions of the same file, at least one."""
        first = sessions[0]
        self.sessions = tuple(sessions)
        self.device = ",".join(session.device for session in sessions)
        self.threads = first.threads
        self.metadata = first.metadata
        self.uint8 = first.uint8
        self.batch = first.batch
        self.parallel = sum(session.parallel for session in sessions)
        self.shapes = first.shapes
        self._free: queue.SimpleQueue[Session] = queue.SimpleQueue()
        # All devices have a first turn before any has its second.
        for turn in range(max(session.parallel for session in sessions)):
            for session in sessions:
                if turn < session.parallel:
                    self._free.put(session)

    def warm_up(self, most: int) -> None:
        """As `Session.warm_up`, on each device."""
        for session in self.sessions:
            session.warm_up(most)

    def run(self, images: Images) -> NDArray[np.float32]:
        """As `Session.run`, on a device that is free; waits for one if none is."""
        session = self._free.get()
        try:
            return session.run(images)
        finally:
            self._free.put(session)


def load(path: Path, device: str, threads: int | None, *, cache: bool) -> Session | Pool:
    """A session; or several, for devices that are separated by commas: ``"cuda:0,cuda:1"``.

    Raises:
        DeviceUnavailableError, ModelFormatError: as `Session`.
        ValueError: as `Session`; or of several devices one is no GPU, or is named twice.
    """
    devices = [name.strip() for name in device.split(",")]
    if len(devices) == 1:
        return Session(path, device, threads, cache=cache)
    parsed = [parse_device(name) for name in devices]
    if {kind for kind, _ in parsed} != {"cuda"} or len(set(parsed)) != len(parsed):
        raise ValueError(
            f"several devices must be different GPUs, such as 'cuda:0,cuda:1', not '{device}'"
        )
    return Pool([Session(path, name, threads) for name in devices])
