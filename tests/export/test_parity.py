"""The gates, on answers made by hand."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from fungi_onnx import ImageDecodeError
from fungi_onnx.image import read_rgb, to_tensor
from fungi_onnx_export import parity, pictures
from fungi_onnx_export.errors import ExportError
from fungi_onnx_export.original import Facts
from fungi_onnx_export.parity import Reference

EXPECTED = np.array([[0.7, 0.2, 0.1], [0.3, 0.3, 0.4]], np.float32)


def judged(ours, expected=EXPECTED, *, quantised=False, noise=None, steady=None):
    facts = Facts((), "hand", quantised=quantised, noisy=noise is not None)
    reference = Reference(expected, *(() if noise is None else (np.array(noise), np.array(steady))))
    return parity.compare(
        SimpleNamespace(facts=facts), reference, np.asarray(ours, np.float32), "two"
    )


def test_figures_by_hand() -> None:
    ours = EXPECTED + np.array([[0.03, -0.03, 0], [0, 0.01, -0.01]], np.float32)
    figures = judged(ours).parity
    assert figures.max_difference == pytest.approx(0.03, abs=1e-7)
    assert figures.mean_difference == pytest.approx(0.08 / 6, abs=1e-7)
    assert figures.mean_max_difference == pytest.approx(0.02, abs=1e-7)
    assert figures.top1_agreement == 1
    assert figures.top5_agreement == 1
    assert (figures.pictures, figures.picture_set, figures.reference) == (2, "two", "hand")


def test_float_gate() -> None:
    shift = np.array([[1, -1, 0], [0, 0, 0]], np.float32)
    assert judged(EXPECTED + shift * 0.9e-4).problem is None
    assert judged(EXPECTED + shift * 1.2e-4).problem == "max |Δp| is 0.00012, allowed are 0.0001"


def test_quantised_gate_allows_one_step_of_256() -> None:
    shift = np.array([[1, 0, 0], [0, 0, 0]], np.float32)
    assert judged(EXPECTED + shift / 256, quantised=True).problem is None
    assert "allowed are 0.005" in judged(EXPECTED + shift * 2 / 256, quantised=True).problem


def test_another_top1_beyond_ties() -> None:
    """A tie within the limit may fall either way; anything more may not."""
    tie = np.array([[0.50000, 0.49995, 0.0]], np.float32)
    assert judged(tie[:, [1, 0, 2]], tie).problem is None
    apart = np.array([[0.5, 0.495, 0.0]], np.float32)
    swapped = judged(apart[:, [1, 0, 2]], apart, quantised=True)
    assert swapped.problem is None  # 0.005: still within a step
    apart = np.array([[0.5, 0.4, 0.1]], np.float32)
    swapped = apart[:, [1, 0, 2]]
    assert judged(swapped, apart, noise=[0.09], steady=[True]).problem == (
        "1 of 1 pictures get another top-1"
    )
    assert judged(swapped, apart, noise=[0.09], steady=[False]).problem is None
    assert judged(swapped, apart, noise=[0.11], steady=[True]).problem is None
    undecided = np.array([[0.45, 0.45 + 1e-6, 0.1]], np.float32)
    assert judged(undecided, apart, noise=[0.09], steady=[True]).problem is None


def test_noise_gate() -> None:
    ours = EXPECTED + np.array([[0.03, -0.03, 0], [0, 0.01, -0.01]], np.float32)
    wide = judged(ours, noise=[0.011, 0.011], steady=[True, True])
    assert wide.problem is None
    assert wide.parity.noise_floor == pytest.approx(0.011)
    narrow = judged(ours, noise=[0.009, 0.009], steady=[True, True])
    assert narrow.problem == "the mean largest |Δp| is 0.02, the reference's own is 0.009"


def test_a_noisy_source_on_pictures_that_do_not_stir_it() -> None:
    shift = np.array([[1, -1, 0], [0, 0, 0]], np.float32)
    still = {"noise": [0.0, 0.0], "steady": [True, True]}
    assert judged(EXPECTED + shift * 0.9e-4, **still).problem is None
    assert "the reference's own is 0" in judged(EXPECTED + shift * 1.2e-4, **still).problem


def test_nan_never_passes() -> None:
    ours = EXPECTED.copy()
    ours[1, 1] = np.nan
    for kind in ({}, {"quantised": True}, {"noise": [1.0, 1.0], "steady": [True, True]}):
        assert "not finite" in judged(ours, **kind).problem


def test_top5_agreement_counts_shared_classes() -> None:
    expected = np.array([[6, 5, 4, 3, 2, 1, 0]], np.float32)
    ours = np.array([[6, 5, 4, 3, 0, 1, 2]], np.float32)
    assert parity.top5_agreement(expected, ours) == pytest.approx(0.8)


def test_builtin_pictures_differ_and_lie_off_the_levels() -> None:
    shown = parity.builtin(56, 40)
    (images,) = shown.chunks()
    assert images.shape == (len(shown.names), 56, 40, 3)
    assert images.dtype == np.float32
    assert images.min() >= 0
    assert images.max() <= 1
    assert len({image.tobytes() for image in images}) == len(images)
    (again,) = shown.chunks()
    np.testing.assert_array_equal(images, again)
    levels = images * 255
    assert (np.abs(levels - np.rint(levels)) > 0.01).mean() > 0.3


def test_a_folder_of_pictures(tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / "sub").mkdir(exist_ok=True)
        path = tmp_path / ("sub" if number % 2 else "") / f"{number}.JPG"
        path.write_bytes(pictures.to_jpeg(pictures.render(number, 80), 90))
    (tmp_path / "notes.txt").write_text("not a picture")
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "9.jpg").write_bytes(b"broken")
    shown = parity.from_folder(tmp_path, 30, 40, chunk=2)
    assert [len(chunk) for chunk in shown.chunks()] == [2, 2, 1]
    assert shown.names == ("0.JPG", "2.JPG", "4.JPG", "sub/1.JPG", "sub/3.JPG")
    assert shown.description == "5 pictures given"
    images = np.concatenate(list(shown.chunks()))
    first = to_tensor(read_rgb(tmp_path / "0.JPG"), 30, 40)
    np.testing.assert_array_equal(images[0], first)


def test_a_folder_without_pictures_or_with_a_broken_one(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"holds no pictures \(.avif, .bmp"):
        parity.from_folder(tmp_path, 8, 8)
    (tmp_path / "a.png").write_bytes(b"broken")
    with pytest.raises(ImageDecodeError, match="a.png: is not a picture in a known format"):
        list(parity.from_folder(tmp_path, 8, 8).chunks())
