"""A variant in a process of its own, that compares its answers and times it.

So each has the GPU's memory to itself, PyTorch's CUDA libraries do not meet onnxruntime's, and a
CUDA context that fails, which does not recover, ends with its process.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from gpu_peers.pictures import Materials
from gpu_peers.variants import COMPARED, Variant
from numpy.typing import NDArray

SETS = 4  # different inputs in turn, each this much further into the pictures:
_STEP = 24
_WINDOW = 0.1  # seconds


class WorkerError(RuntimeError):
    """What went wrong in the other process, in one line."""


class Worker:
    """The parent's end; used in a ``with``."""

    def __init__(self, variant: Variant, materials: Materials, largest: int) -> None:
        """Starts the process, which begins to load.

        Args:
            variant: what it runs.
            materials: what it is shown.
            largest: batch that will be asked for.
        """
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        form = materials.form(uint8=variant.uint8)
        self._process = context.Process(target=_serve, args=(theirs, variant, form, largest))
        self._process.start()
        theirs.close()

    def ask(self, what: str, *arguments: Any, patience: float = 240) -> Any:
        """Calls a method of `_Bench` over there.

        Raises:
            WorkerError: it raised something, died, or took longer than ``patience`` seconds.
        """
        try:
            self._connection.send((what, arguments))
            if not self._connection.poll(patience):
                raise WorkerError(f"no answer within {patience:.0f} s")
            problem, value = self._connection.recv()
        except (EOFError, BrokenPipeError, ConnectionResetError):
            self._process.join(10)
            code = self._process.exitcode
            raise WorkerError(f"its process ended, exit code {code}") from None
        if problem:
            raise WorkerError(problem)
        return value

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()  # upon which it ends by itself
        self._process.join(10)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


class _Bench:
    """What is done in the process."""

    def __init__(
        self, variant: Variant, form: tuple[NDArray[Any], NDArray[np.float32]], largest: int
    ) -> None:
        self._variant = variant
        self._pictures, self._expected = form
        # Consecutive, so that a set is a view and nothing is copied for a call.
        self._order = np.arange(largest + SETS * _STEP) % len(self._pictures)
        self._shown = self._pictures[self._order]
        self._run = variant.load()
        self._pool = ThreadPoolExecutor(variant.threads)

    def compare(self) -> dict[str, Any]:
        """Largest and mean |Δp| and top-1 agreement, on all pictures."""
        parts = range(0, len(self._pictures), COMPARED)
        found = np.concatenate([self._run(self._pictures[k : k + COMPARED]) for k in parts])
        difference = np.abs(found.astype(np.float64) - self._expected)
        largest = float(difference.max()) if np.isfinite(found).all() else float("nan")
        agreement = float((found.argmax(1) == self._expected.argmax(1)).mean())
        return {
            "max_difference": largest,
            "mean_difference": float(difference.mean()),
            "top1_agreement": agreement,
            "gate": str(self._variant.gate),
            "passed": self._variant.gate.holds(largest, agreement),
        }

    def measure(self, size: int, windows: int) -> dict[str, Any]:
        """Images a second in each window, milliseconds of calls one after the other.

        The answers at this size are compared first: its convolutions may be other ones.
        """
        begun = time.perf_counter()
        self._run(self._set(size, 0))  # searches for convolutions, captures graphs, compiles
        first = time.perf_counter() - begun
        largest = max(self._difference(size, number) for number in range(SETS))
        if not self._variant.gate.holds(largest, 1.0):
            return {"problem": f"WRONG: max |Δp| {largest:.2g}", "max_difference": largest}
        self._in_turn(size, 2 * self._variant.threads)
        each = min(self.calls(size, 3)) / 1e3
        number = int(np.clip(0.5 / each, 10, 400)) if size == 1 else int(np.clip(0.2 / each, 3, 20))
        calls = self.calls(size, number)
        rates = [self.rate(size, max(_WINDOW, 3 * each)) for _ in range(windows)]
        p50, p90, p99 = (float(value) for value in np.percentile(calls, (50, 90, 99)))
        return {
            "images_per_second": float(np.median(rates)),
            "smallest": min(rates),
            "largest": max(rates),
            "ms": {"p50": p50, "p90": p90, "p99": p99, "calls": len(calls)},
            "first_call_s": first,
            "max_difference": largest,
        }

    def calls(self, size: int, number: int) -> list[float]:
        """Milliseconds of so many calls, one after the other."""
        taken = []
        for k in range(number):
            images = self._set(size, k)
            start = time.perf_counter()
            self._run(images)
            taken.append((time.perf_counter() - start) * 1e3)
        return taken

    def rate(self, size: int, seconds: float) -> float:
        """Images a second, of as many threads as the variant is for."""
        each = self._in_turn(size, self._variant.threads) / self._variant.threads
        number = max(2 * self._variant.threads, round(seconds / each))
        return number * size / self._in_turn(size, number)

    def _in_turn(self, size: int, number: int) -> float:
        """Seconds of so many calls, by all threads."""
        start = time.perf_counter()
        if self._variant.threads == 1:
            # In the thread of all other calls: onnxruntime has CUDA graphs for each thread.
            for k in range(number):
                self._run(self._set(size, k))
        else:
            list(self._pool.map(lambda k: self._run(self._set(size, k)), range(number)))
        return time.perf_counter() - start

    def _set(self, size: int, number: int) -> NDArray[Any]:
        start = number % SETS * _STEP
        return self._shown[start : start + size]

    def _difference(self, size: int, number: int) -> float:
        """The largest |Δp| of a set's answers; NaN if one is not finite."""
        start = number % SETS * _STEP
        expected = self._expected[self._order[start : start + size]]
        return float(np.abs(self._run(self._set(size, number)) - expected).max())


def problem_of(error: BaseException) -> str:
    """An error in one line."""
    if isinstance(error, WorkerError):
        return str(error)
    line = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {line if len(line) <= 300 else f'{line[:300]} ...'}"


def _serve(
    connection: Connection,
    variant: Variant,
    form: tuple[NDArray[Any], NDArray[np.float32]],
    largest: int,
) -> None:
    """Loads, then answers until the other end is closed."""
    bench, problem = None, ""
    try:
        bench = _Bench(variant, form, largest)
    except Exception as error:  # of onnxruntime, PyTorch, CUDA
        problem = problem_of(error)
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError, KeyboardInterrupt):
        while True:
            what, arguments = connection.recv()
            answer = problem, None
            try:
                if not problem:
                    answer = "", getattr(bench, what)(*arguments)
            except Exception as error:  # likewise; out of memory, above all
                answer = problem_of(error), None
            connection.send(answer)
