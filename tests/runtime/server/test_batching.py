"""The micro-batcher alone: who shares a run with whom, and when."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from fungi_onnx.server.batching import Batcher


class Runs:
    """Doubles numbers, and remembers the batches; each run ends when it is let go."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.go = asyncio.Event()
        self.go.set()

    async def __call__(self, numbers: list[int]) -> list[int]:
        self.batches.append(numbers)
        await self.go.wait()
        if -1 in numbers:
            raise ValueError("-1 brings bad luck")
        return [2 * number for number in numbers]


def run(scenario: Callable[[], Any]) -> None:
    asyncio.run(asyncio.wait_for(scenario(), 10))


def test_a_full_batch_begins_at_once() -> None:
    async def scenario() -> None:
        runs = Runs()
        batcher = Batcher(runs, size=4, delay=1000)
        assert await asyncio.gather(*map(batcher, range(8))) == [0, 2, 4, 6, 8, 10, 12, 14]
        assert runs.batches == [[0, 1, 2, 3], [4, 5, 6, 7]]

    run(scenario)


def test_one_alone_waits_for_the_delay_only() -> None:
    async def scenario() -> None:
        runs = Runs()
        batcher = Batcher(runs, size=4, delay=0.05)
        loop = asyncio.get_running_loop()
        start = loop.time()
        assert await batcher(1) == 2
        assert 0.04 < loop.time() - start < 5
        assert runs.batches == [[1]]

    run(scenario)


def test_while_a_batch_runs_the_next_one_gathers() -> None:
    async def scenario() -> None:
        runs = Runs()
        runs.go.clear()
        batcher = Batcher(runs, size=2, delay=0.01)
        tasks = [asyncio.create_task(batcher(number)) for number in range(7)]
        await asyncio.sleep(0.1)
        assert runs.batches == [[0, 1]]
        runs.go.set()
        assert await asyncio.gather(*tasks) == [0, 2, 4, 6, 8, 10, 12]
        assert runs.batches == [[0, 1], [2, 3], [4, 5], [6]]

    run(scenario)


def test_those_that_came_late_have_their_own_delay() -> None:
    async def scenario() -> None:
        runs = Runs()
        runs.go.clear()
        batcher = Batcher(runs, size=2, delay=0.3)
        first = [asyncio.create_task(batcher(number)) for number in (1, 2)]
        await asyncio.sleep(0.01)
        late = asyncio.create_task(batcher(3))
        await asyncio.sleep(0.01)
        runs.go.set()
        await asyncio.gather(*first)
        await asyncio.sleep(0.05)
        assert runs.batches == [[1, 2]]  # 3 still waits for company
        assert await asyncio.gather(late, batcher(4)) == [6, 8]
        assert runs.batches == [[1, 2], [3, 4]]

    run(scenario)


def test_an_error_is_everybody_s_and_the_next_batch_goes_on() -> None:
    async def scenario() -> None:
        batcher = Batcher(Runs(), size=2, delay=0.01)
        results = await asyncio.gather(*map(batcher, [1, -1, 3, 4]), return_exceptions=True)
        assert [str(result) for result in results[:2]] == ["-1 brings bad luck"] * 2
        assert results[2:] == [6, 8]

    run(scenario)


def test_a_run_that_forgets_someone_is_an_error_too() -> None:
    async def scenario() -> None:
        async def forgetful(numbers: list[int]) -> list[int]:
            return numbers[1:]

        batcher = Batcher(forgetful, size=2, delay=0.01)
        results = await asyncio.gather(batcher(1), batcher(2), return_exceptions=True)
        assert all(isinstance(result, ValueError) for result in results)

    run(scenario)


def test_who_has_gone_takes_no_place() -> None:
    async def scenario() -> None:
        runs = Runs()
        runs.go.clear()
        batcher = Batcher(runs, size=2, delay=0.01)
        tasks = [asyncio.create_task(batcher(number)) for number in range(6)]
        await asyncio.sleep(0.05)
        for gone in (0, 2, 3, 4):
            tasks[gone].cancel()
        await asyncio.sleep(0)
        runs.go.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [results[1], results[5]] == [2, 10]
        assert all(isinstance(results[n], asyncio.CancelledError) for n in (0, 2, 3, 4))
        assert runs.batches == [[0, 1], [5]]

    run(scenario)


def test_as_many_run_at_once_as_may() -> None:
    async def scenario() -> None:
        runs = Runs()
        runs.go.clear()
        batcher = Batcher(runs, size=2, delay=0.01, parallel=2)
        tasks = [asyncio.create_task(batcher(number)) for number in range(7)]
        await asyncio.sleep(0.1)
        assert runs.batches == [[0, 1], [2, 3]]
        runs.go.set()
        assert await asyncio.gather(*tasks) == [0, 2, 4, 6, 8, 10, 12]
        assert runs.batches == [[0, 1], [2, 3], [4, 5], [6]]

    run(scenario)


@pytest.mark.parametrize("parallel", [1, 3])
@pytest.mark.parametrize("count", [1, 7, 100])
def test_everybody_gets_an_answer_whatever_the_timing(count: int, parallel: int) -> None:
    async def scenario() -> None:
        runs = Runs()
        batcher = Batcher(runs, size=5, delay=0.001, parallel=parallel)

        async def come(number: int) -> int:
            await asyncio.sleep(number % 7 / 1000)
            return await batcher(number)

        results = await asyncio.gather(*(come(number) for number in range(count)))
        assert results == [2 * number for number in range(count)]
        assert all(len(batch) <= 5 for batch in runs.batches)

    run(scenario)
