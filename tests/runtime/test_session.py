"""Which device is asked for and which is used, where the package is built for the CPU alone.

What the package for GPUs does is in tests/gpu.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from fungi_onnx import DeviceUnavailableError, FungiClassifier, ModelFormatError, cpus, session
from fungi_onnx.cuda import PROVIDER, SWAP
from fungi_onnx.session import Session, parse_device

cpu_package = pytest.mark.skipif(
    PROVIDER in ort.get_available_providers(), reason="this onnxruntime is built with CUDA"
)


@pytest.mark.parametrize(
    ("device", "parsed"),
    [
        ("auto", ("auto", 0)),
        ("cpu", ("cpu", 0)),
        ("cuda", ("cuda", 0)),
        ("cuda:0", ("cuda", 0)),
        ("cuda:12", ("cuda", 12)),
    ],
)
def test_devices(device: str, parsed: tuple[str, int]) -> None:
    assert parse_device(device) == parsed


@pytest.mark.parametrize(
    "device",
    ["gpu", "", "cpu:0", "auto:1", "cuda:", "cuda:-1", "CUDA", "cuda:1 ", "cuda:٣", "cuda:1\n"],
)
def test_no_such_device(device: str, tiny: Path) -> None:
    for call in (parse_device, lambda device: Session(tiny, device)):
        with pytest.raises(ValueError, match="device must be 'auto', 'cpu', 'cuda' or 'cuda:N'"):
            call(device)


@cpu_package
@pytest.mark.parametrize("device", ["cuda", "cuda:1", "cuda:0,cuda:1"])
def test_explicit_cuda_never_falls_back(device: str, tiny: Path) -> None:
    with pytest.raises(DeviceUnavailableError) as caught:
        FungiClassifier(tiny, device=device)
    assert str(caught.value) == (
        f"device '{device.partition(',')[0]}' was asked for and cannot run the model here: the"
        f" installed onnxruntime {ort.__version__} is built without CUDA: {SWAP}"
        " (fungi-onnx doctor shows the whole chain)"
    )


@cpu_package
def test_auto_is_the_cpu_and_says_so_once(tiny: Path, caplog: pytest.LogCaptureFixture) -> None:
    session.say_why_not_cuda.cache_clear()
    with caplog.at_level(logging.INFO, "fungi_onnx"):
        assert FungiClassifier(tiny, device="auto").device == "cpu"
        assert FungiClassifier(tiny).device == "cpu"
        FungiClassifier(tiny, device="cpu")
    (record,) = caplog.records
    # No warning: who installed the package for the CPU knows.
    assert record.levelno == logging.INFO
    text = f"device 'auto' is the CPU: the installed onnxruntime {ort.__version__} is built without"
    assert record.getMessage().startswith(text)


@cpu_package
def test_a_file_that_is_no_model_is_told_before_the_device(tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a model")
    with pytest.raises(ModelFormatError, match="is not a model that onnxruntime"):
        Session(broken, "cuda")


@pytest.mark.parametrize(
    "device", ["cuda:0,cpu", "auto,cuda", "cuda:0,cuda:0", "cuda,cuda:0", "cpu,cpu"]
)
def test_several_devices_are_different_gpus(device: str, tiny: Path) -> None:
    with pytest.raises(ValueError, match="several devices must be different GPUs, such as"):
        FungiClassifier(tiny, device=device)


def test_waiting_threads_spin_only_where_the_cpus_are_their_own(tiny: Path) -> None:
    def spinning() -> bool:
        options = session._options(tiny, 2)
        try:
            entry = options.get_session_config_entry("session.intra_op.allow_spinning")
        except RuntimeError:  # not set: onnxruntime's default is to spin
            return True
        return bool(entry != "0")

    before = os.sched_getaffinity(0)
    assert spinning() == (cpus.available() == os.cpu_count())
    if len(before) == 1:
        return
    try:
        os.sched_setaffinity(0, {min(before)})
        assert not spinning()
    finally:
        os.sched_setaffinity(0, before)


def test_threads_may_be_named(tiny: Path) -> None:
    assert FungiClassifier(tiny).threads == cpus.available()
    assert FungiClassifier(tiny, threads=3).threads == 3
    for threads in (0, -1):
        with pytest.raises(ValueError, match=f"threads must be at least 1, not {threads}"):
            FungiClassifier(tiny, threads=threads)


def test_the_cpu_has_nothing_to_warm_up(tiny: Path) -> None:
    on_cpu = Session(tiny, "cpu")
    on_cpu.warm_up(16)
    assert (on_cpu.batch, on_cpu.parallel) == (1, on_cpu.threads)
    assert on_cpu.sessions == (on_cpu,)
    assert not on_cpu.uint8
    assert on_cpu.run(np.zeros((0, *on_cpu.shapes()[0][1:]), np.float32)).shape == (0, 12)
