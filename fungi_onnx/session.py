"""The onnxruntime session: one model on one device, and the truth about which device that is."""

from __future__ import annotations

import contextlib
import io
import mmap
import re
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from fungi_onnx import cpus, graph_cache
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

    def __init__(
        self,
        path: Path,
        device: str = "auto",
        threads: int | None = None,
        *,
        cache: bool = False,
    ) -> None:
        """Loads the model.

        Args:
            path: an ONNX file with the input and output of the contract.
            device: ``"cpu"``, ``"cuda"``, ``"cuda:N"``, or ``"auto"``: CUDA if it really works
                here, else the CPU. A device that is named is never replaced by another.
            threads: CPU threads; by default the number of CPUs this process may use.
            cache: load the graph that was optimised for this machine, and keep it for the next
                time, in the user's cache folder (see `fungi_onnx.graph_cache`).

        Raises:
            DeviceUnavailableError: the named device cannot run the model here.
            ModelFormatError: the file is not a model that onnxruntime can load.
            ValueError: ``device`` or ``threads`` is not one of the above.
        """
        if threads is not None and threads < 1:
            raise ValueError(f"threads must be at least 1, not {threads}")
        self.threads = threads or cpus.available()
        plan = plan_providers(device, ort.get_available_providers())
        missing = _preload_cuda() if plan[0][0] == CUDA else ""
        self._session = _load(path, plan, self.threads, cache=cache, explicit=device != "auto")
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


def _load(
    path: Path,
    plan: list[tuple[str, dict[str, str]]],
    threads: int,
    *,
    cache: bool,
    explicit: bool,
) -> ort.InferenceSession:
    try:
        if plan[0][0] == CPU and cache and (session := _from_cache(path, threads)):
            return session
        return ort.InferenceSession(str(path), _options(path, threads), providers=plan)
    except Exception as error:  # onnxruntime raises a dozen unrelated types, all named alike
        if plan[0][0] == CPU:
            raise ModelFormatError(
                f"{path} is not a model that onnxruntime {ort.__version__} can load: {error}"
            ) from None
        reason = str(error)
    # Is it the model or the device? The CPU tells.
    session = _load(path, plan[1:], threads, cache=cache, explicit=explicit)
    if explicit:
        raise _unavailable(f"cuda:{plan[0][1]['device_id']}", reason)
    return session


def _options(path: Path, threads: int) -> ort.SessionOptions:
    """What onnxruntime is told, beyond its defaults; measured on 2 cores with onnxruntime 1.32.

    The memory arena and its patterns stay on: without the arena a process has 10 MB less (105 of
    115) and one picture takes as long, but a batch of 8 takes 114 ms and not 66.
    """
    options = ort.SessionOptions()
    # An explicit count, or onnxruntime pins one thread to each core of the host and complains in
    # containers (pthread_setaffinity_np failed).
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Threads that wait by spinning save a millisecond (9.0 ms, not 10.1) as long as the CPUs are
    # theirs. With one neighbour at work they cost six (18.8 ms, not 12.7; p99 39 ms, not 20).
    if cpus.shared():
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # The optimised graph has the weights as the float convolutions want them. To pack those of
    # the last layer as well takes 20 ms and 21 MB, for 0.1 ms of 7.9 a run. Without it 8-bit
    # convolutions would take a fifth longer.
    if not _is_quantised(path):
        options.add_session_config_entry("session.disable_prepacking", "1")
    options.log_severity_level = 4  # what goes wrong is raised, once
    return options


def _is_quantised(path: Path) -> bool:
    """Whether a graph has 8-bit operators, by their names in the file."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as model:
            return model.find(b"DequantizeLinear") >= 0
    except (OSError, ValueError):  # not there, empty: onnxruntime says so
        return False


def _from_cache(path: Path, threads: int) -> ort.InferenceSession | None:
    """A session from the graph that was optimised for this machine, now or earlier.

    None if there can be no such graph: then the model itself is loaded.
    """
    cache, _ = graph_cache.locate()
    if cache is None:
        return None
    try:
        made_from = {
            "model": graph_cache.digest_of(path, cache),
            "onnxruntime": f"{ort.__version__} {ort.get_build_info()}",
            "cpu": cpus.features(),
            "optimisation": "all",
        }
    except OSError:
        return None
    for _ in range(2):
        graph = graph_cache.find(cache, made_from) or graph_cache.publish(
            cache, made_from, lambda graph: _optimise(path, graph, threads)
        )
        if graph is None:
            return None
        with contextlib.suppress(Exception):  # another process may have removed it
            return _optimised(graph, threads)
        graph_cache.discard(graph)
    return None


def _optimise(path: Path, graph: Path, threads: int) -> None:
    """Writes the model's optimised graph, and sees to it that it gives the same answer.

    Raises:
        whatever onnxruntime does; ValueError if the answers differ.
    """
    options = _options(path, threads)
    options.optimized_model_filepath = str(graph)
    for key, value in (
        ("file_name", graph_cache.WEIGHTS),
        ("min_size_in_bytes", "1024"),
    ):
        options.add_session_config_entry(
            f"session.optimized_model_external_initializers_{key}", value
        )
    session = ort.InferenceSession(str(path), options, providers=[CPU])
    _, height, width, channels = session.get_inputs()[0].shape
    ramp = np.linspace(0, 1, height * width * channels, dtype=np.float32)
    feed = {INPUT: ramp.reshape(1, height, width, channels)}
    expected = session.run([OUTPUT], feed)[0]
    if not np.array_equal(_optimised(graph, threads).run([OUTPUT], feed)[0], expected):
        raise ValueError("the optimised graph, loaded again, gives another answer")


def _optimised(graph: Path, threads: int) -> ort.InferenceSession:
    options = _options(graph, threads)
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(str(graph), options, providers=[CPU])


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
