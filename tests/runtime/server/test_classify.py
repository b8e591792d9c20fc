"""Over HTTP come the library's own answers, whichever way a picture goes in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest

from fungi_onnx import FungiClassifier, Limits
from fungi_onnx.views import CROPS, VIEWS

from .. import awkward
from .servers import Server, problem, serving

LIMITS = Limits(max_pixels=64_000_000, max_bytes=32_000_000)  # a server's defaults


@pytest.fixture(scope="module")
def wide() -> bytes:
    """A JPEG that every view and crop sees in its own way."""
    picture = np.random.default_rng(0).integers(0, 256, (400, 900, 3), np.uint8)
    return cv2.imencode(".jpg", cv2.GaussianBlur(picture, (0, 0), 2))[1].tobytes()


def library(tiny: Path, data: bytes, top_k: int = 5, name: str | None = None, **looks: Any) -> Any:
    """What the library answers, as JSON brings it."""
    found = FungiClassifier(tiny, device="cpu", limits=LIMITS, **looks).classify(data, top_k)
    return json.loads(json.dumps({**found.to_dict(), "image": name}))


@pytest.mark.parametrize(
    "kind", ["image/jpeg", "application/octet-stream", "application/x-www-form-urlencoded", None]
)
def test_a_raw_body_of_any_content_type(
    server: Server, tiny: Path, sample: Path, kind: str | None
) -> None:
    """curl --data-binary calls everything a form."""
    data = sample.read_bytes()
    headers = {"content-type": kind} if kind else {}
    response = server.client.post("/v1/classify", content=data, headers=headers)
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.json() == library(tiny, data)
    assert response.json()["top"][0]["id"] == 3


def test_a_chunked_body(server: Server, tiny: Path, sample: Path) -> None:
    data = sample.read_bytes()

    def chunks() -> Iterator[bytes]:
        for at in range(0, len(data), 1000):
            yield data[at : at + 1000]

    response = server.client.post("/v1/classify", content=chunks())
    assert "content-length" not in response.request.headers
    assert response.json() == library(tiny, data)


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("crop", CROPS)
@pytest.mark.parametrize("top_k", [1, 3, 1000])
def test_view_crop_and_top_k(
    server: Server, tiny: Path, wide: bytes, view: str, crop: str, top_k: int
) -> None:
    query = {"view": view, "crop": crop, "top_k": top_k}
    response = server.client.post("/v1/classify", content=wide, params=query)
    assert response.json() == library(tiny, wide, top_k, view=view, crop=crop)
    assert len(response.json()["top"]) == min(top_k, 12)


def test_the_least_probability(server: Server, tiny: Path, sample: Path) -> None:
    data = sample.read_bytes()
    for least, unsure in ((0, False), (0.9, True)):
        response = server.client.post(f"/v1/classify?min_probability={least}", content=data)
        assert response.json() == {**library(tiny, data), "unsure": unsure}
    files = [("file", ("a.jpg", data)), ("file", ("cut.jpg", data[:4000]))]
    response = server.client.post("/v1/classify?min_probability=0.9", files=files)
    good, cut = response.json()["results"]
    assert good["unsure"] is True
    assert "unsure" not in cut
    for wrong in ("-0.1", "1.1", "nan", "x", ""):
        response = server.client.post(f"/v1/classify?min_probability={wrong}", content=data)
        assert response.status_code == 422
        assert "min_probability" in response.json()["detail"]


def test_a_server_that_tempers(tiny: Path, sample: Path) -> None:
    """The answers for people, and not the tensors; the probes pass."""
    data = sample.read_bytes()
    with serving(tiny, FUNGI_ONNX_TEMPERATURE="2") as server:
        answer = server.client.post("/v1/classify", content=data).json()
        assert answer == library(tiny, data, temperature=2)
        assert answer["top"] != library(tiny, data)["top"]
        assert server.client.get("/v1/model").json()["serving"]["temperature"] == 2
        plain = FungiClassifier(tiny, device="cpu", limits=LIMITS)
        images = plain.prepare(data)[np.newaxis]
        tensor = {"name": "images", "datatype": "FP32", "shape": list(images.shape)}
        body = {"inputs": [{**tensor, "data": images.ravel().tolist()}]}
        name = server.client.get("/v1/model").json()["name"]
        output = server.client.post(f"/v2/models/{name}/infer", json=body).json()["outputs"][0]
        assert output["data"] == plain(images).ravel().tolist()


def test_one_file_of_a_form_has_a_list_of_one_result(
    server: Server, tiny: Path, sample: Path
) -> None:
    data = sample.read_bytes()
    response = server.client.post("/v1/classify", files={"file": ("ceps/a.jpg", data)})
    assert response.json() == {"results": [library(tiny, data, name="ceps/a.jpg")]}


def test_many_files_keep_their_order_and_each_has_its_error(
    server: Server, tiny: Path, sample: Path, wide: bytes
) -> None:
    data = sample.read_bytes()
    files = [("a", ("ä b.jpg", data)), ("b", ("cut.jpg", data[:4000])), ("a", ("wide", wide))]
    files += [("note", (None, b"no file"))]
    response = server.client.post("/v1/classify?top_k=2", files=files)
    assert response.status_code == 200
    cut = {"type": "ImageDecodeError", "message": "cut.jpg: is a JPEG picture that is damaged"}
    first, second, third = response.json()["results"]
    assert first == library(tiny, data, 2, "ä b.jpg")
    assert third == library(tiny, wide, 2, "wide")
    assert second["image"] == "cut.jpg"
    assert second["error"]["type"] == cut["type"]
    assert second["error"]["message"].startswith(cut["message"])


def test_a_large_file_of_a_form_stays_in_memory(server: Server, tiny: Path) -> None:
    """Beyond a megabyte the framework would write it to a disk."""
    noise = np.random.default_rng(1).integers(0, 256, (900, 900, 3), np.uint8)
    data = cv2.imencode(".png", noise)[1].tobytes()
    assert len(data) > 2_000_000
    before = _written(server)
    response = server.client.post("/v1/classify", files={"file": ("noise.png", data)})
    assert response.json() == {"results": [library(tiny, data, name="noise.png")]}
    assert _written(server) - before < 100_000


def _written(server: Server) -> int:
    """Bytes that a process has written, to sockets too."""
    lines = Path(f"/proc/{server.process.pid}/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["wchar"])


def test_every_awkward_picture(server: Server, tiny: Path) -> None:
    """All formats and forms: the library's answer, or its error as a 4xx."""
    classifier = FungiClassifier(tiny, device="cpu", limits=LIMITS)
    good = 0
    for file in awkward.files():
        response = server.client.post("/v1/classify", content=file.data)
        (expected,) = classifier.classify_many([file.data])
        if expected.ok:
            assert response.status_code == 200, file
            assert response.json() == expected.to_dict()
            good += 1
        else:
            assert response.status_code in (413, 422)
            assert problem(response)["code"] == type(expected.error).__name__
            assert problem(response)["detail"] == f"The picture {expected.error.reason}."
    assert good > 100


