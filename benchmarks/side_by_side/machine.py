"""The facts of the machine that a measurement is worth nothing without."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

# What decides how fast a network runs, and whether integers or bfloat16 do.
INSTRUCTIONS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "asimddp")
PACKAGES = (
    "fungi-onnx",
    "tensorflow",
    "tensorflow-hub",
    "ai-edge-litert",
    "openvino",
    "onnxruntime",
    "opencv-python-headless",
    "simplejpeg",
    "numpy",
)
_LIST = """
import json, sys
from importlib.metadata import PackageNotFoundError, version
found = {}
for name in sys.argv[1:]:
    try:
        found[name] = version(name)
    except PackageNotFoundError:
        pass
print(json.dumps(found))
"""


def versions(python: Path) -> dict[str, str]:
    """Of the packages in an environment."""
    command = [str(python), "-c", _LIST, *PACKAGES]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return dict(json.loads(text))


def cpus() -> int:
    """That this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def facts(python: Path, our_python: Path) -> dict[str, Any]:
    """Processor, memory, system, versions, and how busy it was when this began."""
    model, flags = platform.processor(), set[str]()
    if (path := Path("/proc/cpuinfo")).exists():
        pairs = (line.partition(":") for line in path.read_text().splitlines())
        lines = {key.strip(): value.strip() for key, _, value in pairs}
        model = lines.get("model name", model)
        flags = set((lines.get("flags") or lines.get("Features") or "").split())
    release = ".".join(platform.release().split(".")[:2])
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": model or platform.machine(),
        "instructions": [name for name in INSTRUCTIONS if name in flags],
        "cpus": cpus(),
        "memory_gib": round(memory / 2**30, 1),
        "system": f"{platform.system()} {release} {platform.machine()}",
        "python": platform.python_version(),
        "load_before": [round(load, 2) for load in os.getloadavg()],
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
        "versions": {"peers": versions(python), "ours": versions(our_python)},
    }
