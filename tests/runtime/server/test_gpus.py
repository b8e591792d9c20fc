"""A server on several devices, and on one that fails. They are CPUs that call themselves GPUs."""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from fungi_onnx import FungiClassifier

from .servers import problem, serving

# The command itself, with sessions that say who ran what, and that fail when they are told to.
LAUNCHER = """
import sys, threading, time
from pathlib import Path
from fungi_onnx import cli, pool
from fungi_onnx.errors import DeviceUnavailableError
from fungi_onnx.session import Session

class Device(Session):
    def __init__(self, path, name):
        super().__init__(path, "cpu", 1)
        self.device, self.batch, self.parallel = name, 16, 1
        self.alone = threading.Lock()
        self.warm = 0

    def warm_up(self, most):
        self.warm = most

    def run(self, images):
        assert self.warm == 16, "it was not warmed up"
        assert self.alone.acquire(blocking=False), "two runs at once"
        try:
            if Path(sys.argv[1]).exists():
                raise DeviceUnavailableError(f"device '{self.device}' fell off the bus")
            time.sleep(0.02)
            with open(sys.argv[2], "a") as log:
                log.write(f"{self.device} {len(images)}\\n")
            return super().run(images)
        finally:
            self.alone.release()

pool.load = lambda path, device, *_, **__: pool.Pool([Device(path, d) for d in device.split(",")])
sys.exit(cli.main(sys.argv[4:]))
"""


@pytest.fixture
def launched(tmp_path: Path) -> tuple[str, ...]:
    """The beginning of a command: Python, the launcher, the file that ends it, and its log."""
    launcher = tmp_path / "launcher.py"
    launcher.write_text(LAUNCHER)
    return sys.executable, str(launcher), str(tmp_path / "fail"), str(tmp_path / "runs")


def test_several_devices_share_the_pictures(
    tiny: Path, sample: Path, launched: tuple[str, ...], tmp_path: Path
) -> None:
    expected = FungiClassifier(tiny, device="cpu").classify(sample).to_dict()["top"]
    with serving(tiny, "--device", "cuda:0,cuda:1", "--workers", 4, prefix=launched) as server:
        assert server.client.get("/readyz").json()["device"] == "cuda:0,cuda:1"
        (tmp_path / "runs").write_text("")
        with ThreadPoolExecutor(32) as clients:
            answers = list(
                clients.map(
                    lambda _: server.client.post("/v1/classify", content=sample.read_bytes()),
                    range(200),
                )
            )
        assert {answer.status_code for answer in answers} == {200}
        for answer in answers:
            top = answer.json()["top"]
            assert [match["id"] for match in top] == [match["id"] for match in expected]
            assert abs(top[0]["probability"] - expected[0]["probability"]) < 1e-6
        assert server.stop() == 0
    runs = [line.split() for line in (tmp_path / "runs").read_text().splitlines()]
    assert sum(int(count) for _, count in runs) == 200
    assert max(int(count) for _, count in runs) > 1, "nobody shared a run"
    busy = {name: sum(int(count) for who, count in runs if who == name) for name, _ in runs}
    assert set(busy) == {"cuda:0", "cuda:1"}
    assert min(busy.values()) > 20


def test_a_device_that_fails_ends_the_server_with_a_code_of_its_own(
    tiny: Path, sample: Path, launched: tuple[str, ...], tmp_path: Path
) -> None:
    with serving(tiny, "--device", "cuda", prefix=launched) as server:
        assert server.client.post("/v1/classify", content=sample.read_bytes()).status_code == 200
        (tmp_path / "fail").touch()
        response = server.client.post("/v1/classify", content=sample.read_bytes())
        assert response.status_code == 503
        assert problem(response)["code"] == "DeviceFailed"
        assert response.json()["detail"] == "The server's device has failed, and the server stops."
        assert server.process.wait(timeout=20) == 4
        server.wait_for("fungi-onnx: device 'cuda' fell off the bus")
        with pytest.raises(httpx.TransportError):
            server.client.get("/healthz")


def test_a_device_that_fails_at_the_probes_ends_it_too(
    tiny: Path, launched: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "fail").touch()
    with serving(tiny, "--device", "cuda", prefix=launched, probed=False) as server:
        start = time.monotonic()
        assert server.process.wait(timeout=20) == 4
        assert time.monotonic() - start < 10
        server.wait_for("fungi-onnx: device 'cuda' fell off the bus")
