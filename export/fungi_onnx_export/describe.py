"""What the model file says about itself: terms, tools, golden probes; and writing it."""

from __future__ import annotations

import os
import tempfile
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
from numpy.typing import NDArray

from fungi_onnx import image, selftest
from fungi_onnx.classifier import FungiClassifier
from fungi_onnx.model_file import ModelFile, Probe, Probes
from fungi_onnx.selftest import log_probabilities
from fungi_onnx.session import Session
from fungi_onnx_export import __version__, parity, pictures
from fungi_onnx_export.choice import Choice
from fungi_onnx_export.errors import ExportError, ParityError
from fungi_onnx_export.original import Original

PROBES, PROBE_SIZE, PROBE_BYTES = 8, 96, 500_000

# The allowed |Δp| of a probe by kind of device. On CUDA, TF32 convolutions have 10 bits of
# mantissa. A quantised graph whose kernels round once differently moves by several steps: TF
# Lite's own kernels differ from each other by up to 13/256 on photos.
FLOAT_TOLERANCE = {"cpu": 1e-4, "cuda": 5e-3}
QUANTISED_TOLERANCE = {"cpu": 2e-2, "cuda": 5e-2}
LOG_TOLERANCE = {"cpu": 0.05, "cuda": 0.5}
NOISE_TOLERANCE = 3.0  # times the largest difference seen


def tools() -> dict[str, str]:
    """The programs that made the file, with their versions."""
    names = ("tensorflow", "tensorflow-hub", "tf2onnx", "ai-edge-litert", "onnx", "onnxruntime")
    return {"fungi-onnx-export": __version__, **{name: version(name) for name in names}}


def created() -> str:
    """Now in UTC, or ``SOURCE_DATE_EPOCH`` for reproducible files."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    moment = datetime.fromtimestamp(int(epoch), UTC) if epoch else datetime.now(UTC)
    return moment.isoformat(timespec="seconds")


def probes(original: Original, choice: Choice, session: Session) -> Probes:
    """Little drawings with the original's answers, chosen for clear and different answers."""
    size = min(PROBE_SIZE, choice.height, choice.width)
    drawings = [pictures.render(species, size) for species in range(4 * PROBES)]
    tensors = np.stack(
        [image.to_tensor(drawing, choice.height, choice.width) for drawing in drawings]
    )
    reference = parity.measure(original, choice, [tensors])
    expected = reference.probabilities
    ours = session.run(tensors)
    best = np.sort(expected, axis=1)
    clear = best[:, -1] - best[:, -2] - np.abs(ours - expected).max(axis=1)
    if original.facts.noisy:
        clear -= reference.noise
    order = [int(index) for index in np.argsort(-clear, kind="stable")]
    first_of: dict[int, int] = {}
    for index in order:
        first_of.setdefault(int(expected[index].argmax()), index)
    chosen = list(dict.fromkeys([*first_of.values(), *order]))[:PROBES]

    smooth = not (original.facts.quantised or original.facts.noisy)
    found = Probes(
        tuple(
            _probe(index, drawings[index], expected[index], with_logs=smooth) for index in chosen
        ),
        _tolerance(original, reference, chosen, ours[chosen]),
        _log_tolerance(expected[chosen], ours[chosen]) if smooth else {},
    )
    total = sum(len(probe.png) for probe in found.pictures)
    if total > PROBE_BYTES:
        raise ExportError(f"the golden probes take {total} bytes, allowed are {PROBE_BYTES}")
    return found


def best_five(probabilities: NDArray[np.float32]) -> tuple[tuple[int, float], ...]:
    """(id, probability) of the most probable classes of float32 [classes], best first."""
    top = np.argsort(-probabilities, kind="stable")[:5]
    return tuple((int(i), float(probabilities[i])) for i in top)


def write_proven(description: ModelFile, draft: Path, target: Path) -> None:
    """Gives a draft its description, and writes it to the target once its golden probes pass.

    Raises:
        ExportError: the folder is not there or cannot be written.
        ParityError: a probe fails; nothing was written.
    """
    model = onnx.load(draft)
    write(model, description, draft)
    report = selftest.run(FungiClassifier(draft, device="cpu"))
    if not report.ok:
        problems = [result.problem for result in report.results if result.problem]
        raise ParityError(f"the golden probes do not pass: {problems[0]}")
    write(model, description, target)


def write(model: onnx.ModelProto, description: ModelFile, path: Path) -> None:
    """Writes the file whole or not at all.

    Raises:
        ExportError: the folder is not there or cannot be written.
    """
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, description.to_metadata())
    model.producer_name, model.producer_version = "fungi-onnx-export", __version__
    model.graph.name = "fungi_onnx"
    model.graph.doc_string = model.doc_string = ""
    temporary = None
    try:
        with tempfile.NamedTemporaryFile(
            dir=path.parent, prefix=f".{path.name}.", delete=False
        ) as file:
            temporary = Path(file.name)
            file.write(model.SerializeToString(deterministic=True))
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        raise ExportError(f"{path}: cannot be written: {error.strerror}") from None


def _probe(
    species: int, drawing: NDArray[np.uint8], expected: NDArray[np.float32], *, with_logs: bool
) -> Probe:
    ok, png = cv2.imencode(".png", cv2.cvtColor(drawing, cv2.COLOR_RGB2BGR))
    assert ok
    return Probe(
        name=f"drawing {species}",
        png=png.tobytes(),
        top=best_five(expected),
        log_probabilities=log_probabilities(expected).astype(np.float16) if with_logs else None,
    )


def _tolerance(
    original: Original, reference: parity.Reference, chosen: list[int], ours: Any
) -> dict[str, float]:
    if original.facts.quantised:
        return QUANTISED_TOLERANCE
    if not original.facts.noisy:
        return FLOAT_TOLERANCE
    differences = np.abs(ours - reference.probabilities[chosen])
    seen = max(float(reference.noise[chosen].max()), float(differences.max()))
    return dict.fromkeys(("cpu", "cuda"), max(QUANTISED_TOLERANCE["cuda"], NOISE_TOLERANCE * seen))


def _log_tolerance(expected: NDArray[np.float32], ours: NDArray[np.float32]) -> dict[str, float]:
    """What float16 and rounding leave; a network of huge logits needs more than usual."""
    seen = np.abs(log_probabilities(ours) - log_probabilities(expected).astype(np.float16)).max()
    return {kind: max(usual, 4 * float(seen)) for kind, usual in LOG_TOLERANCE.items()}


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
