"""What an operator does: options, variables, health, metrics, tokens, proxies, stopping."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

import fungi_onnx
from fungi_onnx import FungiClassifier, Limits, selftest
from fungi_onnx.server.app import application
from fungi_onnx.server.settings import Settings

from .servers import COMMAND, Server, problem, serving

TOKEN = "correct-horse-battery-staple"


def run(*arguments: object, **env: str) -> subprocess.CompletedProcess[str]:
    result = subprocess.run(
        [COMMAND, "serve", *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, **env},
        check=False,
        timeout=60,
    )
    assert "Traceback" not in result.stderr
    return result


def test_it_is_ready_when_the_probes_have_passed(server: Server, tiny: Path) -> None:
    response = server.client.get("/readyz")
    assert response.status_code == 200
    expected = selftest.run(FungiClassifier(tiny, device="cpu", threads=1)).to_dict()
    assert response.json() == expected
    assert server.client.get("/healthz").json() == {"status": "ok"}
    assert re.search(r"ready: 8 of 8 golden probes passed on cpu$", "\n".join(server.log), re.M)


def test_it_is_never_ready_when_a_probe_fails(altered: Any, sample: Path) -> None:
    model = altered(b'"tolerance":{"cpu":0.0001', b'"tolerance":{"cpu":-0.001')
    with serving(model) as server:
        response = server.client.get("/readyz")
        assert response.status_code == 503
        assert problem(response)["code"] == "ProbesFailed"
        assert "8 of 8 golden probes failed (drawing" in problem(response)["detail"]
        assert server.client.get("/healthz").status_code == 200
        assert server.client.get("/v1/model").status_code == 200
        response = server.client.post("/v1/classify", content=sample.read_bytes())
        assert response.status_code == 503
        assert problem(response)["code"] == "ProbesFailed"
        assert server.metrics()["fungi_onnx_ready"][()] == 0
        assert "not ready, and it will not be: 0 of 8" in server.log[-1]


def test_the_model_s_card(server: Server, tiny: Path) -> None:
    card = server.client.get("/v1/model").json()
    model = FungiClassifier(tiny, device="cpu").model
    assert card["title"] == model.name
    assert re.fullmatch(r"[a-z0-9-]{1,40}", card["name"])
    assert card["labels"] == {"count": 12, "given": True}
    assert card["terms"]["unsuitable"] == list(model.terms.unsuitable)
    assert card["parity"]["reference"].startswith("TensorFlow ")
    assert card["image_size"] == [48, 48]
    assert card["serving"]["max_bytes"] == 32_000_000
    assert str(tiny) not in str(card)


def test_metrics_tell_what_happened(tiny: Path, sample: Path) -> None:
    with serving(tiny) as server:
        for _ in range(3):
            server.client.post("/v1/classify", content=sample.read_bytes())
        server.client.post("/v1/classify", content=b"x")
        for number in range(20):
            server.client.get(f"/made/up/{number}")
        metrics = server.metrics()
        requests = metrics["fungi_onnx_requests_total"]
        assert requests["POST", "/v1/classify", "200"] == 3
        assert requests["POST", "/v1/classify", "422"] == 1
        assert requests["GET", "other", "404"] == 20
        assert metrics["fungi_onnx_request_seconds_count"]["/v1/classify",] == 4
        stages = metrics["fungi_onnx_stage_seconds_count"]
        assert stages == {("queue",): 4, ("decode",): 3, ("inference",): 3}
        assert metrics["fungi_onnx_batch_size_sum"][()] == 3
        (info,) = metrics["fungi_onnx_model_info"]
        assert {"cpu", "float32", fungi_onnx.__version__} <= set(info)
        assert metrics["process_resident_memory_bytes"][()] > 10e6


def test_the_environment_sets_options_and_the_command_line_goes_before(
    tiny: Path, sample: Path
) -> None:
    variables = {
        "FUNGI_ONNX_MODEL": str(tiny),
        "FUNGI_ONNX_MAX_MEGABYTES": "0.001",
        "FUNGI_ONNX_MAX_FILES": "3",
        "FUNGI_ONNX_WORKERS": "1",
        "FUNGI_ONNX_LOG_REQUESTS": "yes",
    }
    with serving(tiny, "--max-files", 7, **variables) as server:
        serving_ = server.client.get("/v1/model").json()["serving"]
        assert (serving_["max_bytes"], serving_["max_files"]) == (1000, 7)
        assert server.metrics()["fungi_onnx_workers"][()] == 1
        response = server.client.post("/v1/classify", content=sample.read_bytes())
        assert response.status_code == 413
        server.wait_for(r"127\.0\.0\.1 POST /v1/classify 413 \d+\.\d ms$")


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("PORT", "http", "--port: FUNGI_ONNX_PORT: 'http' is not a port from 0 to 65535"),
        ("WORKERS", "0", "--workers: FUNGI_ONNX_WORKERS: '0' is not a whole number above 0"),
        ("LOG_REQUESTS", "maybe", "FUNGI_ONNX_LOG_REQUESTS: 'maybe' is not one of 1, true, yes"),
        ("TOKEN", "short", "FUNGI_ONNX_TOKEN: a token has at least 16 ASCII characters"),
        ("ROOT_PATH", "x", "FUNGI_ONNX_ROOT_PATH: 'x' does not begin with a slash"),
        ("CORS_ORIGINS", "a.org", "FUNGI_ONNX_CORS_ORIGINS: 'a.org' is not an origin such as"),
        ("TIMEOUT", "-1", "FUNGI_ONNX_TIMEOUT: '-1' is not a number above 0"),
    ],
)
def test_a_wrong_variable_is_named(tiny: Path, name: str, value: str, text: str) -> None:
    result = run("-m", tiny, **{f"FUNGI_ONNX_{name}": value})
    assert (result.returncode, result.stdout) == (2, "")
    assert text in result.stderr
    # Another command does not mind.
    info = subprocess.run(
        [COMMAND, "info", "-m", tiny], env={**os.environ, f"FUNGI_ONNX_{name}": value}, check=False,
        capture_output=True,
    )  # fmt: skip
    assert info.returncode == 0


def test_help_names_every_variable() -> None:
    text = run("--help").stdout
    options = set(re.findall(r"^  (?:-\w, )?--([a-z-]+)", text, re.M)) - {"help", "model"}
    assert len(options) >= 17
    for option in options:
        variable = f"[FUNGI_ONNX_{option.upper().replace('-', '_')}]"
        assert variable in re.sub(r"\s+", " ", text).replace("[ ", "["), option


def test_what_cannot_be_served(tiny: Path, tmp_path: Path) -> None:
    missing = run("-m", tmp_path / "missing.onnx")
    assert missing.returncode == 3
    assert "missing.onnx: no such model file" in missing.stderr
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = run("-m", tiny, "--port", port)
    assert result.returncode == 2
    assert result.stderr == (
        f"fungi-onnx: cannot listen at 127.0.0.1, port {port}: Address already in use\n"
    )
    assert run("-m", tiny, "--host", "nowhere.invalid").returncode == 2
    assert run("-m", tiny, "--device", "cuda").returncode == 4


def test_a_token_guards_all_but_health_and_the_page(tiny: Path, sample: Path) -> None:
    data = sample.read_bytes()
    with serving(tiny, FUNGI_ONNX_TOKEN=TOKEN) as server:
        for path in ("/healthz", "/readyz", "/v2/health/live", "/v2/health/ready", "/"):
            assert server.client.get(path).status_code == 200
        assert server.client.get("/page/app.js").status_code == 200
        for path in ("/v1/model", "/metrics", "/v2", "/openapi.json", "/nothing"):
            response = server.client.get(path)
            assert response.status_code == 401
            assert response.headers["www-authenticate"] == "Bearer"
            assert TOKEN not in response.text
        for wrong in ("", TOKEN, f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}",
                      "Bearer", "Bearer ä"):  # fmt: skip
            headers = {"authorization": wrong.encode()}
            response = server.client.post("/v1/classify", content=data, headers=headers)
            assert response.status_code == 401
            assert problem(response)["detail"].startswith("This server asks for a token")
        server.client.headers["authorization"] = f"bearer {TOKEN}"
        assert server.client.post("/v1/classify", content=data).status_code == 200
        document = server.client.get("/openapi.json").json()
        assert document["paths"]["/v1/classify"]["post"]["security"] == [{"token": []}]
        assert "security" not in document["paths"]["/healthz"]["get"]
        assert TOKEN not in "\n".join(server.log)


def test_other_origins_only_if_they_are_named(tiny: Path, sample: Path) -> None:
    friend, stranger = {"origin": "https://a.org"}, {"origin": "https://b.org"}
    asking = {"access-control-request-method": "POST",
              "access-control-request-headers": "authorization"}  # fmt: skip
    with serving(tiny, "--cors-origins", "https://a.org", FUNGI_ONNX_TOKEN=TOKEN) as server:
        allowed = server.client.options("/v1/classify", headers=friend | asking)
        assert allowed.status_code == 200
        assert allowed.headers["access-control-allow-origin"] == "https://a.org"
        refused = server.client.options("/v1/classify", headers=stranger | asking)
        assert refused.status_code == 400
        assert "access-control-allow-origin" not in refused.headers
        response = server.client.post("/v1/classify", headers=friend)
        assert response.status_code == 401  # which the page of that origin may read
        assert response.headers["access-control-allow-origin"] == "https://a.org"
        response = server.client.post(
            "/v1/classify",
            content=sample.read_bytes(),
            headers=stranger | {"authorization": f"Bearer {TOKEN}"},
        )
        assert response.status_code == 200
        assert "access-control-allow-origin" not in response.headers


def test_a_failure_is_told_to_the_log_and_not_to_the_client(
    tiny: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What the gate does when the rooms behind it fail in a way that nobody foresaw."""

    async def fail(_: object) -> None:
        raise RuntimeError(f"cannot open {tiny}")

    classifier = FungiClassifier(tiny, device="cpu", threads=1)
    gate = application(classifier, Settings(workers=1), Limits())
    gate._app.add_route("/fail", fail)

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(gate)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            return await client.get("/fail")

    with caplog.at_level("ERROR", logger="fungi_onnx.server"):
        response = asyncio.run(ask())
    assert response.status_code == 500
    assert problem(response)["detail"] == (
        "The server failed; its log says more under this instance."
    )
    assert problem(response)["instance"].startswith("urn:uuid:")
    assert problem(response)["instance"] in caplog.text
    assert "RuntimeError: cannot open" in caplog.text
    text = gate._metrics.text().decode()
    assert 'fungi_onnx_requests_total{method="GET",route="other",status="500"} 1.0' in text


