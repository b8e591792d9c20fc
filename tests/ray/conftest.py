"""A real Ray cluster on this machine, a real S3 server, real pictures."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from ray.cluster_utils import Cluster

COMMAND = str(Path(sys.executable).with_name("fungi-onnx"))
MODEL = Path(__file__).parents[1] / "data/tiny.onnx"
BROKEN = 100  # one of so many pictures is

KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1"}

Run = Callable[..., subprocess.CompletedProcess[str]]


def pytest_configure(config: pytest.Config) -> None:
    """Ray's own way of using pydantic is not our business."""
    config.addinivalue_line("filterwarnings", "ignore::pydantic.warnings.PydanticDeprecatedSince20")


def make_pictures(folder: Path, count: int, size: tuple[int, int] = (90, 70)) -> None:
    """JPEGs of fifty kinds, in turn; every hundredth is cut short."""
    chance = np.random.default_rng(0)
    kinds = []
    for _ in range(min(count, 50)):
        pixels = cv2.resize(chance.integers(0, 256, (6, 6, 3), np.uint8), size)
        kinds.append(cv2.imencode(".jpg", pixels)[1].tobytes())
    for number in range(count):
        data = kinds[number % len(kinds)]
        path = folder / f"{number // 500:03}" / f"{number:06}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data[:200] if number % BROKEN == 7 else data)


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c_reaches_the_commands() -> Iterator[None]:
    """A shell's job in the background ignores SIGINT, and what it starts inherits that."""
    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A head without CPUs; tests add nodes, which have the keys of the S3 server."""
    os.environ.update(KEYS)
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    yield made
    made.shutdown()


@pytest.fixture
def two_nodes(cluster: Cluster) -> Cluster:
    """With two nodes of one CPU; a test may kill them."""
    for _ in range(2 - len(cluster.worker_nodes)):
        cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    return cluster


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs `fungi-onnx` with arguments, in the test's folder."""

    def run(*arguments: object, env: dict[str, str] | None = None, **more: object) -> object:
        environment = {**os.environ, "FUNGI_ONNX_MODEL": str(MODEL), **(env or {})}
        return subprocess.run(
            [COMMAND, *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=180,
            cwd=tmp_path,
            env=environment,
            check=False,
            **more,
        )

    return run


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """The address of an S3 server, with two users' keys in the environment's form."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).with_name("moto_server")), "-H", "127.0.0.1", "-p"]
    with subprocess.Popen(
        [*command, str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as server:
        address = f"http://127.0.0.1:{port}"
        for _ in range(300):
            try:
                urllib.request.urlopen(f"{address}/moto-api/data.json", timeout=5).close()
                break
            except OSError:
                time.sleep(0.1)
        else:
            raise AssertionError("the S3 server does not answer")
        yield address
        server.kill()
