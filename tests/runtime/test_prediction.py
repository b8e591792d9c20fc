from __future__ import annotations

import numpy as np
import pytest

from fungi_onnx import ImageFileError, Match, Prediction
from fungi_onnx.prediction import rank

TWO = Prediction("a.jpg", (Match(4, "Amanita muscaria", 0.75), Match(1, "Boletus <i>", 0.03125)))


def test_rank_orders_and_breaks_ties_by_id() -> None:
    probabilities = np.array([0.1, 0.4, 0.4, 0.1], np.float32)
    matches = rank(probabilities, ["a", "b", "c", "d"], 3)
    assert [(match.id, match.name) for match in matches] == [(1, "b"), (2, "c"), (0, "a")]
    assert matches[0].probability == pytest.approx(0.4)
    assert isinstance(matches[0].probability, float)
    many = rank(np.full(4128, 1 / 4128, np.float32), [str(i) for i in range(4128)], 50)
    assert [match.id for match in many] == list(range(50))


def test_frozen() -> None:
    with pytest.raises(AttributeError):
        TWO.image = "b.jpg"  # type: ignore[misc]


def test_text_is_an_aligned_table() -> None:
    assert str(TWO).splitlines() == [
        "a.jpg",
        "   1  Amanita muscaria   75.0%  ███████████████",
        "   2  Boletus <i>         3.1%  ▋",
    ]


def test_json_object() -> None:
    assert TWO.to_dict() == {
        "image": "a.jpg",
        "top": [
            {"id": 4, "name": "Amanita muscaria", "probability": 0.75},
            {"id": 1, "name": "Boletus <i>", "probability": 0.03125},
        ],
    }


def test_notebook_table_escapes_names() -> None:
    html = TWO._repr_html_()
    assert "Boletus &lt;i&gt;" in html
    assert "width:75.0%" in html


def test_a_failed_one_raises_its_error() -> None:
    failed = Prediction("a.jpg", (), ImageFileError("a.jpg", "no such file"))
    assert not failed.ok
    assert "no such file" in str(failed)
    assert "no such file" in failed._repr_html_()
    with pytest.raises(ImageFileError, match="a.jpg: no such file"):
        _ = failed.top
