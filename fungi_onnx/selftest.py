"""Golden probes: the model file re-checks itself wherever it runs, without TensorFlow.

The file carries little lossless pictures and what the original answered to each. Here they go the
whole way - decode, resize, session - and must come out as the original's, within the tolerance
that the file states for the kind of device.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fungi_onnx import image
from fungi_onnx.model_file import ModelFile, Probe


class Classifier(Protocol):
    """What the probes need of a `FungiClassifier`: this room lies below the classifier's."""

    model: ModelFile
    device: str
    image_size: tuple[int, int]

    def __call__(self, images: NDArray[np.floating]) -> NDArray[np.float32]:
        """float [N, height, width, 3] in [0, 1] → float32 [N, classes]."""
        ...


@dataclass(frozen=True)
class ProbeResult:
    """One probe: the largest |Δp| in the reference's best five, and what failed, if anything."""

    name: str
    difference: float
    log_difference: float | None
    problem: str | None


@dataclass(frozen=True)
class Report:
    """The outcome of all probes on one device."""

    device: str
    tolerance: float
    log_tolerance: float | None
    results: tuple[ProbeResult, ...]

    @property
    def ok(self) -> bool:
        """True if there are probes and every one passed."""
        return bool(self.results) and all(result.problem is None for result in self.results)

    def to_dict(self) -> dict[str, Any]:
        """The report as a JSON object."""
        return {
            "ok": self.ok,
            "device": self.device,
            "tolerance": self.tolerance,
            "log_tolerance": self.log_tolerance,
            "probes": [vars(result) for result in self.results],
        }


def run(classifier: Classifier) -> Report:
    """Runs the model file's golden probes on the classifier's device."""
    probes = classifier.model.probes
    kind = classifier.device.split(":")[0]
    tolerance, log_tolerance = probes.tolerance[kind], probes.log_tolerance.get(kind)
    results = tuple(
        _check(probe, _probabilities(classifier, probe), tolerance, log_tolerance)
        for probe in probes.pictures
    )
    return Report(classifier.device, tolerance, log_tolerance, results)


def _probabilities(classifier: Classifier, probe: Probe) -> NDArray[np.float32]:
    tensor = image.to_tensor(image.read_rgb(probe.png), *classifier.image_size)
    (probabilities,) = classifier(tensor[np.newaxis])
    return np.asarray(probabilities)


def log_probabilities(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    """Natural logarithms, cut off below 1e-30, where float32 softmax has nothing left to say."""
    return np.log(np.maximum(probabilities, np.float32(1e-30)))


def _check(
    probe: Probe,
    probabilities: NDArray[np.float32],
    tolerance: float,
    log_tolerance: float | None,
) -> ProbeResult:
    ids = [i for i, _ in probe.top]
    expected = np.array([p for _, p in probe.top])
    difference = float(np.abs(probabilities[ids] - expected).max())
    log_difference = None
    if probe.log_probabilities is not None:
        logs = log_probabilities(probabilities)
        log_difference = float(np.abs(logs - probe.log_probabilities).max())

    problem = None
    winner = int(probabilities.argmax())
    # `not <=` also catches NaN.
    if not difference <= tolerance:
        problem = f"probabilities differ by {difference:.2g}, allowed are {tolerance:.2g}"
    elif winner != ids[0] and not probabilities[winner] - probabilities[ids[0]] <= tolerance:
        problem = f"class {winner} comes first, not {ids[0]}"
    elif (
        log_difference is not None
        and log_tolerance is not None
        and not log_difference <= log_tolerance
    ):
        problem = f"a class differs by {log_difference:.2g} in log p, allowed {log_tolerance:.2g}"
    return ProbeResult(probe.name, difference, log_difference, problem)
