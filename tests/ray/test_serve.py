"""The application on Ray Serve: real replicas behind Ray's own HTTP proxy."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
import ray
import yaml
from prometheus_client.parser import text_string_to_metric_families
from ray import serve
from ray.cluster_utils import Cluster

from fungi_onnx import DeviceUnavailableError, FungiClassifier
from fungi_onnx.image import DEFAULT_LIMITS
from fungi_onnx.ray import deployment
from fungi_onnx.ray.serving import Replica
from fungi_onnx.server.settings import Settings

from .conftest import KEYS, MODEL

SAMPLE = Path(__file__).parents[1] / "data/sample.jpg"


@pytest.fixture(scope="module")
def port() -> int:
    """A free one."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@pytest.fixture(scope="module")
def connected(cluster: Cluster) -> Iterator[None]:
    """This process is connected to the cluster."""
    ray.init(address=cluster.address, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture
def serving(
    connected: None,  # noqa: ARG001 - comes first
    two_nodes: Cluster,
    port: int,
) -> Iterator[Cluster]:
    """Ray Serve runs, with no application yet."""
    serve.start(proxy_location="HeadOnly", http_options={"port": port})
    yield two_nodes
    serve.shutdown()


@pytest.fixture
def client(port: int) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        yield client


def same_as(classifier: FungiClassifier, rows: list[dict[str, Any]], within: float = 0) -> bool:
    """Whether an answer is what the library says, to the last digit or ``within`` so much."""
    top = classifier.classify(SAMPLE, top_k=len(rows)).to_dict()["top"]
    return len(rows) == 5 and all(
        (row["id"], row["name"]) == (match["id"], match["name"])
        and abs(row["probability"] - match["probability"]) <= within
        for row, match in zip(rows, top, strict=True)
    )


def wait_until(there: Callable[[], Any], what: str, seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := there()):
        assert time.monotonic() < deadline, f"{what} was not seen"
        time.sleep(0.1)
    return found


@pytest.mark.usefixtures("serving")
def test_it_answers_as_the_server_does(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier = FungiClassifier(MODEL, device="cpu", threads=1)
    monkeypatch.chdir(MODEL.parent)  # the replicas are somewhere else
    serve.run(deployment(MODEL.name), route_prefix="/fungi")
    response = client.post("/fungi/v1/classify", content=SAMPLE.read_bytes())
    assert response.status_code == 200, response.text
    assert same_as(classifier, response.json()["top"])
    assert response.headers["x-content-type-options"] == "nosniff"
    files = [("file", (name, SAMPLE.read_bytes())) for name in ("a.jpg", "b.jpg")]
    several = client.post("/fungi/v1/classify", files=files).json()
    assert [one["image"] for one in several["results"]] == ["a.jpg", "b.jpg"]
    assert all(same_as(classifier, one["top"]) for one in several["results"])
    broken = client.post("/fungi/v1/classify", content=SAMPLE.read_bytes()[:900])
    assert (broken.status_code, broken.json()["code"]) == (422, "ImageDecodeError")
    large = client.post("/fungi/v1/classify", content=bytes(32_000_001))
    assert (large.status_code, large.json()["code"]) == (413, "TooLarge")
    # No client ever sees a replica that is not ready, so the first answer of this is the last.
    assert client.get("/fungi/readyz").json()["ok"] is True
    assert client.get("/fungi/v2/health/ready").status_code == 200
    # The page under Ray's prefix: its addresses are relative.
    page = client.get("/fungi")
    assert (page.status_code, page.headers["location"]) == (307, "/fungi/")
    page = client.get("/fungi/")
    assert page.status_code == 200
    assert client.get("/fungi/openapi.json").json()["info"]["title"] == "fungi-onnx"


@pytest.mark.usefixtures("serving")
def test_ray_gathers_the_batches(client: httpx.Client) -> None:
    classifier = FungiClassifier(MODEL, device="cpu", threads=1)
    settings = Settings(batch=4, batch_delay=0.2, token="a-token-of-some-length")
    serve.run(deployment(MODEL, replicas=(1, 1), settings=settings))
    key = {"Authorization": "Bearer a-token-of-some-length"}
    assert client.post("/v1/classify", content=SAMPLE.read_bytes()).status_code == 401

    def ask(_: int) -> bool:
        response = client.post("/v1/classify", content=SAMPLE.read_bytes(), headers=key)
        return response.status_code == 200 and same_as(classifier, response.json()["top"], 1e-6)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(32)))
    samples = {
        (sample.name, sample.labels.get("le")): sample.value
        for family in text_string_to_metric_families(client.get("/metrics", headers=key).text)
        for sample in family.samples
        if sample.name.startswith("fungi_onnx_batch_size")
    }
    assert samples["fungi_onnx_batch_size_sum", None] == 32
    assert samples["fungi_onnx_batch_size_count", None] <= 16
    assert (
        samples["fungi_onnx_batch_size_bucket", "4.0"]
        == samples["fungi_onnx_batch_size_count", None]
    )


