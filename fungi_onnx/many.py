"""Many pictures through a session: in order, lazily, with the devices kept busy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from fungi_onnx.errors import ImageError
from fungi_onnx.image import ImageInput, name_of
from fungi_onnx.overlap import batched, in_order

if TYPE_CHECKING:
    from fungi_onnx.bound import Images
    from fungi_onnx.pool import Pool
    from fungi_onnx.session import Session

Result = TypeVar("Result")
# What a picture came to, with its name: a row of probabilities, or its error.
Finish = Callable[[str | None, NDArray[np.float32] | ImageError], Result]


def one_by_one(
    images: Iterable[ImageInput],
    prepare: Callable[[ImageInput], Images],
    session: Session | Pool,
    finish: Finish[Result],
    workers: int,
) -> Iterator[Result]:
    """What ``finish`` makes of each picture; threads decode, classify and finish."""

    def attempt(image: ImageInput) -> Result:
        found: NDArray[np.float32] | ImageError
        try:
            found = session.run(prepare(image)[np.newaxis])[0]
        except ImageError as error:
            found = error
        return finish(name_of(image), found)

    return in_order(attempt, images, workers)


def in_batches(
    images: Iterable[ImageInput],
    prepare: Callable[[ImageInput], Images],
    session: Session | Pool,
    finish: Finish[Result],
    workers: int,
) -> Iterator[Result]:
    """The same; threads decode, the devices take what they made in full batches."""

    def attempt(image: ImageInput) -> tuple[str | None, Any]:
        name = name_of(image)
        try:
            return name, prepare(image)
        except ImageError as error:
            return name, error

    def answer(batch: list[tuple[str | None, Any]]) -> list[Result]:
        tensors = [found for _, found in batch if not isinstance(found, ImageError)]
        rows = iter(session.run(np.stack(tensors)) if tensors else ())
        return [
            finish(name, found if isinstance(found, ImageError) else next(rows))
            for name, found in batch
        ]

    # Two batches are decoded while the devices run theirs and one more is being stacked.
    ahead = max(4, -(-2 * session.batch // workers))
    prepared = in_order(attempt, images, workers, ahead=ahead)
    batches = batched(prepared, session.batch)
    for results in in_order(answer, batches, session.parallel + 1, ahead=1):
        yield from results
