"""How a model is run on a CUDA device: what costs nothing in correctness and may pay in speed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Tuning:
    """Settings of the CUDA provider and of the runs on it; the CPU has none of them.

    `benchmarks/gpu.py` measures each. The defaults are those whose answers are nearest to the
    CPU's, with nothing switched on that was not seen to pay.

    Attributes:
        batches: the sizes that runs have, ascending. A smaller batch is padded to the next of
            them, a larger one is cut: cuDNN's convolution search is exhaustive for each shape.
        graphs: replay each size as one CUDA graph, instead of launching its kernels one by one.
            onnxruntime captures one for each thread that runs, with memory of its own.
        nhwc: convolutions in NHWC, which the tensor cores work in.
        tf32: float32 convolutions with 10 bits of mantissa.
        streams: runs that may be on the device at once, so that copies overlap with work.
    """

    batches: tuple[int, ...] = (1, 4, 16, 64)
    graphs: bool = False
    nhwc: bool = False
    tf32: bool = False
    streams: int = 1

    def __post_init__(self) -> None:
        if not self.batches or list(self.batches) != sorted(set(self.batches)):
            raise ValueError(f"batches must ascend, {self.batches} do not")
        if self.batches[0] < 1 or self.streams < 1:
            raise ValueError("batches and streams must be at least 1")
        if self.graphs and self.streams > 1:
            raise ValueError("CUDA graphs are replayed on one stream only")


DEFAULT_TUNING = Tuning()
