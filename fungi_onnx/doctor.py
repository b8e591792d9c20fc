"""What a machine can do with a model, found out by doing it."""

from __future__ import annotations

import os
import platform
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from fungi_onnx import __version__, cpus, cuda, graph_cache, model_path
from fungi_onnx.classifier import FungiClassifier
from fungi_onnx.errors import DeviceUnavailableError, FungiOnnxError


def examine(model: str | os.PathLike[str] | None = None) -> dict[str, Any]:
    """Versions, devices that really run the model, threads, and a timed prediction.

    Nothing is raised for a missing or broken model: the finding is then in ``["model"]["error"]``.
    """
    cache, reason = graph_cache.locate()
    links, gpus = _cuda()
    facts: dict[str, Any] = {
        "versions": {
            "fungi-onnx": __version__,
            "python": platform.python_version(),
            "onnxruntime": _onnxruntime_version(),
            "opencv": _version("opencv-python-headless"),
            "numpy": np.__version__,
        },
        "machine": f"{platform.system()} {platform.machine()}",
        "threads": cpus.available(),
        "cache": str(cache) if cache else f"none: {reason}",
        "cuda": links,
    }
    devices = ["cpu", *(f"cuda:{index}" for index in range(gpus))]
    try:
        path = model_path.find(model)
        facts["model"] = {"path": str(path), "megabytes": round(path.stat().st_size / 1e6, 1)}
        states = {device: _try(path, device) for device in devices}
        facts["model"]["name"] = FungiClassifier(path, device="cpu").model.name
        facts["devices"] = states
    except FungiOnnxError as error:
        facts.setdefault("model", {})["error"] = f"{type(error).__name__}: {error}"
        facts["devices"] = dict.fromkeys(devices, "not tried without a model")
    if not gpus:
        facts["devices"]["cuda"] = "not usable, see cuda driver"
    return facts


def _cuda() -> tuple[dict[str, str], int]:
    """The chain from the package to the GPU, a line for each link, and the number of GPUs."""
    driver = cuda.driver()
    newest = ".".join(map(str, driver.version)) if driver.version else ""
    gpus = ", ".join(f"cuda:{index} {name}" for index, name in enumerate(driver.gpus))
    links = {
        "package": cuda.package_problem() or f"built for CUDA {cuda.built_for()}",
        "driver": "; ".join(driver.problems) or f"up to CUDA {newest}",
        "gpus": gpus or "none",
    }
    if cuda.built_for():
        links["libraries"] = "found"
        if missing := ", ".join(cuda.missing_libraries()):
            links["libraries"] = f"not found, {missing}: {cuda.install_libraries()}"
    return links, len(driver.gpus)


def _try(path: Path, device: str) -> str:
    """Loads the model on the device, classifies, and says how long each took."""
    start = time.perf_counter()
    try:
        classifier = FungiClassifier(path, device=device)
    except DeviceUnavailableError as error:
        return f"not usable: {error}"
    loaded = time.perf_counter() - start
    picture = np.zeros((1, *classifier.image_size, 3), np.float32)
    classifier(picture)  # the first run allocates
    times = []
    for _ in range(5):
        start = time.perf_counter()
        classifier(picture)
        times.append(time.perf_counter() - start)
    return f"works: loads in {loaded * 1e3:.0f} ms, one picture in {np.median(times) * 1e3:.1f} ms"


def _onnxruntime_version() -> str:
    installed = cuda.packages()
    text = ", ".join(f"{package} {found}" for package, found in installed.items())
    if len(installed) > 1:
        text += f" - both are installed and overwrite each other: {cuda.SWAP}"
    return text or str(ort.__version__)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
