"""Many pictures into a file of results, which a later run can go on with."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from fungi_onnx import __version__
from fungi_onnx.classifier import FungiClassifier
from fungi_onnx.limits import Limits
from fungi_onnx.model_path import sha256_of
from fungi_onnx.progress import Progress, duration, rate
from fungi_onnx.results import Done, Results


class Stop(KeyboardInterrupt):
    """A signal asked the run to stop; ``number`` is the signal's."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


@contextlib.contextmanager
def stopped_by_sigterm() -> Iterator[None]:
    """Makes SIGTERM stop what is done inside, in the main thread, as Ctrl-C does."""

    def stop(number: int, _: object) -> None:
        raise Stop(number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@dataclass(frozen=True)
class Summary:
    """What a run came to.

    Attributes:
        results: the file.
        pictures: rows in it.
        already: those of them that were there before.
        failed: how many of all rows have an error, by its type.
        total: how many pictures there are, if that is known.
        seconds: how long the run took.
        stopped_by: the signal that ended it early, or None.
    """

    results: str
    pictures: int
    already: int
    failed: dict[str, int]
    total: int | None
    seconds: float
    stopped_by: int | None

    def to_dict(self) -> dict[str, Any]:
        """As JSON's types, with the rate of this run."""
        new = self.pictures - self.already
        return {**asdict(self), "per_second": new / self.seconds if self.seconds else 0.0}

    def __str__(self) -> str:
        failed = sum(self.failed.values())
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(self.failed.items()))
        if self.stopped_by is not None:
            of = f" of {self.total:,}" if self.total else ""
            return f"stopped: {self.pictures:,}{of} done; go on with --resume"
        new = self.pictures - self.already
        took = f"{self.seconds:.1f} s" if self.seconds < 60 else duration(self.seconds)
        text = f"{new:,} picture{'' if new == 1 else 's'} in {took} ({rate(new, self.seconds)})"
        if self.already:
            text = f"{text if new else 'nothing new'}, {self.already:,} were there already"
        text += f", {failed:,} failed ({kinds})" if failed else ", none failed"
        return f"{text}: {self.results}"


def description(
    classifier: FungiClassifier,
    source: str,
    top_k: int,
    min_probability: float | None,
    limits: Limits,
    allow_truncated: bool,
) -> dict[str, Any]:
    """What makes the results, as `Results` wants it, with the model's terms.

    Args:
        classifier: its model, view, crop, temperature and device.
        source: the folder, of which the names in the results depend, or a list or ``-``.
        top_k, min_probability, limits, allow_truncated: the other options that answers depend on.
    """
    terms = classifier.model.terms
    return {
        "made_by": {
            "fungi-onnx": __version__,
            "model": classifier.model.name,
            "model SHA-256": sha256_of(classifier.path),
            "device": classifier.device.partition(":")[0],
            "folder": os.path.normpath(source) if os.path.isdir(source) else None,
            "top_k": top_k,
            "min_probability": min_probability,
            "temperature": classifier.temperature,
            "view": classifier.view,
            "crop": classifier.crop,
            **asdict(limits),
            "allow_truncated": allow_truncated,
        },
        "licence": terms.licence,
        "unsuitable": list(terms.unsuitable),
        "limits": list(terms.limits),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def run(
    classifier: FungiClassifier,
    bursts: Iterable[Iterator[str]],
    results: Results,
    progress: Progress,
    *,
    top_k: int = 5,
    min_probability: float | None = None,
    workers: int | None = None,
) -> Summary:
    """Classifies pictures and writes a row for each, in their order.

    Pictures that have their row already are passed over, each as often as it has one.

    Args:
        classifier: the model.
        bursts: names, as of `fungi_onnx.listing.bursts`: the rows of a burst are all written
            before the next one is waited for.
        results: where the rows go.
        progress: is told of each.
        top_k, min_probability, workers: as of `FungiClassifier.classify_many`.

    Returns:
        The summary; also after a KeyboardInterrupt, when what is finished has been written.

    Raises:
        SourceError: the names cannot be read any further.
        ResultsWriteError: the disk is full, for example.
    """

    def rows() -> Iterator[int]:
        for names in bursts:
            wanted = left(names, results.done)
            for prediction in classifier.classify_many(
                wanted, top_k, workers=workers, min_probability=min_probability
            ):
                results.append(prediction)
                yield 1

    return collect(rows(), results, progress)


class Output(Protocol):
    """What rows are written to.

    Attributes:
        path: where it is.
        done: the pictures that had their row before.
        failed: how many rows have an error, by its type.
    """

    path: str
    done: Done
    failed: Counter[str]

    def finish(self) -> None:
        """Makes it whole: there are no more rows to come."""
        ...


def collect(rows: Iterator[int], results: Output, progress: Progress) -> Summary:
    """Does the work that ``rows`` stands for, and counts it.

    Args:
        rows: appends to ``results``, and yields how many rows it appended.
        results: is finished at the end.
        progress: is told of each, and closed.

    Returns, Raises:
        As `run`.
    """
    start, new, stopped_by = time.perf_counter(), 0, None
    try:
        for count in rows:
            new += count
            progress.step(results.failed.total(), count)
        results.finish()
    except KeyboardInterrupt as stop:
        stopped_by = stop.number if isinstance(stop, Stop) else int(signal.SIGINT)
    finally:
        progress.close()
    return Summary(
        results=results.path,
        pictures=results.done.rows + new,
        already=results.done.rows,
        failed=dict(results.failed),
        total=progress.total,
        seconds=time.perf_counter() - start,
        stopped_by=stopped_by,
    )


def left(names: Iterator[str], done: Done) -> Iterator[str]:
    """The names that have no row yet; each is passed over as often as it has one."""
    return (name for name in names if not done.take(name)) if done.rows else names
