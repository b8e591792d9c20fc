"""Runs with buffers that stay: of fixed sizes, bound to the session's input and output.

A run on a GPU that is given NumPy arrays allocates, copies through pageable memory and, for each
new shape, searches the best convolutions again. Here each batch size has its buffers on both
sides, made once; what is fewer is padded, what is more is cut.
"""

from __future__ import annotations

import queue
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from fungi_onnx import cuda
from fungi_onnx.model_file import INPUT, OUTPUT, UINT8_INPUT
from fungi_onnx.tuning import Tuning

Images = NDArray[np.float32] | NDArray[np.uint8]


class BoundSession:
    """An onnxruntime session with its buffers; several threads may run it at once.

    The runs that are on the device at the same time are as many as ``tuning.streams``; the others
    wait their turn.
    """

    def __init__(
        self, session: ort.InferenceSession, device: tuple[str, int], classes: int, tuning: Tuning
    ) -> None:
        """Makes no buffers yet: those of a size are made when it is first run.

        Args:
            session: with the input and output of the contract.
            device: onnxruntime's name for its memory and the index, such as ``("cuda", 0)``.
            classes: the number of them.
            tuning: the sizes, and how many runs at once.
        """
        self._session = session
        self._device = device
        self._picture = tuple(session.get_inputs()[0].shape[1:])
        self._classes = classes
        self._tuning = tuning
        self._lanes: queue.SimpleQueue[dict[tuple[str, int], _Buffers]] = queue.SimpleQueue()
        for _ in range(tuning.streams):
            self._lanes.put({})

    def sizes(self, most: int) -> list[int]:
        """Numbers of pictures, up to ``most``, that make runs of every size which is needed."""
        smaller = [size for size in self._tuning.batches if size < most]
        return [*smaller, most] if most <= self._tuning.batches[-1] else smaller

    def run(self, images: Images) -> NDArray[np.float32]:
        """float32 [N, height, width, 3] in [0, 1], or uint8 → float32 [N, classes]."""
        probabilities = np.empty((len(images), self._classes), np.float32)
        largest = self._tuning.batches[-1]
        lane = self._lanes.get()
        try:
            for start in range(0, len(images), largest):
                part = images[start : start + largest]
                size = next(size for size in self._tuning.batches if size >= len(part))
                key = part.dtype.name, size
                if key not in lane:
                    lane[key] = self._buffers(part.dtype, size, number=len(lane) + 1)
                probabilities[start : start + len(part)] = self._run(lane[key], part)
        finally:
            self._lanes.put(lane)
        return probabilities

    def _run(self, buffers: _Buffers, images: Images) -> NDArray[np.float32]:
        # What pads is what was there before: its answers are not looked at.
        buffers.host[: len(images)] = images
        buffers.images.update_inplace(buffers.host)
        self._session.run_with_iobinding(buffers.binding, buffers.options)
        return np.asarray(buffers.probabilities.numpy()[: len(images)], np.float32)

    def _buffers(self, kind: np.dtype[Any], size: int, number: int) -> _Buffers:
        host = np.zeros((size, *self._picture), kind)
        if self._device[0] == "cuda":
            cuda.pin(host, self._device[1])
        images = self._on_device(host.shape, kind)
        probabilities = self._on_device((size, self._classes), np.dtype(np.float32))
        binding = self._session.io_binding()
        if kind == np.uint8:
            black = self._on_device((1, *self._picture), np.dtype(np.float32))
            black.update_inplace(np.zeros((1, *self._picture), np.float32))
            binding.bind_ortvalue_input(INPUT, black)
            binding.bind_ortvalue_input(UINT8_INPUT, images)
        else:
            binding.bind_ortvalue_input(INPUT, images)
        binding.bind_ortvalue_output(OUTPUT, probabilities)
        options = ort.RunOptions()
        if self._tuning.graphs:  # one for each set of buffers, whose addresses it holds
            options.add_run_config_entry("gpu_graph_id", str(number))
        return _Buffers(host, images, probabilities, binding, options)

    def _on_device(self, shape: tuple[int, ...], kind: np.dtype[Any]) -> ort.OrtValue:
        return ort.OrtValue.ortvalue_from_shape_and_type(list(shape), kind.type, *self._device)


@dataclass(frozen=True)
class _Buffers:
    """Of one batch size and type: the pictures on both sides, the answers on the device."""

    host: NDArray[Any]
    images: ort.OrtValue
    probabilities: ort.OrtValue
    binding: ort.IOBinding
    options: ort.RunOptions
