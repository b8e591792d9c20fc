"""The same classifier on a Ray cluster: Ray Data for archives, Ray Serve for a service.

``classify`` and ``deployment`` are for Python, ``app`` is for ``serve build``; the command's part
is `fungi_onnx.ray.archive`. The rest of the library knows nothing of Ray.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

from fungi_onnx.errors import SourceError

for _package in ("ray", "pyarrow"):
    if find_spec(_package) is None:
        raise SourceError(
            f"this needs {_package}: pip install 'fungi-onnx[ray]', on each machine of the cluster"
        )

_ROOMS = {
    "DEFAULT_LOOK": "data",
    "Look": "data",
    "app": "serving",
    "classify": "data",
    "deployment": "serving",
}

__all__ = ["DEFAULT_LOOK", "Look", "app", "classify", "deployment"]


def __getattr__(name: str) -> object:
    """Opens a room when it is first asked for: Ray Serve takes 0.6 s to import."""
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{_ROOMS[name]}"), name)
    return value
