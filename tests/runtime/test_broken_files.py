"""Files that once crashed, hung, ate the memory or got past a limit, most found by tests/fuzz.

Each must give a picture or an ImageError, soon and in little memory. What would be large is packed.
"""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

import pytest

if sys.platform != "linux":
    pytest.skip("memory is measured and limited as Linux does it", allow_module_level=True)

BROKEN = Path(__file__).parents[1] / "data" / "broken"
FILES = sorted(BROKEN.iterdir())

# Each file in a process of its own, forked, because the imports take longer than the files. The
# system's limits end it; that of the memory is far above what is taken for too much, since what
# cannot be had comes out as an ImageError.
TRY_ALL = """
import os, resource, sys
from dataclasses import replace
from pathlib import Path
import cv2, PIL.Image
import fungi_onnx
from fungi_onnx.image import to_tensor
from fungi_onnx.views import VIEWS

LIMITS = fungi_onnx.Limits(max_pixels=4_000_000, max_bytes=2_000_000)
SECONDS, MOST_MB, MEMORY = 10, 500, 6_000_000_000

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

def attempt(data):
    try:
        pixels = fungi_onnx.read_rgb(data, limits=LIMITS)
        for view in VIEWS:
            tensor = to_tensor(data, 299, 299, view=view, limits=LIMITS)
            assert 0 <= tensor.min() <= tensor.max() <= 1, view
    except fungi_onnx.ImageError:
        return
    size = pixels.shape[0] * pixels.shape[1]
    try:
        fungi_onnx.read_rgb(data, limits=replace(LIMITS, max_pixels=size - 1))
    except fungi_onnx.ImageTooLargeError:
        return
    raise AssertionError(f"{size} pixels got past a limit of one less")

cv2.setNumThreads(1)
for path in sys.argv[1:]:
    child = os.fork()
    if not child:
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        try:
            before = peak()
            attempt(Path(path).read_bytes())
            more = peak() - before
            verdict = "fine" if more < MOST_MB else f"it took {more} MB"
        except BaseException as error:
            verdict = repr(error)
        print(Path(path).name, verdict, sep="\\t", flush=True)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if status:
        print(Path(path).name, f"the process ended with status {status}", sep="\\t", flush=True)
"""


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("broken")
    for path in FILES:
        data = path.read_bytes()
        plain = gzip.decompress(data) if path.suffix == ".gz" else data
        (folder / path.name.removesuffix(".gz")).write_bytes(plain)
    done = subprocess.run(
        [sys.executable, "-c", TRY_ALL, *sorted(map(str, folder.iterdir()))],
        stdout=subprocess.PIPE,
        text=True,
        timeout=600,
        check=True,
    )
    return dict(line.split("\t") for line in done.stdout.splitlines())


def test_there_are_some() -> None:
    assert FILES


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_picture_or_an_image_error(path: Path, verdicts: dict[str, str]) -> None:
    assert verdicts[path.name.removesuffix(".gz")] == "fine"
