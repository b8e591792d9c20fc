"""What this machine does with this model: measured in half a minute."""

from __future__ import annotations

import itertools
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fungi_onnx import __version__, cpus
from fungi_onnx.classifier import FungiClassifier
from fungi_onnx.views import VIEWS

WIDTH, HEIGHT = 4000, 3000  # of the photo: a phone's 12 megapixels
PERCENTILES = ("p50", "p90", "p99")
_STARTS = 7
_MOST_RUNS = 2000
# From the interpreter's start to the first answer, and the most memory it ever had.
_START = """
import sys, numpy as np
from fungi_onnx import FungiClassifier
classifier = FungiClassifier(sys.argv[1], device=sys.argv[2])
classifier(np.zeros((1, *classifier.image_size, 3), np.float32))
print("answered", flush=True)
try:
    with open("/proc/self/status") as status:
        print(next(line.split()[1] for line in status if line.startswith("VmHWM")))
except OSError:
    print(0)
"""


def run(classifier: FungiClassifier, *, seconds: float = 25) -> dict[str, Any]:
    """Measures the classifier, and fresh processes with its model on its device.

    Args:
        classifier: of any device and number of threads; its view and crop do not matter.
        seconds: about how long.

    Returns:
        ``latency_ms`` of batch 1 for the network alone and for a JPEG of 12 megapixels, in bytes,
        by view: p50, p90, p99 and the number of runs; ``throughput`` of such JPEGs a second on
        all CPUs, by view; ``cold_start_ms``: a process from its start to its first answer, median
        and range; ``peak_memory_mb`` of that process, None where the system does not tell; and
        what was measured: model, device, versions.
    """
    photo = _photo()
    views = {
        view: FungiClassifier(
            classifier.path, device=classifier.device, threads=classifier.threads, view=view
        )
        for view in VIEWS
    }
    picture = np.zeros((1, *classifier.image_size, 3), np.float32)
    share = seconds / 6  # five measurements and the cold starts
    latency = {"network": _latency(partial(classifier, picture), share)}
    for view, looking in views.items():
        latency[f"photo, {view}"] = _latency(partial(looking.classify, photo), share)
    throughput = {f"photos, {view}": _rate(views[view], photo, share) for view in VIEWS}
    starts, memory = zip(*(_start(classifier) for _ in range(_STARTS)), strict=True)
    return {
        "model": classifier.model.name,
        "file": str(classifier.path),
        "precision": classifier.model.precision,
        "device": classifier.device,
        "threads": classifier.threads,
        "cpus": cpus.available(),
        "machine": f"{platform.system()} {platform.machine()}, {_processor()}",
        "versions": {"fungi-onnx": __version__, "onnxruntime": _onnxruntime()},
        "photo": f"JPEG of {WIDTH}x{HEIGHT} pixels, {len(photo) / 1e6:.1f} MB",
        "latency_ms": latency,
        "throughput": throughput,
        "cold_start_ms": {
            "median": round(float(np.median(starts)) * 1e3, 1),
            "min": round(min(starts) * 1e3, 1),
            "max": round(max(starts) * 1e3, 1),
            "runs": len(starts),
        },
        "peak_memory_mb": round(max(memory) / 1e3, 1) if all(memory) else None,
    }


def _photo() -> bytes:
    """A JPEG of a phone's size, quality and grain; always the same."""
    random = np.random.default_rng(0)
    scene: Any = random.integers(0, 256, (HEIGHT // 100, WIDTH // 100, 3), np.uint8)
    scene = cv2.resize(scene, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    grain: NDArray[Any] = random.normal(0, 8, scene.shape).astype(np.int16)
    levels = np.clip(scene + grain, 0, 255).astype(np.uint8)
    return cv2.imencode(".jpg", levels, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()


def _latency(once: Callable[[], object], seconds: float) -> dict[str, float]:
    """Milliseconds of one call after another."""
    for _ in range(3):  # the first ones allocate
        once()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end and len(times) < _MOST_RUNS:
        start = time.perf_counter()
        once()
        times.append(time.perf_counter() - start)
    percentiles = np.percentile(times, (50, 90, 99)) * 1e3
    found = {name: round(float(ms), 2) for name, ms in zip(PERCENTILES, percentiles, strict=True)}
    return {**found, "runs": len(times)}


def _rate(classifier: FungiClassifier, photo: bytes, seconds: float) -> float:
    """Photos a second through `classify_many`, once it is at full speed."""

    def until_the_end() -> Iterator[bytes]:
        end = time.perf_counter() + seconds
        yield from itertools.takewhile(lambda _: time.perf_counter() < end, itertools.repeat(photo))

    start, done = None, 0
    warm = 2 * classifier.threads
    for number, _ in enumerate(classifier.classify_many(until_the_end()), start=1):
        if number == warm:
            start = time.perf_counter()
        done = number - warm
    return round(done / (time.perf_counter() - start), 1) if start and done > 0 else 0.0


def _start(classifier: FungiClassifier) -> tuple[float, int]:
    """Seconds from a process's start to its first answer, and its peak memory in kB (0: unknown).

    The first such process of all leaves the optimised graph in the cache; here it is there.
    """
    command = [sys.executable, "-c", _START, str(classifier.path), classifier.device]
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        taken = time.perf_counter() - start
        memory = process.stdout.readline()
    return taken, int(memory or 0)


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor() or "unknown processor"
    names = [line.split(":", 1)[1].strip() for line in text.splitlines() if "model name" in line]
    return f"{names[0]}, {os.cpu_count()} CPUs" if names else f"{os.cpu_count()} CPUs"


def _onnxruntime() -> str:
    import onnxruntime

    return str(onnxruntime.__version__)
