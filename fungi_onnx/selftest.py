"""Golden probes: the model file re-checks itself wherever it runs, without TensorFlow.

The file carries little lossless pictures and what the original answered to each. Here they go the
whole way - decode, resize, session - and must come out as the original's, within the tolerance
that the file states for the kind of device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fungi_onnx import image
from fungi_onnx.model_file import ModelFile, Probe

if TYPE_CHECKING:
    from fungi_onnx.bound import Images


class Classifier(Protocol):
    """What the probes need of a `FungiClassifier`: this room lies below the classifier's."""

    model: ModelFile
    device: str
    image_size: tuple[int, int]

    def on_each_device(self) -> dict[str, Callable[[Images], NDArray[np.float32]]]:
        """By the device's name: float32 [N, height, width, 3] → float32 [N, classes]."""
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

    @property
    def failure(self) -> str | None:
        """What is wrong, as a sentence; None if nothing is."""
        if self.ok:
            return None
        failed = [result for result in self.results if result.problem is not None]
        what = f"{failed[0].name}: {failed[0].problem}" if failed else "there are none"
        return (
            f"The model does not answer here as its original did: {len(failed)} of"
            f" {len(self.results)} golden probes failed ({what})."
        )

    def to_dict(self) -> dict[str, Any]:
        """The report as a JSON object."""
        return {
            "ok": self.ok,
            "device": self.device,
            "tolerance": self.tolerance,
            "log_tolerance": self.log_tolerance,
            "probes": [vars(result) for result in self.results],
        }


def run(classifier: Classifier, *, most: int | None = None) -> Report:
    """Runs the model file's golden probes on the classifier's device, or on each of several.

    Args:
        classifier: of any device.
        most: how many probes; by default all.

    Raises:
        DeviceUnavailableError: a GPU failed.
    """
    probes = classifier.model.probes
    kind = classifier.device.split(":")[0]
    tolerance, log_tolerance = probes.tolerance[kind], probes.log_tolerance.get(kind)
    devices = classifier.on_each_device()
    results = []
    for device, answer in devices.items():
        for probe in probes.pictures[:most]:
            for form, tensor in _forms(classifier, probe):
                where = f" on {device}" if devices.keys() - {device} else ""
                (probabilities,) = answer(tensor[np.newaxis])
                results.append(
                    _check(
                        replace(probe, name=f"{probe.name}{form}{where}"),
                        probabilities,
                        tolerance,
                        log_tolerance,
                    )
                )
    return Report(classifier.device, tolerance, log_tolerance, tuple(results))


def _forms(classifier: Classifier, probe: Probe) -> Iterator[tuple[str, Images]]:
    """The probe's picture in each form that the model takes."""
    tensor = image.to_tensor(image.read_rgb(probe.png), *classifier.image_size)
    yield "", tensor
    if classifier.model.uint8_input:
        yield " in 8 bits", image.to_levels(tensor)


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
