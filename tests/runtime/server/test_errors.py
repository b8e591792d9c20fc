"""Whatever is wrong with a request: problem details that say what, and nothing of the server."""

from __future__ import annotations

import gzip
import random
import signal
import statistics
import sys
from itertools import pairwise
from pathlib import Path

import httpx
import pytest

from .. import awkward
from .servers import Server, problem, serving

BROKEN = sorted((Path(__file__).parents[2] / "data" / "broken").iterdir())


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ("top_k=0", "top_k: Input should be greater than or equal to 1."),
        ("top_k=many", "top_k: Input should be a valid integer"),
        ("view=best", "view: Input should be 'exact' or 'fast'."),
        ("crop=center", "crop: Input should be 'whole', 'centre' or 'letterbox'."),
        ("topk=3", "topk: Extra inputs are not permitted."),
    ],
)
def test_parameters(server: Server, sample: Path, query: str, detail: str) -> None:
    response = server.client.post(f"/v1/classify?{query}", content=sample.read_bytes())
    assert response.status_code == 422
    assert problem(response)["code"] == "InvalidParameter"
    assert problem(response)["detail"].startswith(detail)


@pytest.mark.parametrize(
    ("content", "detail"),
    [
        (b"", "The picture is empty (0 bytes)."),
        (b"{}", "The picture is not a picture in a known format (JPEG,"),
        (b"https://example.org/a.jpg", "The picture is not a picture in a known format (JPEG,"),
        (b"/etc/passwd", "The picture is not a picture in a known format (JPEG,"),
        (b"\xff\xd8\xff\xe0", "The picture is a JPEG picture that is damaged or cut short"),
    ],
)
def test_no_picture(server: Server, content: bytes, detail: str) -> None:
    response = server.client.post("/v1/classify", content=content)
    assert response.status_code == 422
    assert problem(response)["title"] == "Unprocessable Entity"
    assert problem(response)["code"] == "ImageDecodeError"
    assert problem(response)["detail"].startswith(detail)


@pytest.mark.parametrize("path", BROKEN, ids=lambda path: path.name)
def test_files_that_once_did_harm(server: Server, path: Path) -> None:
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    response = server.client.post("/v1/classify", content=data)
    if response.status_code != 200:  # some are awkward, and pictures all the same
        assert response.status_code in (413, 422)
        problem(response)


def test_a_form_of_broken_files_fails_with_all_their_errors(server: Server, sample: Path) -> None:
    cut = sample.read_bytes()[:4000]
    one = server.client.post("/v1/classify", files={"f": ("a.jpg", cut)})
    assert one.status_code == 422
    assert problem(one)["code"] == "ImageDecodeError"
    assert [result["image"] for result in problem(one)["results"]] == ["a.jpg"]
    two = server.client.post("/v1/classify", files=[("f", ("a.jpg", cut)), ("f", ("b", b"x"))])
    assert two.status_code == 422
    assert problem(two)["detail"] == "None of the 2 pictures can be used; see results."
    assert [result["error"]["message"].partition(":")[0] for result in two.json()["results"]] == [
        "a.jpg",
        "b",
    ]


FORM = "multipart/form-data; boundary=x"


@pytest.mark.parametrize(
    ("kind", "content", "detail"),
    [
        ("multipart/form-data", b"", "The form cannot be read: Missing boundary in multipart."),
        (FORM, b"what?", "The form cannot be read: "),
        (FORM, b"--x--\r\n", "There is no file in the form; send each as a part with a filename"),
        (
            FORM,
            b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n--x--\r\n',
            "There is no file in the form; send each as a part with a filename",
        ),
        (
            FORM,
            b"--x\r\nContent-Disposition: form-data\r\n\r\nb\r\n--x--\r\n",
            'The form cannot be read: The Content-Disposition header field "name" must be',
        ),
    ],
)
def test_no_form(server: Server, kind: str, content: bytes, detail: str) -> None:
    response = server.client.post("/v1/classify", content=content, headers={"content-type": kind})
    assert response.status_code == 400
    assert problem(response)["detail"].startswith(detail)


