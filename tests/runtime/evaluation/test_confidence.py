from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize, special

from fungi_onnx import CalibrationError
from fungi_onnx.evaluation import Share, coverage, fit_temperature, reliability
from fungi_onnx.evaluation.confidence import Logs, accepted, calibration_error
from fungi_onnx.temperature import tempered


def test_bins_and_their_error_by_hand() -> None:
    confidence = np.array([0.05, 0.95, 0.97, 1.0, 1 / 15, 0.0])
    right = np.array([False, True, False, True, True, False])
    first, last = reliability(confidence, right)
    # The upper bound belongs to its bin, and 0 to the first one.
    assert (first.low, first.high, first.right) == (0.0, 1 / 15, Share(1, 3))
    assert (last.low, last.high, last.right) == (14 / 15, 1.0, Share(2, 3))
    assert first.confidence == pytest.approx((0.05 + 1 / 15) / 3)
    assert last.confidence == pytest.approx(2.92 / 3)
    by_hand = (abs(0.05 + 1 / 15 - 1) + abs(2.92 - 2)) / 6
    assert calibration_error([first, last]) == pytest.approx(by_hand)


def test_what_says_what_it_is_has_no_error() -> None:
    random = np.random.default_rng(1)
    confidence = random.uniform(0, 1, 200_000)
    right = random.uniform(0, 1, 200_000) < confidence
    assert calibration_error(reliability(confidence, right)) < 0.006
    assert calibration_error(reliability(confidence, random.permutation(right))) > 0.2


def test_the_curve_by_hand() -> None:
    """Answers of the same confidence are accepted together."""
    confidence = np.array([0.2, 0.9, 0.5, 0.5])
    right = np.array([False, True, False, True])
    steps = [(step.threshold, step.kept, step.right) for step in coverage(confidence, right)]
    assert steps == [
        (0.9, Share(1, 4), Share(1, 1)),
        (0.5, Share(3, 4), Share(2, 3)),
        (0.2, Share(4, 4), Share(2, 4)),
    ]
    assert accepted(confidence, right, 0.5)[1:] == (Share(3, 4), Share(2, 3))
    assert accepted(confidence, right, 0.95)[1:] == (Share(0, 4), Share(0, 0))


def answers(photos: int, classes: int, sharpness: float) -> tuple[np.ndarray, np.ndarray]:
    """Rows of which a temperature of ``sharpness`` makes what the classes were drawn from."""
    random = np.random.default_rng(photos)
    logits = random.normal(0, 2, (photos, classes))
    true = special.softmax(logits, axis=1)
    truth = np.array([random.choice(classes, p=row) for row in true])
    return special.softmax(logits * sharpness, axis=1).astype(np.float32), truth


@pytest.mark.parametrize("sharpness", [0.4, 1.0, 3.0])
def test_the_temperature_is_scipys(sharpness: float) -> None:
    rows, truth = answers(3000, 40, sharpness)

    def loss(beta: float) -> float:
        scaled = special.log_softmax(beta * np.log(rows.astype(np.float64)), axis=1)
        return -scaled[np.arange(len(truth)), truth].mean()

    best = optimize.minimize_scalar(loss, bounds=(0.05, 20), method="bounded").x
    logs = Logs(rows.copy(), truth)
    found = fit_temperature(logs, np.arange(len(truth)))
    assert found == pytest.approx(1 / best, rel=1e-4)
    assert found == pytest.approx(sharpness, rel=0.1)  # what the classes were drawn with
    assert logs.moments(np.arange(len(truth)), 1 / found)[0].mean() == pytest.approx(loss(best))
    half = np.arange(0, len(truth), 2)
    assert fit_temperature(logs, half) != found


def test_the_slope_is_that_of_the_loss() -> None:
    rows, truth = answers(50, 12, 2.0)
    logs, chosen, step = Logs(rows, truth), np.arange(50), 1e-5
    loss, slope, curve = logs.moments(chosen, 0.7)
    after, before = (logs.moments(chosen, 0.7 + change) for change in (step, -step))
    assert slope == pytest.approx((after[0] - before[0]) / (2 * step), rel=1e-4, abs=1e-6)
    assert curve == pytest.approx((after[1] - before[1]) / (2 * step), rel=1e-4, abs=1e-6)
    assert loss.shape == (50,)


def test_probabilities_of_nothing() -> None:
    """As 8-bit models give them: no class of them counts, but a true one is no surprise of ∞."""
    rows = np.array([[0.75, 0.25, 0, 0], [0.5, 0.25, 0.25, 0]], np.float32)
    logs = Logs(rows.copy(), np.array([0, 3]))
    loss, _, _ = logs.moments(np.array([0, 1]), 0.5)
    roots = np.sqrt(rows)
    assert loss[0] == pytest.approx(-np.log(roots[0, 0] / roots[0].sum()))
    assert loss[1] == pytest.approx(-np.log(np.sqrt(0.25) / roots[1].sum()))


def test_tempered_rows() -> None:
    logits = np.random.default_rng(2).normal(0, 3, (5, 30))
    row = special.softmax(logits, axis=1).astype(np.float32)
    for temperature in (0.05, 0.5, 1.0, 2.5, 20.0):
        expected = special.softmax(logits / temperature, axis=1)
        assert tempered(row, temperature) == pytest.approx(expected, rel=1e-4, abs=1e-30)
        assert np.array_equal(np.argsort(tempered(row, temperature)), np.argsort(row))
        assert tempered(row[0], temperature).tolist() == tempered(row, temperature)[0].tolist()
    assert tempered(np.array([0.5, 0.5, 0], np.float32), 3.0).tolist() == [0.5, 0.5, 0.0]


@pytest.mark.parametrize(
    ("truth", "why"),
    [(0, "nearly all answers are right"), (2, "the answers are hardly better than chance")],
)
def test_what_no_temperature_fits(truth: int, why: str) -> None:
    rows = np.tile(np.array([0.7, 0.2, 0.1], np.float32), (60, 1))
    with pytest.raises(CalibrationError) as caught:
        fit_temperature(Logs(rows, np.full(60, truth)), np.arange(60))
    assert str(caught.value) == (
        f"no temperature from 0.05 to 20 fits these 60 photos: {why}; take more, and such as the"
        " model will see"
    )
