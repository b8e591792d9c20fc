"""What an operator can set."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """How the server serves; each is an option of `fungi-onnx serve`.

    Attributes:
        workers: threads that decode and classify.
        queue: pictures that may wait for a worker; with one more, a request is answered 503.
        max_bytes: of a request's body.
        max_files: of a request.
        max_pending_bytes: of all requests' bodies together; beyond it, 503.
        max_connections: open at once; beyond it, 503.
        timeout: seconds for a body to arrive, and again for its answer to be made.
        grace: seconds that accepted requests may still take after SIGTERM.
        batch: pictures that may share a run of the model; 1: each has its own.
        batch_delay: seconds that a picture may wait for others to share its run.
        token: what clients must send as ``Authorization: Bearer``; None: nothing.
        cors_origins: origins whose pages may call the server from a browser.
        root_path: the path under which a reverse proxy shows the server.
        log_requests: a line for each request.
    """

    workers: int = 1
    queue: int = 64
    max_bytes: int = 32_000_000
    max_files: int = 16
    max_pending_bytes: int = 256_000_000
    max_connections: int = 1_000
    timeout: float = 60.0
    grace: float = 30.0
    batch: int = 1
    batch_delay: float = 0.002
    token: str | None = None
    cors_origins: tuple[str, ...] = ()
    root_path: str = ""
    log_requests: bool = False

    @property
    def capacity(self) -> int:
        """Pictures that may be accepted at once: those being worked on and those that wait."""
        return self.workers + self.queue
