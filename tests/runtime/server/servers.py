"""A server as its operator starts it: a real process, spoken to over a real socket."""

from __future__ import annotations

import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

COMMAND = str(Path(sys.executable).with_name("fungi-onnx"))


class Server:
    """A running `fungi-onnx serve`.

    Attributes:
        process: of the command.
        url: where it listens.
        client: an HTTP client for it.
        log: the lines that it wrote so far.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.log: list[str] = []
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()
        self.url = self.wait_for(r"(http://[^/\s]+)")
        self.client = httpx.Client(base_url=self.url, timeout=60)

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def wait_until_probed(self) -> None:
        """Returns when the golden probes have passed, or failed."""
        self.wait_for("golden probes passed")

    def connect(self) -> socket.socket:
        """A raw connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    def memory(self) -> int:
        """Resident memory in bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return 1024 * int(re.search(r"VmRSS:\s+(\d+)", status)[1])

    def metrics(self) -> dict[str, dict[tuple[str, ...], float]]:
        """Of each metric, the value by the values of its labels."""
        found: dict[str, dict[tuple[str, ...], float]] = {}
        for family in text_string_to_metric_families(self.client.get("/metrics").text):
            for sample in family.samples:
                labels = tuple(sample.labels.values())
                found.setdefault(sample.name, {})[labels] = sample.value
        return found

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Sends a signal and gives the exit code."""
        self.process.send_signal(number)
        return self.process.wait(timeout=60)

    def _read(self) -> None:
        for line in self.process.stderr:
            self.log.append(line.rstrip("\n"))
            self._lines.put(line)
        self._lines.put(None)

    def wait_for(self, pattern: str) -> str:
        """Waits for a line of the log, and gives the pattern's last group."""
        while True:
            line = self._lines.get(timeout=60)
            assert line is not None, "it ended:\n" + "\n".join(self.log)
            if match := re.search(pattern, line):
                return match[match.lastindex or 0]


@contextmanager
def serving(
    model: Path, *options: object, probed: bool = True, prefix: tuple[str, ...] = (), **env: str
) -> Iterator[Server]:
    """Starts a server at a free port, and stops it."""
    arguments = ["serve", "-m", model, "--port", 0, *options]
    process = subprocess.Popen(
        [*prefix, COMMAND, *map(str, arguments)],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **env},
    )
    try:
        server = Server(process)
        if probed:
            server.wait_until_probed()
        yield server
        assert "Traceback" not in "\n".join(server.log)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=40)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise


def problem(response: httpx.Response) -> dict[str, Any]:
    """The problem details of a response, checked to be such, and to tell nothing of the server."""
    assert response.headers["content-type"] == "application/problem+json"
    found: dict[str, Any] = response.json()
    assert {"type", "title", "status", "detail", "code"} <= set(found)
    assert found["status"] == response.status_code
    for leak in ("Traceback", ".py", str(Path.home()), str(Path(__file__).parents[3]), "--max-"):
        assert leak not in response.text
    return found
