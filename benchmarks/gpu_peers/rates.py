"""What the device can do: operations and bytes a second, measured through PyTorch."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch


def versions() -> dict[str, str]:
    """Of the libraries that PyTorch uses."""
    cudnn = torch.backends.cudnn.version()
    text = f"CUDA {torch.version.cuda}, cuDNN {cudnn}" if torch.version.cuda else "without CUDA"
    return {"torch uses": text}


def measured(device: str) -> dict[str, float]:
    """What the device can do: operations and bytes a second, measured.

    Returns:
        ``float16`` and ``float32`` operations a second of a matrix product; ``memory``, bytes read
        and written a second of a copy on the device; ``bus``, bytes a second from pinned memory.
    """
    on_gpu = device.startswith("cuda")
    size, copied = (8192, 2 << 30) if on_gpu else (1024, 64 << 20)
    found = {}
    for kind in (torch.float16, torch.float32):
        a, b = (torch.randn(size, size, device=device).to(kind) for _ in range(2))
        seconds = _seconds(lambda a=a, b=b: a @ b, device)  # type: ignore[misc]
        found[str(kind).removeprefix("torch.")] = 2 * size**3 / seconds
    source = torch.empty(copied, dtype=torch.uint8, device=device).random_(256)
    target = torch.empty_like(source)
    found["memory"] = 2 * copied / _seconds(lambda: target.copy_(source), device)
    if on_gpu:
        host = torch.empty(256 << 20, dtype=torch.uint8).random_(256).pin_memory()
        there = torch.empty_like(host, device=device)
        found["bus"] = host.nbytes / _seconds(lambda: there.copy_(host), device)
    return found


def _seconds(work: Callable[[], object], device: str) -> float:
    """The median of ten, in seconds, by the device's own clock."""
    times = []
    for number in range(13):
        if device.startswith("cuda"):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            work()
            end.record()
            torch.cuda.synchronize()
            taken = start.elapsed_time(end) / 1e3
        else:
            begun = time.perf_counter()
            work()
            taken = time.perf_counter() - begun
        if number >= 3:
            times.append(taken)
    return float(np.median(times))
