"""Dynamic micro-batching: pictures that come at about the same time share a run of the model."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Batcher(Generic[Item, Result]):
    """Gathers items into batches, runs them, and gives each item its own result.

    A batch begins when it is full, or when its first item has waited for the delay; while as many
    run as may, the next ones gather. It belongs to one event loop.
    """

    def __init__(
        self,
        run: Callable[[list[Item]], Awaitable[list[Result]]],
        *,
        size: int,
        delay: float,
        parallel: int = 1,
    ) -> None:
        """Makes a batcher.

        Args:
            run: one result for each item, in their order.
            size: items in a batch at most.
            delay: seconds that the first item of a batch waits for others, at most.
            parallel: batches that run at once.
        """
        self._run = run
        self._size = size
        self._delay = delay
        self._parallel = parallel
        self._waiting: list[tuple[Item, asyncio.Future[Result]]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._running: set[asyncio.Task[None] | None] = set()

    async def __call__(self, item: Item) -> Result:
        """The item's result.

        Raises:
            Whatever ``run`` raises, for every item of the batch.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        self._waiting.append((item, future))
        if len(self._waiting) >= self._size:
            self._start()
        elif self._timer is None:
            self._timer = loop.call_later(self._delay, self._start)
        return await future

    def _start(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if len(self._running) < self._parallel and self._waiting:
            self._running.add(asyncio.get_running_loop().create_task(self._work()))

    async def _work(self) -> None:
        try:
            while batch := self._take():
                await self._answer(batch)
                if 0 < len(self._waiting) < self._size and self._timer is not None:
                    break  # those that wait have not waited long enough
        finally:
            # At once, and not when the task is done: what comes in between would wait for ever.
            self._running.discard(asyncio.current_task())

    def _take(self) -> list[tuple[Item, asyncio.Future[Result]]]:
        here = [waiting for waiting in self._waiting if not waiting[1].cancelled()]
        self._waiting = here[self._size :]
        return here[: self._size]

    async def _answer(self, batch: list[tuple[Item, asyncio.Future[Result]]]) -> None:
        try:
            results = await self._run([item for item, _ in batch])
            pairs = list(zip(batch, results, strict=True))
        except Exception as error:
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), result in pairs:
            if not future.done():
                future.set_result(result)