def test_many_clients_get_each_their_own(server: Server, tiny: Path) -> None:
    pictures = [
        cv2.imencode(".png", np.full((60, 60, 3), number * 5, np.uint8))[1].tobytes()
        for number in range(50)
    ]
    expected = [library(tiny, data) for data in pictures]
    with ThreadPoolExecutor(16) as pool, httpx.Client(base_url=server.url, timeout=60) as client:

        def ask(number: int) -> bool:
            answer = client.post("/v1/classify", content=pictures[number % 50]).json()
            return bool(answer == expected[number % 50])

        assert all(pool.map(ask, range(400)))
    assert len({json.dumps(answer) for answer in expected}) == 50


def test_micro_batches_give_the_same_answers(tiny: Path, sample: Path, wide: bytes) -> None:
    """Within a hair: a batch's sums may be rounded in another order."""
    data = sample.read_bytes()
    options = ("--batch", 8, "--batch-delay-ms", 20, "--workers", 4)
    with serving(tiny, *options) as server, ThreadPoolExecutor(16) as pool:
        pictures = [data, wide, data[:4000]] * 40

        def ask(picture: bytes) -> Any:
            answer = server.client.post("/v1/classify?top_k=12", content=picture)
            return answer.json()

        answers = list(pool.map(ask, pictures))
        for picture, answer in zip(pictures, answers, strict=True):
            if picture == data[:4000]:
                assert answer["code"] == "ImageDecodeError"
                continue
            expected = library(tiny, picture, 12)
            assert [m["id"] for m in answer["top"]] == [m["id"] for m in expected["top"]]
            for ours, theirs in zip(answer["top"], expected["top"], strict=True):
                assert ours["probability"] == pytest.approx(theirs["probability"], abs=1e-6)
        metrics = server.metrics()
        runs = metrics["fungi_onnx_batch_size_count"][()]
        assert metrics["fungi_onnx_batch_size_sum"][()] == 80
        assert runs < 60, "hardly any batch had more than one picture"
