"""Slow, greedy and hostile clients, and more work than there is room for."""

from __future__ import annotations

import json
import os
import socket
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest

from fungi_onnx.server.protocol import MAX_HEAD, PATIENCE

from .servers import Server, problem, serving


@pytest.fixture(scope="module")
def heavy() -> bytes:
    """A photo that takes a while: 24 megapixels in a PNG."""
    row = np.arange(6000, dtype=np.uint8)
    picture = np.broadcast_to(row[np.newaxis, :, np.newaxis], (4000, 6000, 3))
    return cv2.imencode(".png", np.ascontiguousarray(picture))[1].tobytes()


def answer_of(connection: socket.socket) -> bytes:
    """All that comes until the server closes."""
    answer = b""
    while part := connection.recv(65536):
        answer += part
    return answer


def drip(connection: socket.socket, data: bytes, times: int, seconds: float) -> None:
    for _ in range(times):
        connection.sendall(data)
        time.sleep(seconds)


HEAD = b"POST /v1/classify HTTP/1.1\r\nHost: x\r\n"


def test_a_large_body_is_refused_by_its_head_alone(server: Server) -> None:
    with server.connect() as connection:
        connection.sendall(HEAD + b"Content-Length: 32000001\r\nConnection: close\r\n\r\n")
        assert answer_of(connection).startswith(b"HTTP/1.1 413 ")
    with server.connect() as connection:
        connection.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % 10**30)
        assert b" 4" in connection.recv(20)


def test_a_large_body_without_a_length(tiny: Path) -> None:
    with serving(tiny, "--max-megabytes", 0.5) as server:

        def endless():
            for _ in range(10):
                yield bytes(100_000)

        response = server.client.post("/v1/classify", content=endless())
        assert response.status_code == 413
        assert problem(response)["code"] == "TooLarge"
        assert "the limit is 500,000." in problem(response)["detail"]
        # The connection goes on: what nobody read is passed over.
        assert server.client.get("/healthz").json() == {"status": "ok"}
        assert server.metrics()["fungi_onnx_pending_bytes"][()] == 0
        assert server.metrics()["fungi_onnx_rejections_total"][("size",)] == 1


def test_pixels_and_files(tiny: Path, sample: Path) -> None:
    data = sample.read_bytes()  # 320 x 320
    with serving(tiny, "--max-megapixels", 0.1, "--max-files", 2) as server:
        response = server.client.post("/v1/classify", content=data)
        assert response.status_code == 413
        assert problem(response)["detail"] == (
            "The picture has 320 × 320 = 102,400 pixels; the limit is 100,000."
        )
        response = server.client.post("/v1/classify", files=[("f", ("a", data))] * 3)
        assert response.status_code == 413
        assert problem(response)["detail"] == "A request may have 2 files, this one has more."


def test_a_body_that_drips(tiny: Path) -> None:
    with serving(tiny, "--timeout", 1) as server, server.connect() as connection:
        connection.sendall(HEAD + b"Content-Length: 1000\r\n\r\nabc")
        start = time.monotonic()
        assert b"HTTP/1.1 408 " in connection.recv(4096)
        assert 0.5 < time.monotonic() - start < 10
        assert server.metrics()["fungi_onnx_rejections_total"][("slow",)] == 1
        # What drips on behind the answer is not waited for either.
        with pytest.raises(OSError, match="Broken pipe|reset"):
            drip(connection, b"a", round(3 * PATIENCE), 1)


def test_a_head_that_drips_and_one_that_never_begins(server: Server) -> None:
    with server.connect() as dripping, server.connect() as silent:
        start = time.monotonic()
        for connection in (dripping, silent):
            connection.settimeout(3 * PATIENCE)
        for byte in HEAD[:4]:
            dripping.sendall(bytes([byte]))
            time.sleep(0.5)
        for connection in (dripping, silent):
            answer = answer_of(connection)
            assert answer.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
            assert b"No request arrived within 10 seconds." in answer
        assert PATIENCE - 1 < time.monotonic() - start < 2 * PATIENCE


def test_a_large_head(server: Server) -> None:
    for chunk in (1000, 10 * MAX_HEAD):
        with server.connect() as connection:
            head = HEAD + b"X: " + b"x" * (2 * MAX_HEAD) + b"\r\n\r\n"
            for at in range(0, len(head), chunk):
                try:
                    connection.sendall(head[at : at + chunk])
                except OSError:
                    break
                time.sleep(0.001)
            assert connection.recv(100).startswith(b"HTTP/1.1 431 ")
    many = {f"x-{number}": "y" * 100 for number in range(500)}
    response = server.client.get("/healthz", headers=many)
    assert response.status_code == 431
    assert problem(response)["code"] == "HeadTooLarge"


def test_an_answer_that_nobody_reads(server: Server) -> None:
    """The connection is given up, with what it held."""
    name = server.client.get("/v1/model").json()["name"]
    tensor = {"name": "images", "datatype": "FP32", "shape": [0, 48, 48, 3], "data": []}
    body = json.dumps({"id": "x" * 20_000_000, "inputs": [tensor]}).encode()  # it is given back
    with server.connect() as connection:
        head = f"POST /v2/models/{name}/infer HTTP/1.1\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body)
        time.sleep(PATIENCE + 3)
        assert 0 < len(answer_of(connection)) < 20_000_000


