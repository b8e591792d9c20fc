"""Who takes part, and in what."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .verdict import TOLERANCE

SCRIPTS = Path(__file__).parents[1] / "peers"
TENSORFLOW, RESIZED = "TensorFlow, hub module", "TensorFlow, resize first"
LITERT, PLAIN = "LiteRT (XNNPACK)", "onnxruntime, plain"
OPENVINO, OPENVINO_F32 = "OpenVINO", "OpenVINO, f32"
FP32, INT8 = "fungi-onnx fp32", "fungi-onnx int8"
OURS = "fungi-onnx"
VIEWS = ("exact", "fast")


@dataclass(frozen=True)
class Peer:
    """A script in an environment.

    Attributes:
        name: as the tables have it.
        command: to which a photo or ``-`` is added, see ``peers/protocol.py``.
        parts: of the benchmark, in which it takes part.
        tolerance: of its network's probabilities; None: only its first answers must be right.
    """

    name: str
    command: tuple[str, ...]
    parts: tuple[str, ...]
    tolerance: float | None = TOLERANCE


@dataclass(frozen=True)
class Field:
    """The models and the environments.

    Attributes:
        module, signature, output: the hub module and which of its tensors is the classifier.
        lite, onnx, int8: the same as files; ``int8`` is None if there is none.
        python: of the environment with all the peers.
        our_python: of ours, where TensorFlow is not.
        cpus: that all may use.
    """

    module: Path
    signature: str
    output: str
    lite: Path
    onnx: Path
    int8: Path | None
    python: Path
    our_python: Path
    cpus: int


def one_thread(name: str) -> str:
    """What ours is called where it has one thread only."""
    return f"{name}, one thread"


def line_up(field: Field) -> list[Peer]:
    """Everybody, in the order of the tables."""

    def script(python: Path, name: str, *arguments: object) -> tuple[str, ...]:
        return str(python), str(SCRIPTS / name), *map(str, arguments)

    python, cpus = field.python, field.cpus
    alone = "photo", "start", "start, 12 MP"
    everything = "network", *alone, "bulk"
    hub = script(python, "hub_module.py", field.module, field.signature, field.output)
    lite = script(python, "lite_xnnpack.py", field.lite, cpus)
    plain = script(python, "plain_onnxruntime.py", field.onnx, cpus)
    openvino = [
        script(python, "open_vino.py", field.onnx, cpus, precision)
        for precision in ("default", "f32")
    ]
    peers = [
        Peer(TENSORFLOW, (*hub, "float"), everything),
        Peer(RESIZED, (*hub, "resize"), ("photo", "bulk")),
        Peer(LITERT, lite, everything),
        Peer(OPENVINO, openvino[0], everything),
        Peer(OPENVINO_F32, openvino[1], everything),
        Peer(PLAIN, plain, everything),
    ]
    models = [(FP32, field.onnx, TOLERANCE), (INT8, field.int8, None)]
    for name, model, tolerance in models:
        if model is None:
            continue
        # The network is the same in both views, so it is measured once; and on one thread, for
        # what bulk could be at most.
        for view in VIEWS:
            command = script(field.our_python, "ours.py", model, view, 0)
            parts = (*alone, "bulk", "decode")
            peers.append(Peer(f"{name} {view}", command, parts, tolerance))
        command = script(field.our_python, "ours.py", model, VIEWS[0], 0)
        peers.append(Peer(name, command, ("network",), tolerance))
        command = script(field.our_python, "ours.py", model, VIEWS[0], 1)
        peers.append(Peer(one_thread(name), command, ("network alone",), tolerance))
    return peers
