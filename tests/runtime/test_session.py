"""Which device is asked for and which is used. No GPU is needed to test the choice."""

from __future__ import annotations

import os
from pathlib import Path

import onnxruntime as ort
import pytest

from fungi_onnx import DeviceUnavailableError, FungiClassifier, cpus, session
from fungi_onnx.session import CPU, CUDA, plan_providers

BOTH = [CUDA, CPU]


@pytest.mark.parametrize(
    ("device", "available", "first"),
    [
        ("auto", [CPU], (CPU, {})),
        ("auto", BOTH, (CUDA, {"device_id": "0"})),
        ("cpu", BOTH, (CPU, {})),
        ("cuda", BOTH, (CUDA, {"device_id": "0"})),
        ("cuda:1", BOTH, (CUDA, {"device_id": "1"})),
    ],
)
def test_plan(device: str, available: list[str], first: tuple[str, dict[str, str]]) -> None:
    plan = plan_providers(device, available)
    assert plan[0] == first
    assert plan[-1] == (CPU, {})


def test_cuda_without_cuda_in_the_package() -> None:
    with pytest.raises(DeviceUnavailableError, match=r"pip install 'fungi-onnx\[gpu\]'"):
        plan_providers("cuda:1", [CPU])


@pytest.mark.parametrize("device", ["gpu", "", "cpu:0", "auto:1", "cuda:", "cuda:-1", "CUDA"])
def test_no_such_device(device: str) -> None:
    with pytest.raises(ValueError, match="device must be 'auto', 'cpu', 'cuda' or 'cuda:N'"):
        plan_providers(device, BOTH)


def test_explicit_cuda_never_falls_back(tiny: Path) -> None:
    if CUDA in ort.get_available_providers():
        pytest.skip("this onnxruntime is built with CUDA, so another error is due")
    with pytest.raises(DeviceUnavailableError, match="built without CUDA"):
        FungiClassifier(tiny, device="cuda")
    assert FungiClassifier(tiny, device="auto").device == "cpu"


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
