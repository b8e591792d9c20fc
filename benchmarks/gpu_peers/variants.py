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

COMPARED = 16  # the batch at which all answers are compared


@dataclass(frozen=True)
class Gate:
    """What answers may differ by from float32 on the CPU; without a limit it is only reported."""

    limit: float | None
    top1: float = 0.0

    def holds(self, largest: float, agreement: float) -> bool:
        """Whether a largest |Δp|, NaN if answers are not finite, and a top-1 agreement pass."""
        # `<=` is false for NaN.
        return largest <= (1.0 if self.limit is None else self.limit) and agreement >= self.top1

    def __str__(self) -> str:
        if self.limit is None:
            return "none (TF32)"
        return f"max |Δp| <= {self.limit:g}" + (f", top-1 >= {self.top1:.1%}" if self.top1 else "")


FLOAT, HALF, TF32 = Gate(1e-4), Gate(1e-2, 0.995), Gate(None)


@dataclass(frozen=True)
class Variant:
    """One way.

    Attributes:
        name: in the tables.
        kind: ``"plain"``, ``"ours"`` or ``"torch"``.
        path: the model file.
        device: ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
        gate: what its answers may differ by.
        uint8: whether it takes whole levels.
        everywhere: whether it is measured at all sizes, or at a few.
        compiled: whether PyTorch compiles it.
        batches: the sizes of ours.
        settings: what is switched on in the `Tuning` of ours.
    """

    name: str
    kind: str
    path: Path
    device: str
    gate: Gate = FLOAT
    uint8: bool = False
    everywhere: bool = True
    compiled: bool = False
    batches: tuple[int, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def threads(self) -> int:
        """How many call it at once."""
        return int(self.settings.get("streams", 1))

    def check(self) -> None:
        """Raises RuntimeError if it cannot be on this device at all."""
        if self.settings and self.device == "cpu":
            raise RuntimeError("this is a setting for GPUs")

    def load(self) -> Run:
        """Makes it ready; what comes is called with a batch and gives float32 [N, classes]."""
        if self.kind == "plain":
            return _plain(self.path, self.device)
        if self.kind == "torch":
            from gpu_peers.torch_network import Runner

            half = self.device != "cpu"
            return Runner(str(self.path), self.device, half=half, compiled=self.compiled).run
        sizes = tuple(sorted({*self.batches, COMPARED}))
        session = Session(self.path, self.device, tuning=Tuning(batches=sizes, **self.settings))
        if self.uint8 and not session.uint8:
            raise RuntimeError(f"{self.path} has no input for pictures in 8 bits")
        return session.run


def variants(
    model: Path, half: Path | None, device: str, batches: tuple[int, ...]
) -> list[Variant]:
    """All of them, the most telling first; the first is the naive session.

    Those with a setting of ours that is not among the expected best are measured at few sizes.
    """
    ours = partial(Variant, kind="ours", path=model, device=device, batches=batches)
    of_half = partial(ours, path=half, gate=HALF)
    eight = partial(of_half, uint8=True)
    graphs, nhwc, streams = {"graphs": True}, {"nhwc": True}, {"streams": 2}
    few, half_few, eight_few = (partial(way, everywhere=False) for way in (ours, of_half, eight))

    # onnxruntime's CUDA provider uses TF32 unless it is told not to, so that the naive session is
    # not held to float32's gate: it is what everything is compared with in speed.
    plain = Variant("plain onnxruntime", "plain", model, device, TF32 if device != "cpu" else FLOAT)
    compiled, eager = (_torch(model, device, compiled=compiled) for compiled in (True, False))
    first, second = [], []
    if half is not None:
        first = [
            eight("float16, 8 bits"),
            eight("float16, 8 bits, graphs", settings=graphs),
            eight("float16, 8 bits, graphs, NHWC", settings=graphs | nhwc),
        ]
        second = [
            eight_few("float16, 8 bits, NHWC", settings=nhwc),
            eight_few("float16, 8 bits, 2 streams", settings=streams),
            eight_few("float16, 8 bits, NHWC, 2 streams", settings=nhwc | streams),
            of_half("float16"),
            half_few("float16, graphs", settings=graphs),
            half_few("float16, NHWC", settings=nhwc),
            half_few("float16, 2 streams", settings=streams),
        ]
    return [
        plain,
        *first,
        compiled,
        ours("float32"),
        *second,
        few("float32, graphs", settings=graphs),
        few("float32, NHWC", settings=nhwc),
        few("float32, 2 streams", settings=streams),
        few("float32, TF32", settings={"tf32": True}, gate=TF32),
        eager,
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
        raise RuntimeError(f"it runs on {session.get_providers()[0]}: see fungi-onnx doctor")
    return lambda images: np.asarray(session.run([OUTPUT], {INPUT: images})[0])


def _torch(model: Path, device: str, *, compiled: bool) -> Variant:
    """Float16 on a GPU; float32 on the CPU, where float16 is no way to be fast."""
    half = device != "cpu"
    name = f"PyTorch{' compiled' if compiled else ''}, {'float16' if half else 'float32'}, 8 bits"
    gate = HALF if half else FLOAT
    # Each size is compiled anew, which takes a good part of a minute.
    return Variant(name, "torch", model, device, gate, uint8=True, everywhere=False,
                   compiled=compiled)  # fmt: skip