def test_probes_that_have_run_already_are_believed(tiny: Path, sample: Path) -> None:
    """As Ray Serve's replicas run theirs, before anything of the application is there."""
    classifier = FungiClassifier(tiny, device="cpu", threads=1)
    passed = selftest.run(classifier)
    failed = replace(passed, results=(replace(passed.results[0], problem="it differs"),))

    async def ask(report: selftest.Report) -> httpx.Response:
        gate = application(classifier, Settings(), Limits(), report=report)
        transport = httpx.ASGITransport(gate)
        try:
            async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
                return await client.post("/v1/classify?top_k=1", content=sample.read_bytes())
        finally:
            gate._engine.close()

    first = asyncio.run(ask(passed))
    assert (first.status_code, first.json()["top"][0]["id"]) == (200, 3)
    first = asyncio.run(ask(failed))
    assert (first.status_code, problem(first)["code"]) == (503, "ProbesFailed")
    assert problem(first)["detail"] == (
        "The model does not answer here as its original did: 1 of 1 golden probes failed"
        f" ({passed.results[0].name}: it differs)."
    )


@pytest.mark.parametrize("strips", [True, False], ids=["proxy strips", "proxy does not"])
def test_behind_a_proxy_with_a_path(tiny: Path, sample: Path, strips: bool) -> None:
    with serving(tiny, "--root-path", "/species/") as server:
        prefix = "" if strips else "/species"
        assert 'src="page/app.js"' in server.client.get(f"{prefix}/").text
        assert server.client.get(f"{prefix}/page/app.js").status_code == 200
        assert server.client.get(f"{prefix}/readyz").status_code == 200
        response = server.client.post(f"{prefix}/v1/classify", content=sample.read_bytes())
        assert response.status_code == 200
        document = server.client.get(f"{prefix}/openapi.json").json()
        assert document["servers"] == [{"url": "/species"}]
        assert "/v1/classify" in document["paths"]
        requests = server.metrics()["fungi_onnx_requests_total"]
        assert requests["POST", "/v1/classify", "200"] == 1