@pytest.mark.usefixtures("serving")
def test_who_leaves_is_not_waited_for(client: httpx.Client, port: int) -> None:
    settings = Settings(batch=2, batch_delay=30)  # one alone waits for so long
    serve.run(deployment(MODEL, replicas=(1, 1), settings=settings))

    def pending() -> int:
        return int(re.search(r"^fungi_onnx_pending (\d+)", client.get("/metrics").text, re.M)[1])

    with socket.create_connection(("127.0.0.1", port)) as one:
        data = SAMPLE.read_bytes()
        head = f"POST /v1/classify HTTP/1.1\r\nHost: x\r\nContent-Length: {len(data)}\r\n\r\n"
        one.sendall(head.encode() + data)
        wait_until(lambda: pending() == 1, "its picture")
    wait_until(lambda: pending() == 0, "that it has gone", 10)


@pytest.mark.usefixtures("serving")
def test_more_than_there_is_room_for_is_refused(client: httpx.Client) -> None:
    serve.run(deployment(MODEL, replicas=(1, 1), settings=Settings(queue=1)))

    def ask(_: int) -> int:
        return client.post("/v1/classify", content=SAMPLE.read_bytes()).status_code

    with ThreadPoolExecutor(32) as pool:
        statuses = Counter(pool.map(ask, range(200)))
    assert set(statuses) == {200, 503}, statuses
    assert ask(0) == 200


@pytest.mark.usefixtures("serving")
def test_a_model_in_a_bucket(client: httpx.Client, s3: str) -> None:
    bucket = boto3.client(
        "s3",
        endpoint_url=s3,
        region_name="us-east-1",
        aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
    )
    bucket.create_bucket(Bucket="models")
    bucket.put_object(Bucket="models", Key="v1/tiny.onnx", Body=MODEL.read_bytes())
    query = f"scheme=http&endpoint_override={s3.removeprefix('http://')}"
    serve.run(deployment(f"s3://models/v1/tiny.onnx?{query}"))
    classifier = FungiClassifier(MODEL, device="cpu", threads=1)
    answer = client.post("/v1/classify", content=SAMPLE.read_bytes()).json()
    assert same_as(classifier, answer["top"])
    with pytest.raises(RuntimeError, match="Failed to update the deployments"):
        serve.run(deployment(f"s3://models/v2/tiny.onnx?{query}"), name="none", route_prefix="/x")
    told = serve.status().applications["none"].deployments["fungi-onnx"].message
    assert "ModelNotFoundError: s3://models/v2/tiny.onnx: there is no such model" in told


@pytest.mark.usefixtures("serving")
def test_a_model_that_answers_otherwise_never_serves(client: httpx.Client, tmp_path: Path) -> None:
    altered = tmp_path / "altered.onnx"
    data = bytearray(MODEL.read_bytes())
    tensor = b"expanded_conv_9/project/Conv2D_weights_fused_bnJ\x80\x0c"
    data[data.index(tensor) + len(tensor) + 3] ^= 0x40  # the first weight's largest exponent bit
    altered.write_bytes(data)
    with pytest.raises(RuntimeError, match="Failed to update the deployments"):
        serve.run(deployment(altered))
    told = serve.status().applications["default"].deployments["fungi-onnx"].message
    assert "altered.onnx: The model does not answer here as its original did: 8 of 8" in told
    assert client.post("/v1/classify", content=SAMPLE.read_bytes()).status_code in (404, 503)


