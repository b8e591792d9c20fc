"""What the network costs at least, what the device can do, and so what it could reach."""

from __future__ import annotations

import argparse
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from typing import Any

GIVEN = {  # the options, by the rate that they stand for, and their unit
    "float16": ("tflops", 1e12),
    "float32": ("tflops32", 1e12),
    "memory": ("bandwidth", 1e9),
    "bus": ("bus", 1e9),
}
# Bytes of a weight or an activation, and of a value of the input.
FORMS = ((4, 4), (2, 4), (2, 1))


def find(options: argparse.Namespace) -> tuple[dict[str, Any], dict[str, str]]:
    """Counts, rates and the ceilings in images a second; and PyTorch's versions.

    What is not known is left out, and ``problem`` says why.
    """
    rates, versions, problem = _rates(options)
    found: dict[str, Any] = {"rates": rates}
    try:
        import onnx
        from gpu_peers.counts import count

        counts = count(onnx.load(options.model))
    except (ModuleNotFoundError, ValueError) as error:
        return {**found, "problem": f"the network was not counted: {error}"}, versions
    found["counts"] = vars(counts)
    batch = found["batch"] = max(options.batches)
    found["bytes"] = {
        f"{width},{input_width}": counts.memory(batch, 1, width=width, input_width=input_width)
        / batch
        for width, input_width in FORMS
    }
    if {"float16", "float32", "memory"} - rates.keys():
        return {**found, "problem": problem}, versions
    found["images_per_second"] = {
        f"{width},{input_width}": {
            "arithmetic": 1 / counts.arithmetic(1, rates["float32" if width == 4 else "float16"]),
            "memory": rates["memory"] / found["bytes"][f"{width},{input_width}"],
            "bus": rates["bus"] / (counts.inputs * input_width) if "bus" in rates else None,
        }
        for width, input_width in FORMS
    }
    return found, versions


def _rates(options: argparse.Namespace) -> tuple[dict[str, float], dict[str, str], str]:
    """Measured in a process of its own, whose memory and libraries end with it; or given."""
    rates: dict[str, float] = {}
    versions: dict[str, str] = {}
    why = ""
    pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
    try:
        rates, versions = pool.submit(_measured, options.device).result(timeout=120)
    except Exception as error:  # there is no PyTorch, or it cannot use the GPU
        why = f"{type(error).__name__}: {str(error).partition(chr(10))[0][:200]}"
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    for name, (option, unit) in GIVEN.items():
        if (value := getattr(options, option)) is not None:
            rates[name] = value * unit
    return rates, versions, f"what the device can do was not measured ({why}): see --tflops"


def _measured(device: str) -> tuple[dict[str, float], dict[str, str]]:
    from gpu_peers import rates

    return rates.measured(device), rates.versions()
