"""openapi.json, and a server that keeps what it says, as schemathesis sees it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pydantic
import pytest

from fungi_onnx.server import schemas

from .servers import Server


def test_no_request_leads_beyond_the_document(server: Server, tmp_path: Path) -> None:
    """Made-up requests, right and wrong ones: no 5xx, and only what the document announces.

    Of schemathesis' checks one is left out: that whatever fits the schema is accepted. A schema
    cannot say which bytes are a picture.
    """
    command = Path(sys.executable).with_name("schemathesis")
    options = ["--max-examples=60", "--seed=1", "--exclude-checks=positive_data_acceptance"]
    options += ["--no-color"]
    run = subprocess.run(
        [command, "run", f"{server.url}/openapi.json", *options],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert run.returncode == 0, run.stdout
    assert "Operations:       14 selected / 14 total" in run.stdout
    tried = re.search(r"(\d+) generated, \1 passed", run.stdout)
    assert tried is not None, run.stdout
    assert int(tried[1]) > 500
    requests = server.metrics()["fungi_onnx_requests_total"]
    infer = {labels[2] for labels in requests if labels[1] == "/v2/models/{name}/infer"}
    assert "400" in infer  # the name was known, the tensor was looked at


def test_the_document_is_complete(server: Server) -> None:
    document = server.client.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    assert set(document["paths"]) == {
        "/v1/classify",
        "/v1/model",
        "/v2",
        "/v2/health/live",
        "/v2/health/ready",
        "/v2/models/{name}",
        "/v2/models/{name}/ready",
        "/v2/models/{name}/infer",
        "/v2/models/{name}/versions/{version}",
        "/v2/models/{name}/versions/{version}/ready",
        "/v2/models/{name}/versions/{version}/infer",
        "/healthz",
        "/readyz",
        "/metrics",
    }
    body = document["paths"]["/v1/classify"]["post"]["requestBody"]["content"]
    assert {"multipart/form-data", "application/octet-stream"} <= set(body)
    assert document["components"]["schemas"]["Answer"]["examples"][0]["top"][0]["name"]
    text = str(document)
    for name in document["components"]["schemas"]:
        assert f"#/components/schemas/{name}" in text, f"nothing refers to {name}"


@pytest.mark.parametrize(
    ("path", "model"),
    [
        ("/v1/model", schemas.ModelCard),
        ("/healthz", schemas.Health),
        ("/readyz", schemas.Readiness),
        ("/v2", schemas.ServerMetadata),
    ],
)
def test_answers_have_exactly_the_documented_members(
    server: Server, path: str, model: type[pydantic.BaseModel]
) -> None:
    found = server.client.get(path).json()
    strict = type("Strict", (model,), {}, extra="forbid")  # type: ignore[call-overload]
    assert strict.model_validate(found).model_dump(by_alias=True) == found


def test_an_answer_and_an_error_match_their_models(server: Server, sample: Path) -> None:
    data = sample.read_bytes()
    answer = server.client.post("/v1/classify", content=data).json()
    assert schemas.Answer.model_validate(answer).model_dump(exclude_unset=True) == answer
    files = [("f", ("a", data)), ("f", ("b", b"x"))]
    results = server.client.post("/v1/classify", files=files).json()
    assert schemas.Results.model_validate(results).model_dump(exclude_unset=True) == results
    error = server.client.post("/v1/classify", content=b"x").json()
    assert schemas.Problem.model_validate(error).model_dump(exclude_unset=True) == error
