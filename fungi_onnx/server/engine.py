"""The work behind the requests: a bounded queue and the threads that decode and classify."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from fungi_onnx import selftest
from fungi_onnx.classifier import FungiClassifier
from fungi_onnx.errors import DeviceUnavailableError, ImageError
from fungi_onnx.prediction import Prediction
from fungi_onnx.server.batching import Batcher
from fungi_onnx.server.metrics import Metrics
from fungi_onnx.server.problems import ProblemError, busy
from fungi_onnx.server.settings import Settings
from fungi_onnx.views import Crop, View

Result = TypeVar("Result")
Tensor = NDArray[np.float32] | NDArray[np.uint8]
Probabilities = NDArray[np.float32]
MakesBatcher = Callable[..., Callable[[Tensor], Awaitable[tuple[Probabilities, float]]]]


@dataclass(frozen=True)
class Picture:
    """A picture file as a client sent it, with the client's name for it."""

    data: bytes
    name: str | None = None


@dataclass(frozen=True)
class Look:
    """What a client wants to know of a picture, and how it is to be looked at."""

    top_k: int
    view: View
    crop: Crop
    min_probability: float | None = None


class GoneError(Exception):
    """The client has gone; its picture was not looked at."""


class Engine:
    """Classifies for many clients at once, and refuses what it cannot take.

    It belongs to one event loop.

    Attributes:
        classifier: the model that answers; its session has one thread, and each worker uses it.
        report: the outcome of the golden probes; None until they have run.
        failure: why the device can no longer be used; None as long as it can.
        pending: pictures that were accepted and not yet answered.
    """

    def __init__(
        self,
        classifier: FungiClassifier,
        settings: Settings,
        metrics: Metrics,
        on_failure: Callable[[DeviceUnavailableError], None] = lambda _: None,
        batcher: MakesBatcher = Batcher,
    ) -> None:
        """Starts the threads.

        Args:
            classifier: the model.
            settings: how it is served.
            metrics: what is counted.
            on_failure: is told, maybe more than once and from any thread, that the device can no
                longer be used. A GPU that has failed does not come back in the same process.
            batcher: makes what gathers pictures into batches, as `Batcher` is made and called.
        """
        self.classifier = classifier
        self.report: selftest.Report | None = None
        self.failure: DeviceUnavailableError | None = None
        self.pending = 0
        self._capacity = settings.capacity
        self._timeout = settings.timeout
        self._metrics = metrics
        self._workers = ThreadPoolExecutor(settings.workers, thread_name_prefix="fungi-onnx")
        self._batch = settings.batch
        self._on_failure = on_failure
        self._batcher: Callable[[Tensor], Awaitable[tuple[Probabilities, float]]] | None = None
        if settings.batch > 1:
            parallel = 1 if classifier.device == "cpu" else classifier.parallel
            self._runner = ThreadPoolExecutor(parallel, thread_name_prefix="fungi-onnx-batch")
            self._batcher = batcher(
                self._run_batch,
                size=settings.batch,
                delay=settings.batch_delay,
                parallel=parallel,
            )
        metrics.watch("fungi_onnx_pending", "Pictures accepted.", lambda: self.pending)
        metrics.watch("fungi_onnx_capacity", "Of them at most.", lambda: self._capacity)
        metrics.watch("fungi_onnx_ready", "1 if the golden probes passed.", self._ready)

    def check_ready(self) -> selftest.Report:
        """The outcome of the golden probes, if all passed.

        Raises:
            ProblemError: 503, they are still being checked, or one failed; or the device did.
        """
        if self.failure is not None:
            raise _failed()
        if self.report is None:
            raise busy("The server is starting: the golden probes are being checked.", "Starting")
        if self.report.failure is not None:
            raise busy(self.report.failure, "ProbesFailed")
        return self.report

    def check_room(self, count: int = 1) -> None:
        """Refuses what could not be taken now.

        Raises:
            ProblemError: 503, the server is not ready, or ``count`` more would be too many.
        """
        self.check_ready()
        if self.pending + count > self._capacity:
            self._metrics.rejected.labels("queue").inc()
            raise busy("More pictures are waiting than may; try again.")

    async def probe(self) -> selftest.Report:
        """Runs the model's golden probes; before they passed, nothing else is taken."""
        loop = asyncio.get_running_loop()
        self.report = await loop.run_in_executor(self._workers, self._check)
        return self.report

    def _check(self) -> selftest.Report:
        try:
            self.classifier.warm_up(self._batch)
            return selftest.run(self.classifier)
        except DeviceUnavailableError as error:
            self._fail(error)
            raise

    async def classify(
        self, pictures: Sequence[Picture], look: Look, gone: Callable[[], bool]
    ) -> list[Prediction]:
        """A prediction for each picture, with its error if it cannot be used.

        Args:
            pictures: all are taken or none.
            look: how they are looked at.
            gone: says whether the client has left, so that nobody wants the answer.

        Raises:
            ProblemError: 503, see `check_room`, or it took longer than it may.
            GoneError: the client has gone.
        """
        async with self._admitted(len(pictures)):
            tasks = (self._classify(picture, look, gone) for picture in pictures)
            return await asyncio.gather(*tasks)

    async def work(self, job: Callable[[], Result], gone: Callable[[], bool]) -> Result:
        """The result of a job of another kind, which takes its turn as a picture does.

        Raises:
            ProblemError, GoneError: as `classify`; and what ``job`` raises.
        """
        async with self._admitted(1):
            return await self._in_turn(job, gone)

    def infer(self, images: NDArray[Any]) -> Probabilities:
        """The classifier's own call, with its time taken; for a job.

        Raises:
            ProblemError: 503, the device failed.
            TypeError, ValueError: ``images`` are not what it takes.
        """
        start = time.perf_counter()
        try:
            probabilities = self.classifier(images)
        except DeviceUnavailableError as error:
            self._fail(error)
            raise _failed() from None
        self._metrics.stage.labels("inference").observe(time.perf_counter() - start)
        self._metrics.batch.observe(len(images))
        return probabilities

    def close(self) -> None:
        """Ends the threads; what they have in hand is finished."""
        self._workers.shutdown()
        if self._batcher is not None:
            self._runner.shutdown()

    @asynccontextmanager
    async def _admitted(self, count: int) -> AsyncIterator[None]:
        self.check_room(count)
        self.pending += count
        try:
            async with asyncio.timeout(self._timeout):
                yield
        except TimeoutError:
            self._metrics.rejected.labels("time").inc()
            raise busy(f"The answer took longer than {self._timeout:g} seconds.") from None
        finally:
            self.pending -= count

    def _ready(self) -> bool:
        return self.failure is None and self.report is not None and self.report.ok

    def _fail(self, error: DeviceUnavailableError) -> None:
        self.failure = error
        self._on_failure(error)

    async def _classify(self, picture: Picture, look: Look, gone: Callable[[], bool]) -> Prediction:
        try:
            if self._batcher is None:
                return await self._in_turn(lambda: self._answer(picture, look), gone)
            tensor = await self._in_turn(lambda: self._decode(picture, look), gone)
        except ImageError as error:
            named = type(error)(picture.name or "(picture)", error.reason)
            return Prediction(picture.name, (), named)
        start = time.perf_counter()
        probabilities, begun = await self._batcher(tensor)
        self._metrics.stage.labels("queue").observe(begun - start)
        return self._prediction(picture, probabilities, look)

    async def _in_turn(self, job: Callable[[], Result], gone: Callable[[], bool]) -> Result:
        submitted = time.perf_counter()

        def begin() -> Result:
            self._metrics.stage.labels("queue").observe(time.perf_counter() - submitted)
            if gone():
                raise GoneError
            return job()

        return await asyncio.get_running_loop().run_in_executor(self._workers, begin)

    def _decode(self, picture: Picture, look: Look) -> Tensor:
        start = time.perf_counter()
        tensor = self.classifier.prepare(picture.data, view=look.view, crop=look.crop)
        self._metrics.stage.labels("decode").observe(time.perf_counter() - start)
        return tensor

    def _answer(self, picture: Picture, look: Look) -> Prediction:
        tensor = self._decode(picture, look)
        return self._prediction(picture, self.infer(tensor[np.newaxis])[0], look)

    def _prediction(self, picture: Picture, probabilities: Probabilities, look: Look) -> Prediction:
        return self.classifier.prediction(
            picture.name, probabilities, look.top_k, look.min_probability
        )

    async def _run_batch(self, tensors: list[Tensor]) -> list[tuple[Probabilities, float]]:
        loop, begun = asyncio.get_running_loop(), time.perf_counter()
        rows = await loop.run_in_executor(self._runner, lambda: self.infer(np.stack(tensors)))
        return [(row, begun) for row in rows]


def _failed() -> ProblemError:
    # Why is for the log: it has the machine's name and paths.
    return busy("The server's device has failed, and the server stops.", "DeviceFailed")
