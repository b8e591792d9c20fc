"""One temperature: what it does to probabilities, and the file beside the model that keeps it.

A network is often surer than it is right. Temperature scaling (Guo, Pleiss, Sun and Weinberger,
"On Calibration of Modern Neural Networks", 2017) divides the logits by one number T: above 1 it
makes all answers less sure, below 1 surer. Their order stays. It is fitted by
`fungi_onnx.evaluation.calibrate`, and used only where it is asked for.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fungi_onnx.errors import CalibrationError
from fungi_onnx.model_path import sha256_of

Temperature = float | Literal["calibrated"]


def tempered(probabilities: NDArray[np.floating], temperature: float) -> NDArray[np.float64]:
    """The softmax of the logits divided by ``temperature``, without the logits.

    Logits are log p up to a constant, so that it is p^(1/T) over the sum of these. A probability of
    0 stays 0.

    Args:
        probabilities: [..., classes], in [0, 1], not all 0.
        temperature: above 0.
    """
    values = np.asarray(probabilities, np.float64)
    # Over the largest one, so that no power vanishes that counts.
    powers = (values / values.max(axis=-1, keepdims=True)) ** (1 / temperature)
    scaled: NDArray[np.float64] = powers / powers.sum(axis=-1, keepdims=True)
    return scaled


@dataclass(frozen=True)
class Calibration:
    """A fitted temperature, what it was fitted on, and what it brings on photos it has not seen.

    Attributes:
        temperature: T.
        model_sha256: of the model file that it belongs to.
        view, crop: how the photos were looked at.
        photos, classes: how many it was fitted on, and of how many classes these are.
        fold_temperatures: what was fitted without each fold of the photos in turn.
        nll, ece: mean negative log-likelihood (nats) and expected calibration error of the model's
            own answers.
        held_out_nll, held_out_ece: the same of each fold, with the temperature fitted on the
            others.
        created: when, in ISO 8601.
    """

    temperature: float
    model_sha256: str
    view: str
    crop: str
    photos: int
    classes: int
    fold_temperatures: tuple[float, ...]
    nll: float
    ece: float
    held_out_nll: float
    held_out_ece: float
    created: str

    def save(self, model: Path) -> Path:
        """Writes it beside the model, in place of an earlier one, and says where.

        Raises:
            CalibrationError: it cannot be written.
        """
        from fungi_onnx.files import replaced  # tempfile, which only this needs

        path = beside(model)
        try:
            with replaced(path) as file:
                file.write(json.dumps(asdict(self), indent=2).encode() + b"\n")
        except OSError as error:
            raise CalibrationError(
                f"{path}: cannot be written: {error.strerror}; the temperature can be given as a"
                f" number, too: {self.temperature:.4g}"
            ) from None
        return path


def beside(model: Path) -> Path:
    """Where a model's calibration is: ``fungi.calibration.json`` beside ``fungi.onnx``."""
    return model.with_suffix(".calibration.json")


def resolve(temperature: Temperature | None, model: Path) -> float | None:
    """The number that is meant; ``"calibrated"`` is that of the file beside the model.

    Raises:
        CalibrationError: there is no such file, it is damaged, or it belongs to another model.
        ValueError: no number above 0.
    """
    if temperature is None:
        return None
    if temperature != "calibrated":
        if not isinstance(temperature, int | float) or not 0 < temperature < math.inf:
            raise ValueError(
                f"temperature must be a number above 0 or 'calibrated', not {temperature!r}"
            )
        return float(temperature)
    path = beside(model)
    advice = f"make it with: fungi-onnx calibrate TRUTH.csv -m {model}"
    try:
        found = json.loads(path.read_bytes())
        fitted, digest = float(found["temperature"]), found["model_sha256"]
        if not 0 < fitted < math.inf:
            raise ValueError
    except FileNotFoundError:
        raise CalibrationError(f"{path}: no such calibration; {advice}") from None
    except OSError as error:
        raise CalibrationError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise CalibrationError(f"{path}: is not a calibration; {advice}") from None
    if digest != sha256_of(model):
        raise CalibrationError(f"{path}: belongs to another model file than {model}; {advice}")
    return fitted
