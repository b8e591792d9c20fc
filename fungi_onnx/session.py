"""The onnxruntime session: one model on one device, and the truth about which device that is."""

from __future__ import annotations

import contextlib
import functools
import logging
import mmap
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from fungi_onnx import cpus, cuda, graph_cache
from fungi_onnx.bound import BoundSession, Images
from fungi_onnx.errors import DeviceUnavailableError, ModelFormatError
from fungi_onnx.image import to_levels
from fungi_onnx.model_file import INPUT, OUTPUT, UINT8_INPUT
from fungi_onnx.tuning import DEFAULT_TUNING, Tuning

CPU = "CPUExecutionProvider"

logger = logging.getLogger("fungi_onnx")


class Session:
    """A loaded model.

    Attributes:
        device: where it really runs: ``"cpu"``, ``"cuda:0"``, ...
        threads: intra-op threads on the CPU.
        metadata: the file's ``metadata_props``.
        uint8: whether `run` takes pictures as whole levels, too.
        batch: how many pictures a run has at most; more are cut into several runs.
        parallel: how many runs at once keep a GPU busy; on the CPU each thread may have its own.
    """

    def __init__(
        self,
        path: Path,
        device: str = "auto",
        threads: int | None = None,
        *,
        cache: bool = False,
        tuning: Tuning = DEFAULT_TUNING,
    ) -> None:
        """Loads the model.

        Args:
            path: an ONNX file with the input and output of the contract.
            device: ``"cpu"``, ``"cuda"``, ``"cuda:N"``, or ``"auto"``: CUDA if the model can be
                loaded there, else the CPU, which the log then says. A device that is named is
                never replaced by another.
            threads: CPU threads; by default the number of CPUs this process may use.
            cache: load the graph that was optimised for this machine, and keep it for the next
                time, in the user's cache folder (see `fungi_onnx.graph_cache`).
            tuning: how it is run on a GPU.

        Raises:
            DeviceUnavailableError: the named device cannot run the model here.
            ModelFormatError: the file is not a model that onnxruntime can load.
            ValueError: ``device`` or ``threads`` is not one of the above.
        """
        if threads is not None and threads < 1:
            raise ValueError(f"threads must be at least 1, not {threads}")
        self.threads = threads or cpus.available()
        kind, index = parse_device(device)
        found, problem = None, None
        if kind != "cpu":
            found, problem = _load_on_gpu(path, index, self.threads, tuning)
            if found is None and kind == "cuda":
                # Is it the model or the device? The CPU tells.
                _load(path, self.threads, cache=cache)
                raise _unavailable(device, problem)
        self.device = "cpu" if found is None else f"cuda:{index}"
        self._session = found or _load(path, self.threads, cache=cache)
        if problem:
            say_why_not_cuda(problem)
        self.metadata: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)
        self.uint8 = UINT8_INPUT in [
            tensor.name for tensor in self._session.get_overridable_initializers()
        ]
        self.batch, self.parallel = 1, self.threads
        self._bound: BoundSession | None = None
        if found is not None:
            self.batch, self.parallel = tuning.batches[-1], tuning.streams
            classes = self.shapes()[1][-1]
            self._bound = BoundSession(self._session, ("cuda", index), classes, tuning)

    @property
    def sessions(self) -> tuple[Session, ...]:
        """Itself: one device."""
        return (self,)

    def shapes(self) -> tuple[list[Any], list[Any]]:
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

    def warm_up(self, most: int) -> None:
        """Runs each batch size up to ``most`` on a GPU, so that no later run is the first of one.

        Raises:
            DeviceUnavailableError: the GPU failed.
        """
        if self._bound is not None:
            height, width = self.shapes()[0][1:3]
            pictures = np.zeros((most, height, width, 3), np.float32)
            for size in self._bound.sizes(most):
                self.run(to_levels(pictures[:size]) if self.uint8 else pictures[:size])

    def run(self, images: Images) -> NDArray[np.float32]:
        """The model's answers.

        Args:
            images: float32 [N, height, width, 3] in [0, 1]; or, if `uint8`, whole levels, uint8.

        Returns:
            float32 [N, classes].

        Raises:
            DeviceUnavailableError: the GPU failed.
        """
        if self._bound is not None:
            try:
                return self._bound.run(images)
            except Exception as error:  # onnxruntime raises a dozen unrelated types
                index = int(self.device.partition(":")[2])
                raise _unavailable(self.device, cuda.reason(index, str(error))) from None
        feed: dict[str, Images] = {INPUT: images}
        if images.dtype == np.uint8:
            feed = {INPUT: np.zeros((1, *images.shape[1:]), np.float32), UINT8_INPUT: images}
        (probabilities,) = self._session.run([OUTPUT], feed)
        return np.asarray(probabilities, np.float32)


def parse_device(device: str) -> tuple[str, int]:
    """``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:N"``, as its kind and the GPU's index.

    Raises:
        ValueError: it is none of these.
    """
    match = re.fullmatch(r"(auto|cpu|cuda)(?::([0-9]{1,3}))?", device)
    if match is None or (match[2] is not None and match[1] != "cuda"):
        raise ValueError(f"device must be 'auto', 'cpu', 'cuda' or 'cuda:N', not '{device}'")
    return match[1], int(match[2] or 0)


@functools.cache  # once is enough
def say_why_not_cuda(problem: str) -> None:
    """Tells the log that ``device="auto"`` is the CPU: loudly where CUDA was installed."""
    level = logging.WARNING if "onnxruntime-gpu" in cuda.packages() else logging.INFO
    logger.log(level, "device 'auto' is the CPU: %s", problem)


def _load(path: Path, threads: int, *, cache: bool) -> ort.InferenceSession:
    """A session on the CPU.

    Raises:
        ModelFormatError: the file is not a model that onnxruntime can load.
    """
    try:
        if cache and (session := _from_cache(path, threads)):
            return session
        return ort.InferenceSession(str(path), _options(path, threads), providers=[CPU])
    except Exception as error:  # onnxruntime raises a dozen unrelated types, all named alike
        raise ModelFormatError(
            f"{path} is not a model that onnxruntime {ort.__version__} can load: {error}"
        ) from None


def _load_on_gpu(
    path: Path, index: int, threads: int, tuning: Tuning
) -> tuple[ort.InferenceSession | None, str]:
    """A session on a GPU; or None and why there is none, and what mends it."""
    if problem := cuda.package_problem():
        return None, problem
    cuda.preload()
    options = _options(path, threads)
    # Here it does not only save time: weights for convolutions in NHWC are transposed by it.
    options.add_session_config_entry("session.disable_prepacking", "0")
    try:
        session = ort.InferenceSession(
            str(path),
            options,
            providers=[(cuda.PROVIDER, cuda.provider_options(index, tuning)), CPU],
            enable_fallback=0,  # by itself it prints, and takes the CPU
        )
    except Exception as error:  # as above
        return None, cuda.reason(index, str(error))
    # Where the provider's library cannot be loaded onnxruntime goes on with the CPU all the same.
    if session.get_providers()[0] != cuda.PROVIDER:
        return None, cuda.reason(index)
    session.disable_fallback()  # nor may a run that fails
    return session, ""


def _unavailable(device: str, reason: str) -> DeviceUnavailableError:
    return DeviceUnavailableError(
        f"device '{device}' was asked for and cannot run the model here: {reason}"
        " (fungi-onnx doctor shows the whole chain)"
    )


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