def test_a_flood_of_requests_on_one_connection(server: Server) -> None:
    before = server.metrics()["fungi_onnx_rejections_total"].get(("pipeline",), 0)
    with server.connect() as connection, pytest.raises(OSError, match="Broken pipe|reset"):
        drip(connection, b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 1000, 100, 0.01)
    assert server.metrics()["fungi_onnx_rejections_total"]["pipeline",] == before + 1


def test_more_connections_than_may_be(tiny: Path) -> None:
    with serving(tiny, "--max-connections", 5) as server:
        held = [server.connect() for _ in range(5)]
        with server.connect() as one_more:
            answer = answer_of(one_more)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: 1" in answer.lower()
        assert b"5 connections are open, which is the limit." in answer
        for connection in held:
            connection.close()
        time.sleep(0.2)
        assert server.client.get("/readyz").status_code == 200


def test_more_work_than_there_is_room_for(tiny: Path, heavy: bytes) -> None:
    """Two may be accepted; the others are told at once to come again, and lose nothing."""
    with (
        serving(tiny, "--workers", 1, "--queue", 1) as server,
        httpx.Client(base_url=server.url, timeout=60) as client,
        ThreadPoolExecutor(12) as pool,
    ):

        def ask(_: int) -> httpx.Response:
            return client.post("/v1/classify", content=heavy)

        responses = list(pool.map(ask, range(24)))
        counts = Counter(response.status_code for response in responses)
        assert set(counts) == {200, 503}
        assert counts[200] >= 2
        for response in responses:
            if response.status_code == 503:
                assert response.headers["retry-after"] == "1"
                assert problem(response)["code"] == "Busy"
            else:
                assert response.json()["top"][0]["probability"] > 0
        metrics = server.metrics()
        assert metrics["fungi_onnx_rejections_total"][("queue",)] == counts[503]
        assert metrics["fungi_onnx_pending"][()] == 0
        assert metrics["fungi_onnx_capacity"][()] == 2
        # A form of more files than there could ever be room for need not come again.
        files = [("f", (str(number), heavy[:100])) for number in range(3)]
        assert client.post("/v1/classify", files=files).status_code == 413
        assert client.get("/v1/model").json()["serving"]["max_files"] == 2


def test_more_bytes_than_may_be_held(tiny: Path) -> None:
    with serving(tiny, "--max-pending-megabytes", 1) as server:
        with server.connect() as first:
            first.sendall(HEAD + b"Content-Length: 900000\r\n\r\n" + bytes(800_000))
            for _ in range(100):
                if server.metrics()["fungi_onnx_pending_bytes"][()] == 800_000:
                    break
                time.sleep(0.05)
            response = server.client.post("/v1/classify", content=bytes(400_000))
            assert response.status_code == 503
            assert problem(response)["detail"] == (
                "Too many large requests are arriving; try again."
            )
            first.sendall(bytes(100_000))
            assert first.recv(20).startswith(b"HTTP/1.1 422")
        assert server.client.post("/v1/classify", content=bytes(400_000)).status_code == 422


def test_an_answer_that_takes_too_long(tiny: Path, heavy: bytes) -> None:
    with serving(tiny, "--timeout", 0.05) as server:
        response = server.client.post("/v1/classify", content=heavy)
        assert response.status_code == 503
        assert problem(response)["detail"] == "The answer took longer than 0.05 seconds."
        assert server.metrics()["fungi_onnx_rejections_total"][("time",)] == 1


def test_pictures_of_clients_that_went_are_not_looked_at(tiny: Path, heavy: bytes) -> None:
    with serving(tiny, "--workers", 1) as server:
        for _ in range(10):
            with server.connect() as connection:
                connection.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(heavy) + heavy)
                time.sleep(0.02)
        with server.connect() as connection:
            connection.sendall(HEAD + b"Content-Length: 1000\r\n\r\nabc")
        for _ in range(200):
            metrics = server.metrics()
            if metrics["fungi_onnx_rejections_total"].get(("gone",), 0) >= 5:
                break
            time.sleep(0.05)
        assert metrics["fungi_onnx_rejections_total"][("gone",)] >= 5
        assert metrics["fungi_onnx_requests_total"]["POST", "/v1/classify", "499"] >= 5


def test_a_client_that_needs_to_be_asked(server: Server, sample: Path) -> None:
    """curl sends a large body only after 100 Continue."""
    data = sample.read_bytes()
    with server.connect() as connection:
        connection.sendall(HEAD + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(data))
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(data)
        assert connection.recv(100).startswith(b"HTTP/1.1 200 OK")


def test_requests_one_behind_the_other(server: Server, sample: Path) -> None:
    data = sample.read_bytes()
    with server.connect() as connection:
        request = HEAD + b"Content-Length: %d\r\n\r\n" % len(data) + data
        connection.sendall(2 * request + b"GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n")
        answer = answer_of(connection)
    assert answer.count(b"HTTP/1.1 200 OK") == 3
    assert answer.count(b'"top":') == 2
    assert answer.endswith(b'{"status":"ok"}')


def test_a_flood_of_connections_leaves_no_descriptor(tiny: Path) -> None:
    with serving(tiny) as server:
        folder = Path(f"/proc/{server.process.pid}/fd")
        server.client.get("/healthz")
        before = len(os.listdir(folder))
        for _ in range(500):
            server.connect().close()
        time.sleep(0.5)
        assert len(os.listdir(folder)) <= before