def test_the_path_of_a_proxy_without_a_slash_leads_to_the_page(tiny: Path) -> None:
    with serving(tiny, "--root-path", "/species", "--token", TOKEN) as server:
        response = server.client.get("/species")
        assert (response.status_code, response.headers["location"]) == (307, "/species/")


def test_sigterm_under_load_answers_all_that_was_accepted(tiny: Path, sample: Path) -> None:
    """Clients count what they were answered, the server what it answered: the same number."""
    data = sample.read_bytes()
    with serving(tiny, "--queue", 1000) as server:
        expected = server.client.post("/v1/classify", content=data).json()
        server.client.close()
        counts: Counter[str] = Counter()
        wrong: list[object] = []
        lock, stop = threading.Lock(), threading.Event()

        def ask() -> None:
            with httpx.Client(base_url=server.url, timeout=60) as client:
                while not stop.is_set():
                    try:
                        response = client.post("/v1/classify", content=data)
                    except httpx.TransportError as error:
                        # Refused, or closed before a byte of an answer: never in the middle.
                        with lock:
                            counts["refused"] += 1
                            if not isinstance(
                                error,
                                httpx.ConnectError | httpx.RemoteProtocolError
                                | httpx.ReadError | httpx.WriteError,
                            ):  # fmt: skip
                                wrong.append(error)
                        return
                    with lock:
                        counts[str(response.status_code)] += 1
                        if response.json() != expected:
                            wrong.append(response.text)

        threads = [threading.Thread(target=ask) for _ in range(32)]
        for thread in threads:
            thread.start()
        time.sleep(2)
        assert counts["200"] > 32
        code = server.stop(signal.SIGTERM)
        stop.set()
        for thread in threads:
            thread.join()
        assert code == 0
        assert wrong == []
        assert set(counts) <= {"200", "refused"}
        answered = re.fullmatch(r".*stopped: (\d+) requests were answered", server.log[-1])
        assert int(answered[1]) == counts["200"] + 1


