"""The onnxruntime session: one model on one device, and the truth about which device that is."""

from __future__ import annotations

import contextlib
import io
import os
import re
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from fungi_onnx.errors import DeviceUnavailableError, ModelFormatError
from fungi_onnx.model_file import INPUT, OUTPUT

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


class Session:
    """A loaded model.

    Attributes:
        device: where it really runs: ``"cpu"``, ``"cuda:0"``, ...
        threads: intra-op threads on the CPU.
        metadata: the file's ``metadata_props``.
    """

    def __init__(self, path: Path, device: str = "auto", threads: int | None = None) -> None:
        """Loads the model.

        Args:
            path: an ONNX file with the input and output of the contract.
            device: ``"cpu"``, ``"cuda"``, ``"cuda:N"``, or ``"auto"``: CUDA if it really works
                here, else the CPU. A device that is named is never replaced by another.
            threads: CPU threads; by default the number of CPUs this process may use.

        Raises:
            DeviceUnavailableError: the named device cannot run the model here.
            ModelFormatError: the file is not a model that onnxruntime can load.
            ValueError: ``device`` or ``threads`` is not one of the above.
        """
        if threads is not None and threads < 1:
            raise ValueError(f"threads must be at least 1, not {threads}")
        self.threads = threads or available_cpus()
        plan = plan_providers(device, ort.get_available_providers())
        missing = _preload_cuda() if plan[0][0] == CUDA else ""
        self._session = _load(path, plan, self.threads, explicit=device != "auto")
        used = self._session.get_providers()[0]
        if device != "auto" and used != plan[0][0]:
            # onnxruntime goes on with the CPU when CUDA cannot be loaded, and only logs it.
            reason = f"onnxruntime {ort.__version__} could only use {used}"
            raise _unavailable(device, f"{reason} ({missing})" if missing else reason)
        self.device = "cpu" if used == CPU else f"cuda:{plan[0][1]['device_id']}"
        self.metadata: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)

    def shapes(self) -> tuple[list[int | str | None], list[int | str | None]]:
        """The shapes of ``images`` and ``probabilities``; open dimensions are names or None.

        Raises:
            ModelFormatError: the model has other inputs or outputs than the contract's.
        """
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if [tensor.name for tensor in inputs] != [INPUT] or OUTPUT not in [
            tensor.name for tensor in outputs
        ]:
            raise ModelFormatError(
                f"the model has the inputs {[t.name for t in inputs]} and the outputs"
                f" {[t.name for t in outputs]}, not '{INPUT}' and '{OUTPUT}'"
            )
        return inputs[0].shape, next(tensor.shape for tensor in outputs if tensor.name == OUTPUT)

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """float32 [N, height, width, 3] in [0, 1] → float32 [N, classes]."""
        (probabilities,) = self._session.run([OUTPUT], {INPUT: images})
        return np.asarray(probabilities, np.float32)


def plan_providers(device: str, available: list[str]) -> list[tuple[str, dict[str, str]]]:
    """Which execution providers to ask for, as a pure function of the wish and the package.

    Args:
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
        available: ``onnxruntime.get_available_providers()``: what the package was built with.

    Returns:
        (provider, options) pairs in order of preference.

    Raises:
        DeviceUnavailableError: CUDA is named and the package was built without it.
        ValueError: ``device`` is none of the above.
    """
    match = re.fullmatch(r"(auto|cpu|cuda)(?::(\d+))?", device)
    if match is None or (match[2] is not None and match[1] != "cuda"):
        raise ValueError(f"device must be 'auto', 'cpu', 'cuda' or 'cuda:N', not '{device}'")
    cpu = (CPU, dict[str, str]())
    if match[1] == "cpu" or (match[1] == "auto" and CUDA not in available):
        return [cpu]
    if CUDA not in available:
        raise DeviceUnavailableError(
            f"device '{device}' was asked for, but the installed onnxruntime {ort.__version__} is"
            " built without CUDA: pip uninstall onnxruntime, then pip install 'fungi-onnx[gpu]'"
        )
    return [(CUDA, {"device_id": match[2] or "0"}), cpu]


def available_cpus() -> int:
    """The number of CPUs that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _load(
    path: Path, plan: list[tuple[str, dict[str, str]]], threads: int, *, explicit: bool
) -> ort.InferenceSession:
    options = ort.SessionOptions()
    # An explicit count, or onnxruntime pins one thread to each core of the host and complains in
    # containers (pthread_setaffinity_np failed).
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what goes wrong is raised below, once
    try:
        return ort.InferenceSession(str(path), options, providers=plan)
    except Exception as error:  # onnxruntime raises a dozen unrelated types, all named alike
        if plan[0][0] == CPU:
            raise ModelFormatError(
                f"{path} is not a model that onnxruntime {ort.__version__} can load: {error}"
            ) from None
        reason = str(error)
    # Is it the model or the device? The CPU tells.
    session = _load(path, plan[1:], threads, explicit=explicit)
    if explicit:
        raise _unavailable(f"cuda:{plan[0][1]['device_id']}", reason)
    return session


def _preload_cuda() -> str:
    """Loads the CUDA and cuDNN libraries of pip's NVIDIA wheels; gives what was not found."""
    ort.set_default_logger_severity(4)  # the same again, in many words, on standard error
    with contextlib.redirect_stdout(io.StringIO()) as said:  # it prints
        ort.preload_dlls()
    return "; ".join(line for line in said.getvalue().splitlines() if line.startswith("Failed"))


def _unavailable(device: str, reason: str) -> DeviceUnavailableError:
    return DeviceUnavailableError(
        f"device '{device}' was asked for and cannot run the model here: {reason};"
        " what is missing says: fungi-onnx doctor"
    )