@pytest.mark.usefixtures("connected", "two_nodes")
def test_a_failed_device_is_told_to_ray() -> None:
    """No GPU can fail here: the replica is told that one has, as its engine tells it."""

    @ray.remote
    def health() -> list[str | None]:
        replica = Replica(str(MODEL), Settings(), DEFAULT_LIMITS)
        told: list[str | None] = []
        for _ in range(2):
            try:
                told.append(replica.check_health())
            except DeviceUnavailableError as error:
                told.append(str(error))
            replica._fail(DeviceUnavailableError("cuda:0 has failed"))
        return told

    assert ray.get(health.remote()) == [None, "cuda:0 has failed"]


@pytest.mark.usefixtures("connected", "two_nodes")
def test_the_batcher_is_rays_own() -> None:
    @ray.remote
    def batcher() -> bool:
        replica = Replica(str(MODEL), Settings(batch=4), DEFAULT_LIMITS)
        return hasattr(replica.__serve_build_asgi_app__()._engine._batcher, "set_max_batch_size")

    assert ray.get(batcher.remote())


@pytest.mark.parametrize("replicas", [(2, 1), (0, 0), (-1, 1)])
def test_replicas_that_cannot_be(replicas: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="replicas must be at least and at most how many"):
        deployment(MODEL, replicas=replicas)


def replicas() -> list[int]:
    """The processes of the replicas."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            name = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if name.startswith(b"ray::ServeReplica") and b"fungi-onnx" in name:
            found.append(int(folder.name))
    return found


@pytest.mark.usefixtures("connected")
def test_a_built_configuration_scales_with_the_load_and_mends_itself(
    two_nodes: Cluster, client: httpx.Client, port: int, tmp_path: Path
) -> None:
    ours = str(Path(sys.executable).with_name("serve"))
    config = tmp_path / "fungi.yaml"
    subprocess.run(
        [ours, "build", "fungi_onnx.ray:app", "-o", str(config)], check=True, capture_output=True
    )
    built = yaml.safe_load(config.read_text())
    (application,) = built["applications"]
    assert application["import_path"] == "fungi_onnx.ray:app"
    (one,) = application["deployments"]
    assert one["name"] == "fungi-onnx"
    assert one["autoscaling_config"]["max_replicas"] == 8
    # What an operator writes into it.
    built["http_options"]["port"] = port
    built["proxy_location"] = "HeadOnly"
    application["runtime_env"] = {"env_vars": {"FUNGI_ONNX_MODEL": str(MODEL)}}
    one["autoscaling_config"] |= {"max_replicas": 2, "upscale_delay_s": 1, "metrics_interval_s": 1}
    config.write_text(yaml.safe_dump(built))

    classifier = FungiClassifier(MODEL, device="cpu", threads=1)
    statuses: Counter[int] = Counter()
    stop = threading.Event()

    def load() -> None:
        with httpx.Client(base_url=client.base_url, timeout=60) as one:
            while not stop.is_set():
                response = one.post("/v1/classify", content=SAMPLE.read_bytes())
                assert response.status_code != 200 or same_as(classifier, response.json()["top"])
                statuses[response.status_code] += 1

    def up() -> bool:
        try:
            return client.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False

    command = [ours, "run", str(config), "--address", two_nodes.address]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process,
        ThreadPoolExecutor(16) as pool,
    ):
        try:
            wait_until(up, "the application")
            assert len(replicas()) == 1
            loads = [pool.submit(load) for _ in range(16)]
            wait_until(lambda: len(replicas()) == 2, "a second replica")
            assert set(statuses) == {200}
            killed = replicas()[0]
            os.kill(killed, signal.SIGKILL)
            wait_until(lambda: len({*replicas()} - {killed}) == 2, "another replica")
            before = statuses.copy()
            wait_until(lambda: statuses[200] > before[200] + 100, "answers")
            stop.set()
            for one_of_them in loads:
                one_of_them.result()
        finally:
            stop.set()
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=60)
    # Only what the killed replica had in hand is lost, and its clients are told.
    assert set(statuses) <= {200, 500, 503}, statuses
    assert statuses[500] + statuses[503] <= 16, statuses
