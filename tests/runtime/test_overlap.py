"""The ordered map over threads: order, bounds, laziness, errors in their turn, a quick end."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator

import pytest

from fungi_onnx.overlap import in_order


def test_order_is_kept_when_the_early_ones_are_slow() -> None:
    def slow_first(number: int) -> int:
        time.sleep(0.05 if number % 7 == 0 else 0)
        return number

    assert list(in_order(slow_first, range(50), 4)) == list(range(50))


def test_the_work_really_overlaps() -> None:
    together = threading.Barrier(3, timeout=10)  # breaks unless three are there at once
    assert list(in_order(lambda item: (together.wait(), item)[1], range(6), 3)) == list(range(6))


def test_nothing_is_pulled_before_it_is_asked_for_nor_far_ahead() -> None:
    pulled, here = 0, threading.current_thread()

    def endless() -> Iterator[int]:
        nonlocal pulled
        for number in itertools.count():
            assert threading.current_thread() is here
            pulled += 1
            yield number

    results = in_order(lambda number: time.sleep(0.001) or number, endless(), 3, ahead=2)
    assert pulled == 0
    for number in range(40):
        assert next(results) == number
        assert number < pulled <= number + 6
    results.close()
    assert pulled <= 45


def test_a_result_that_is_ready_does_not_wait_for_more_items() -> None:
    """With a window of 80, the first result is there after a few items."""
    pulled = 0

    def slowly() -> Iterator[int]:
        nonlocal pulled
        for number in range(100):
            pulled += 1
            yield number
            time.sleep(0.02)

    results = in_order(lambda number: number, slowly(), 2, ahead=40)
    assert next(results) == 0
    assert pulled <= 3
    results.close()


def test_an_error_comes_in_its_turn_and_ends_it() -> None:
    begun = []

    def fails_at_5(number: int) -> int:
        begun.append(number)
        time.sleep(0 if number == 5 else 0.02)
        if number == 5:
            raise LookupError("the fifth")
        return number

    results = in_order(fails_at_5, range(1000), 2)
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(LookupError, match="the fifth"):
        next(results)
    assert list(results) == []
    time.sleep(0.1)
    assert len(begun) < 20


def test_an_error_of_the_items_comes_after_the_results_before_it() -> None:
    def three() -> Iterator[int]:
        yield from range(3)
        raise OSError("the list broke off")

    results = in_order(lambda number: time.sleep(0.02) or number, three(), 2)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(OSError, match="the list broke off"):
        next(results)


def test_closing_does_not_wait_for_what_runs_and_cancels_the_rest() -> None:
    release, begun = threading.Event(), []

    def stuck(number: int) -> int:
        begun.append(number)
        if number:
            release.wait(30)
        return number

    results = in_order(stuck, range(100), 2)
    assert next(results) == 0
    start = time.perf_counter()
    results.close()
    assert time.perf_counter() - start < 0.5
    seen = len(begun)
    release.set()
    time.sleep(0.1)
    assert len(begun) == seen <= 3


def test_no_items_and_no_workers() -> None:
    assert list(in_order(str, [], 2)) == []
    with pytest.raises(ValueError, match="max_workers must be greater than 0"):
        list(in_order(str, [1], 0))


def test_threads_end_with_it() -> None:
    before = threading.active_count()
    for _ in range(20):
        assert sum(in_order(int, range(100), 4)) == 4950
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() == before
