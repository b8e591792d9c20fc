"""What the exporter asks of an original, whatever its format.

Which image tensors go in, which vectors come out, and what comes out for these pictures.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.float32]


@dataclass(frozen=True)
class Tensor:
    """A named input or output; open dimensions are None, an unknown rank is no shape at all."""

    key: str
    dtype: str
    shape: tuple[int | None, ...] | None

    def __str__(self) -> str:
        if self.shape is None:
            return f"{self.key}: {self.dtype} of unknown shape"
        sizes = ", ".join("?" if size is None else str(size) for size in self.shape)
        return f"{self.key}: {self.dtype} [{sizes}]"

    @property
    def takes_images(self) -> bool:
        """A batch of RGB pictures, NHWC."""
        numbers = self.dtype in {"float32", "uint8", "int8"}
        return numbers and self.shape is not None and len(self.shape) == 4 and self.shape[3] == 3

    @property
    def gives_vectors(self) -> bool:
        """One vector a picture, of known length."""
        return self.shape is not None and len(self.shape) == 2 and (self.shape[1] or 0) > 1


@dataclass(frozen=True)
class Signature:
    """A way to call the original."""

    name: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


@dataclass(frozen=True)
class Facts:
    """What an original declares about itself.

    Attributes:
        signatures: the ways to call it.
        reference: the program that runs it, with its version.
        image_size: (height, width) from the ImageModuleInfo attachment, if it has one.
        standin: what the module says of itself if it is a stand-in.
        quantised: 8-bit inside and out, so that answers come in steps.
        noisy: fake-quantised, so that it changes its own answers when its input moves by 1e-7.
    """

    signatures: tuple[Signature, ...]
    reference: str
    image_size: tuple[int, int] | None = None
    standin: str | None = None
    quantised: bool = False
    noisy: bool = False


class Original(Protocol):
    """A module that can be asked and run."""

    facts: Facts

    def outputs(self, signature: str, images: Images) -> dict[str, NDArray[np.float32]]:
        """Every vector output of a signature, float32 [N, length], for pictures in [0, 1]."""
        ...

    def step(self, signature: str, key: str) -> float:
        """The step of a quantised output; 0 for a float one."""
        ...


def batches(images: Images, fixed: int | None, size: int = 16) -> Iterator[Images]:
    """Cuts pictures into batches; a fixed batch size is kept by repeating the last picture."""
    size = fixed or size
    for start in itertools.count(0, size):
        part = images[start : start + size]
        if len(part) == 0:
            return
        if fixed and len(part) < fixed:
            part = np.concatenate([part, np.repeat(part[-1:], fixed - len(part), axis=0)])
        yield part
