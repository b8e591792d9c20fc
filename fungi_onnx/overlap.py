"""An ordered, bounded, lazy map over threads: decode and inference let go of Python's lock."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int, *, ahead: int = 4
) -> Iterator[Result]:
    """Yields ``function(item)`` for every item, in the items' order, computed by threads.

    Nothing begins before the first result is asked for. The items are pulled in the caller's
    thread (a database cursor stays where it was made), each at most ``workers * ahead`` before its
    result is taken, and not at all while a result lies ready: memory stays flat, whatever their
    number, and a result never waits for items to come that are not needed for it.

    When the generator is closed or an exception leaves it, what has not begun is cancelled and
    what has begun is not waited for.

    Args:
        function: called from several threads at once.
        items: any number of them.
        workers: how many threads.
        ahead: how many items for each thread may be in flight. More let the others run on past an
            item that takes long, and hold more items and results in memory.

    Raises:
        Whatever ``function`` or ``items`` raise, in its turn: after the results before it.
        ValueError: ``workers`` is less than 1.
    """
    pool = ThreadPoolExecutor(workers, thread_name_prefix="fungi-onnx")
    pending: deque[Future[Result]] = deque()
    source, failure = iter(items), None
    try:
        while True:
            try:
                item = next(source)
            except StopIteration:
                break
            except Exception as error:  # not KeyboardInterrupt: that one does not queue
                failure = error
                break
            pending.append(pool.submit(function, item))
            while pending and (len(pending) >= workers * ahead or pending[0].done()):
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
        if failure is not None:
            raise failure
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def batched(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Lists of ``size`` items, and of those that are left at the end or before a failure.

    Raises:
        Whatever ``items`` raise, in its turn.
    """
    batch: list[Item] = []
    failure = None
    source = iter(items)
    while failure is None:
        try:
            batch.append(next(source))
        except StopIteration:
            break
        except Exception as error:
            failure = error
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
    if failure is not None:
        raise failure