def test_a_form_that_is_cut_short(server: Server, sample: Path) -> None:
    form = httpx.Request("POST", server.url, files={"f": ("a.jpg", sample.read_bytes())})
    kind = {"content-type": form.headers["content-type"]}
    response = server.client.post("/v1/classify", content=form.read()[:5000], headers=kind)
    assert 400 <= response.status_code < 500
    problem(response)


def test_unknown_paths_and_methods(server: Server) -> None:
    for path in ("/v1", "/v3/classify", "/page/../../etc/passwd", "/page/%2e%2e/app.py", "/docs"):
        response = server.client.get(path)
        assert response.status_code == 404
        assert problem(response)["detail"] == (
            "There is nothing here; what there is says openapi.json."
        )
    for method, path in (("GET", "/v1/classify"), ("DELETE", "/v1/model"), ("POST", "/")):
        response = server.client.request(method, path)
        assert response.status_code == 405
        assert response.headers["allow"]
        assert problem(response)["detail"] == f"{method} is not for this path."


def test_a_compressed_body(server: Server, sample: Path) -> None:
    response = server.client.post(
        "/v1/classify",
        content=gzip.compress(sample.read_bytes()),
        headers={"content-encoding": "gzip"},
    )
    assert response.status_code == 415
    assert problem(response)["code"] == "UnsupportedEncoding"


def test_what_is_no_http(server: Server) -> None:
    with server.connect() as connection:
        connection.sendall(b"\x16\x03\x01\x02\x00 hello")
        answer = connection.recv(4096)
    assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b'"detail": "Invalid HTTP request received."' in answer


def test_security_headers_are_on_everything(server: Server) -> None:
    for response in (
        server.client.get("/"),
        server.client.get("/healthz"),
        server.client.get("/nothing"),
        server.client.post("/v1/classify", content=b"x"),
    ):
        headers = response.headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["content-security-policy"].startswith(
            "default-src 'none'; script-src 'self'"
        )
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "server" not in headers
        assert "access-control-allow-origin" not in headers


# What the allocator keeps of freed memory is up to 32 MB a thread, and swings. With one arena, and
# trimmed when asked, the resident memory is what is really in use, to a tenth of a megabyte.
_TRIMMED_WHEN_ASKED = """
import ctypes, runpy, signal, sys

def trim(*_):
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    print("trimmed", file=sys.stderr, flush=True)

signal.signal(signal.SIGUSR1, trim)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator is asked")
def test_the_fuzzers_corpus_leaves_no_trace(tiny: Path) -> None:
    """Thousands of broken pictures: only 4xx, and the memory is what it was."""
    chance = random.Random(2)
    files = [file.data for file in awkward.files() if len(file.data) < 300_000]
    files += [path.read_bytes() for path in BROKEN]
    for data in list(files):
        if len(data) > 16:
            broken = bytearray(data)
            for _ in range(4):
                broken[chance.randrange(len(broken))] = chance.randrange(256)
            files += [data[: chance.randrange(len(data))], bytes(broken)]
    launcher = (sys.executable, "-c", _TRIMMED_WHEN_ASKED)
    with serving(tiny, prefix=launcher, MALLOC_ARENA_MAX="1") as server:
        memory = []
        for _ in range(6):
            statuses = {server.client.post("/v1/classify", content=f).status_code for f in files}
            assert statuses <= {200, 413, 422}
            server.process.send_signal(signal.SIGUSR1)
            server.wait_for("trimmed")
            memory.append(server.memory())
        assert not [line for line in server.log if " ERROR " in line]
        assert server.client.get("/readyz").status_code == 200
    # What is kept of a request is seen in every round. A worker begins when two requests happen to
    # overlap, and its own buffers grow to the largest picture that it had: 8 MB, once.
    grown = statistics.median(after - before for before, after in pairwise(memory))
    assert grown < 3e5, [round(one / 1e6, 1) for one in memory]
