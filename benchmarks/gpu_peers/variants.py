"""The ways to run the model that are measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from fungi_onnx import cuda
from fungi_onnx.model_file import INPUT, OUTPUT
from fungi_onnx.session import Session
from fungi_onnx.tuning import Tuning

Run = Callable[[NDArray[Any]], NDArray[np.float32]]

FLOAT, HALF, ANY = (1e-4, 0.0), (1e-2, 0.995), (1.0, 0.0)  # max |Δp|, least top-1 agreement


@dataclass(frozen=True)
class Variant:
    """One way.

    Attributes:
        name: in the tables.
        load: makes it ready, and gives what is called with a batch.
        gate: what its answers may differ by, and the least agreement.
        uint8: whether it takes whole levels.
        everywhere: whether it is measured at all sizes, or at a few.
        threads: that call it at once.
        width: bytes of its weights and activations.
        tuning: of ours.
    """

    name: str
    load: Callable[[], Run]
    gate: tuple[float, float] = FLOAT
    uint8: bool = False
    everywhere: bool = True
    threads: int = 1
    width: int = 4
    tuning: dict[str, Any] = field(default_factory=dict)


def variants(
    model: Path, half: Path | None, device: str, batches: tuple[int, ...]
) -> list[Variant]:
    """All of them, the most telling first; the first is the naive session."""
    ours = partial(_ours, device=device, batches=batches)
    found = [Variant("plain onnxruntime", lambda: _plain(model, device)), ours("float32", model)]
    if half is not None:
        of_half = partial(ours, path=half, gate=HALF, width=2)
        in_8_bits = partial(of_half, uint8=True)
        found += [
            of_half("float16"),
            in_8_bits("float16, 8 bits"),
            in_8_bits("float16, 8 bits, graphs", graphs=True),
            in_8_bits("float16, 8 bits, graphs, NHWC", graphs=True, nhwc=True),
            of_half("float16, graphs", graphs=True),
        ]
    found += [_torch(model, device, compiled=True), _torch(model, device, compiled=False)]
    few = partial(ours, everywhere=False)
    if half is not None:
        found += [
            in_8_bits("float16, 8 bits, NHWC", nhwc=True, everywhere=False),
            in_8_bits("float16, 8 bits, 2 streams", streams=2, everywhere=False),
        ]
    return [
        *found,
        few("float32, graphs", model, graphs=True),
        few("float32, NHWC", model, nhwc=True),
        few("float32, 2 streams", model, streams=2),
        few("float32, TF32", model, tf32=True, gate=ANY),
    ]


def _plain(model: Path, device: str) -> Run:
    """As the tutorials have it: a session with its defaults, NumPy in and out."""
    kind, _, index = device.partition(":")
    chosen: list[Any] = ["CPUExecutionProvider"]
    if kind == "cuda":
        cuda.preload()
        chosen.insert(0, (cuda.PROVIDER, {"device_id": index or "0"}))
    session = ort.InferenceSession(str(model), providers=chosen)
    if kind == "cuda" and session.get_providers()[0] != cuda.PROVIDER:
        raise RuntimeError(f"it runs on {session.get_providers()[0]}")
    return lambda images: np.asarray(session.run([OUTPUT], {INPUT: images})[0])


def _ours(
    name: str,
    path: Path,
    *,
    device: str,
    batches: tuple[int, ...],
    gate: tuple[float, float] = FLOAT,
    uint8: bool = False,
    everywhere: bool = True,
    width: int = 4,
    **tuning: Any,
) -> Variant:
    def load() -> Run:
        if tuning and device == "cpu":
            raise RuntimeError("this is a setting for GPUs")
        # 16 for the comparison of answers.
        sizes = tuple(sorted({*batches, 16}))
        return Session(path, device, tuning=Tuning(batches=sizes, **tuning)).run

    streams = tuning.get("streams", 1)
    return Variant(name, load, gate, uint8, everywhere, streams, width, tuning)


def _torch(model: Path, device: str, *, compiled: bool) -> Variant:
    def load() -> Run:
        from gpu_peers.torch_network import Runner

        return Runner(str(model), device, half=device != "cpu", compiled=compiled).run

    half = device != "cpu"
    return Variant(
        f"PyTorch{' compiled' if compiled else ''}, {'float16' if half else 'float32'}, 8 bits",
        load,
        # Whole levels differ from the float pictures by up to half a level, on the CPU as well.
        HALF,
        uint8=True,
        everywhere=not compiled,  # each size is compiled anew, which takes half a minute
        width=2 if half else 4,
    )
