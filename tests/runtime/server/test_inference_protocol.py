"""/v2 with the real Triton client, and what that client would not send."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton

from fungi_onnx import FungiClassifier
from fungi_onnx.image import to_tensor

from .servers import Server, problem, serving

NAME = "stand-in-of-12-classes-for-tests"


@pytest.fixture(scope="module")
def name(server: Server) -> str:
    return str(server.client.get("/v1/model").json()["name"])


@pytest.fixture(scope="module")
def images(sample: Path) -> Any:
    picture = to_tensor(sample, 48, 48)
    return np.stack([picture, picture[::-1], np.zeros_like(picture)])


@pytest.fixture
def client(server: Server):
    with triton.InferenceServerClient(server.url.removeprefix("http://")) as client:
        yield client


def test_what_the_client_asks_first(client: triton.InferenceServerClient, name: str) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(name)
    assert client.is_model_ready(name, "1")
    assert not client.is_model_ready("another")
    assert client.get_server_metadata()["name"] == "fungi-onnx"
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    metadata = client.get_model_metadata(name)
    assert metadata["inputs"] == [{"name": "images", "datatype": "FP32", "shape": [-1, 48, 48, 3]}]
    assert metadata["outputs"] == [{"name": "probabilities", "datatype": "FP32", "shape": [-1, 12]}]
    assert metadata["versions"] == ["1"]


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False, None])
def test_tensors_in_every_form(
    client: triton.InferenceServerClient,
    name: str,
    tiny: Path,
    images: Any,
    binary_in: bool,
    binary_out: bool | None,
) -> None:
    tensor = triton.InferInput("images", list(images.shape), "FP32")
    tensor.set_data_from_numpy(images, binary_data=binary_in)
    outputs = None
    if binary_out is not None:
        outputs = [triton.InferRequestedOutput("probabilities", binary_data=binary_out)]
    result = client.infer(name, [tensor], outputs=outputs, request_id="7", model_version="1")
    expected = FungiClassifier(tiny, device="cpu")(images)
    np.testing.assert_array_equal(result.as_numpy("probabilities"), expected)
    assert result.get_response()["id"] == "7"
    assert result.get_response()["model_name"] == name
    assert (result.get_output("probabilities").get("data") is None) == (binary_out is not False)


def test_asynchronous_requests(
    client: triton.InferenceServerClient, name: str, tiny: Path, images: Any
) -> None:
    tensor = triton.InferInput("images", list(images.shape), "FP32")
    tensor.set_data_from_numpy(images)
    pending = [client.async_infer(name, [tensor]) for _ in range(8)]
    expected = FungiClassifier(tiny, device="cpu")(images)
    for request in pending:
        np.testing.assert_array_equal(request.get_result().as_numpy("probabilities"), expected)


def test_errors_reach_the_client_as_its_own(
    client: triton.InferenceServerClient, name: str, images: Any
) -> None:
    tensor = triton.InferInput("images", list(images.shape), "FP32")
    tensor.set_data_from_numpy(images * 255)
    with pytest.raises(triton.InferenceServerException, match=r"must lie in \[0, 1\], these lie"):
        client.infer(name, [tensor])
    with pytest.raises(triton.InferenceServerException, match="no model 'another' of version 1"):
        client.infer("another", [tensor])
    small = triton.InferInput("images", [1, 2, 2, 3], "FP32")
    small.set_data_from_numpy(np.zeros((1, 2, 2, 3), np.float32))
    with pytest.raises(triton.InferenceServerException, match=r"shape \[N, 48, 48, 3\], not"):
        client.infer(name, [small])
    other = triton.InferInput("picture", list(images.shape), "FP32")
    other.set_data_from_numpy(images)
    with pytest.raises(triton.InferenceServerException, match="should be 'images'"):
        client.infer(name, [other])
    with pytest.raises(triton.InferenceServerException, match="should be 'probabilities'"):
        client.infer(name, [tensor], outputs=[triton.InferRequestedOutput("logits")])


def request(shape: list[int], data: object) -> dict[str, Any]:
    return {"inputs": [{"name": "images", "datatype": "FP32", "shape": shape, "data": data}]}


def test_flat_and_nested_json(server: Server, name: str, tiny: Path, images: Any) -> None:
    expected = FungiClassifier(tiny, device="cpu")(images[:1])
    for data in (images[:1].tolist(), images[0].ravel().tolist()):
        response = server.client.post(
            f"/v2/models/{name}/infer", json=request([1, 48, 48, 3], data)
        )
        (output,) = response.json()["outputs"]
        assert (output["datatype"], output["shape"]) == ("FP32", [1, 12])
        np.testing.assert_array_equal(np.float32([output["data"]]), expected)


def test_no_images_have_no_answers(server: Server, name: str) -> None:
    response = server.client.post(f"/v2/models/{name}/infer", json=request([0, 48, 48, 3], []))
    assert response.json()["outputs"][0]["shape"] == [0, 12]


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"", "Invalid JSON"),
        (b"[]", "Input should be an object"),
        (b'{"inputs": []}', "inputs: List should have at least 1 item"),
        (request([1, 48, 48], [0]), "inputs.0.shape: List should have at least 4 items"),
        (request([1, 2, 2, 3], [0] * 11), "images of the shape [1, 2, 2, 3] has 12 values, not 11"),
        (request([1, 2, 2, -3], []), "inputs.0.shape.3: Input should be greater than or equal"),
        (request([2**40, 2**40, 2**40, 3], [0]), "images of the shape [1099511627776, 10995116"),
        (request([1, 2, 2, 3], [[0] * 6, [0] * 5]), "The data of images are not numbers in a rect"),
        (request([1, 1, 1, 3], ["a", "b", "c"]), "The data of images are not numbers in a rectang"),
        (request([1, 1, 1, 3], [0, 1e99, 0]), "images must have the shape [N, 48, 48, 3], not"),
        (request([1, 1, 1, 3], None), "images needs its values either as data or in binary"),
    ],
)
def test_bad_requests(server: Server, name: str, body: Any, detail: str) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    response = server.client.post(f"/v2/models/{name}/infer", content=content)
    assert response.status_code == 400, response.text
    assert detail in problem(response)["detail"]
    assert problem(response)["error"] == problem(response)["detail"]


@pytest.mark.parametrize(
    ("length", "size", "tail", "detail"),
    [
        ("many", 27648, 27648, "Inference-Header-Content-Length is 'many', but the body has"),
        ("-1", 27648, 27648, "Inference-Header-Content-Length is '-1', but the body has"),
        ("999999", 27648, 27648, "Inference-Header-Content-Length is '999999', but the body has"),
        (None, 100, 27648, "has 27648 bytes; binary_data_size is 100, and 27648 bytes follow"),
        (None, 27648, 27647, "binary_data_size is 27648, and 27647 bytes follow the JSON"),
    ],
)
def test_bad_binary_requests(
    server: Server, name: str, length: str | None, size: int, tail: int, detail: str
) -> None:
    asked = request([1, 48, 48, 3], None)
    del asked["inputs"][0]["data"]
    asked["inputs"][0]["parameters"] = {"binary_data_size": size}
    head = json.dumps(asked).encode()
    response = server.client.post(
        f"/v2/models/{name}/infer",
        content=head + bytes(tail),
        headers={"Inference-Header-Content-Length": length or str(len(head))},
    )
    assert response.status_code == 400
    assert detail in problem(response)["detail"]


def test_not_a_number_is_no_picture(server: Server, name: str) -> None:
    asked = request([1, 48, 48, 3], None)
    del asked["inputs"][0]["data"]
    asked["inputs"][0]["parameters"] = {"binary_data_size": 27648}
    head = json.dumps(asked).encode()
    response = server.client.post(
        f"/v2/models/{name}/infer",
        content=head + np.full(6912, np.nan, "<f4").tobytes(),
        headers={"Inference-Header-Content-Length": str(len(head))},
    )
    assert response.status_code == 400
    assert "must lie in [0, 1], these lie in [nan, nan]" in problem(response)["detail"]


def test_a_model_that_fails_its_probes_is_not_ready(altered: Any) -> None:
    model = altered(b'"tolerance":{"cpu":0.0001', b'"tolerance":{"cpu":-0.001')
    with (
        serving(model, probed=True) as server,
        triton.InferenceServerClient(server.url.removeprefix("http://")) as client,
    ):
        assert client.is_server_live()
        assert not client.is_server_ready()
        name = server.client.get("/v1/model").json()["name"]
        assert not client.is_model_ready(name)
        tensor = triton.InferInput("images", [1, 48, 48, 3], "FP32")
        tensor.set_data_from_numpy(np.zeros((1, 48, 48, 3), np.float32))
        with pytest.raises(triton.InferenceServerException, match="golden probes failed"):
            client.infer(name, [tensor])
        server.log.clear()