def test_sigterm_waits_for_a_body_that_is_arriving(tiny: Path, sample: Path) -> None:
    data = sample.read_bytes()
    with serving(tiny) as server, server.connect() as connection:
        connection.sendall(
            b"POST /v1/classify HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(data)
        )
        connection.sendall(data[:1000])
        time.sleep(0.3)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        with pytest.raises(ConnectionRefusedError):
            server.connect()
        connection.sendall(data[1000:])
        answer = connection.recv(65536)
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"connection: close" in answer.lower()
        assert server.process.wait(timeout=30) == 0


def test_sigterm_does_not_wait_for_ever(tiny: Path) -> None:
    with serving(tiny, "--grace", 1) as server, server.connect() as connection:
        connection.sendall(b"POST /v1/classify HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n")
        time.sleep(0.3)
        start = time.monotonic()
        assert server.stop(signal.SIGTERM) == 0
        assert time.monotonic() - start < 10
        answer = connection.recv(4096)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"The server has stopped." in answer


def test_ctrl_c(tiny: Path) -> None:
    with serving(tiny) as server:
        assert server.stop(signal.SIGINT) == -signal.SIGINT
        assert "stopped: 0 requests were answered" in server.log[-1]


def test_without_the_extra(tmp_path: Path, tiny: Path) -> None:
    """As if FastAPI were not installed."""
    (tmp_path / "fastapi.py").write_text(
        "raise ModuleNotFoundError(\"No module named 'fastapi'\", name='fastapi')"
    )
    result = run("-m", tiny, PYTHONPATH=str(tmp_path))
    assert result.returncode == 2
    assert result.stderr == "fungi-onnx: serve needs fastapi: pip install 'fungi-onnx[serve]'\n"
