"""The same work on a Ray cluster: Ray Data for archives of pictures.

Ray moves the work; what a row is, and which rows are there, is decided where a single machine
decides it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import re
import socket
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from fungi_onnx import blocks, bulk, cpus, parquet, storage
from fungi_onnx.classifier import FungiClassifier
from fungi_onnx.errors import (
    ClusterError,
    DeviceUnavailableError,
    FungiOnnxError,
    ModelFormatError,
    SourceError,
)
from fungi_onnx.image import DEFAULT_LIMITS
from fungi_onnx.limits import Limits
from fungi_onnx.parts import Parts
from fungi_onnx.progress import Progress
from fungi_onnx.quiet import decoders_silenced
from fungi_onnx.storage import Storage, told
from fungi_onnx.views import DEFAULT_VIEW, Crop, View

try:
    import pyarrow as pa
    import ray
    from ray.data import ActorPoolStrategy, DataContext, Dataset
    from ray.exceptions import RayError
except ModuleNotFoundError as missing:
    raise SourceError(
        f"this needs {missing.name}: pip install 'fungi-onnx[ray]', on each machine of the cluster"
    ) from None


@dataclasses.dataclass(frozen=True)
class Look:
    """How pictures are looked at, and how many classes a row has: as of `FungiClassifier`."""

    top_k: int = 5
    view: View = DEFAULT_VIEW
    crop: Crop = "whole"
    limits: Limits = DEFAULT_LIMITS
    allow_truncated: bool = False

    def classifier(
        self, model: str | os.PathLike[str] | None, device: str = "cpu"
    ) -> FungiClassifier:
        """A classifier that looks so, with a session of one thread: each worker thread uses it."""
        return FungiClassifier(
            model,
            device=device,
            threads=1,
            view=self.view,
            crop=self.crop,
            limits=self.limits,
            allow_truncated=self.allow_truncated,
        )


DEFAULT_LOOK = Look()


@dataclasses.dataclass(frozen=True)
class _Job:
    """What a worker needs besides the model."""

    name: str
    look: Look
    storage: Storage
    folder: str
    witness: str | None
    device: str
    workers: int


class _Worker:
    """An actor: one session, which classifies block after block."""

    def __init__(self, model: Any, job: _Job) -> None:
        with contextlib.suppress(OSError):  # names may all be addresses
            os.chdir(job.folder)
        if job.witness is not None and not os.path.lexists(job.witness):
            raise SourceError(
                f"{job.witness}: is not there on {ray.util.get_node_ip_address()}: all machines of"
                " the cluster must see the pictures in the same place"
            )
        with tempfile.TemporaryDirectory(prefix="fungi-onnx-") as folder:
            path = Path(folder, job.name)
            path.write_bytes(ray.get(model))
            self._classifier = job.look.classifier(path, job.device)
        self._job = job

    def __call__(self, block: pa.Table) -> pa.Table:
        job, names = self._job, []
        blocks.check(block)

        def images() -> Iterator[Any]:
            for name, image in blocks.pictures(block, job.storage, job.look.limits):
                names.append(name)
                yield image

        with decoders_silenced():
            predictions = self._classifier.classify_many(
                images(), job.look.top_k, workers=job.workers
            )
            rows = [
                dataclasses.replace(prediction, image=names[number]).to_dict()
                for number, prediction in enumerate(predictions)
            ]
        return pa.Table.from_batches([parquet.record_batch(rows)])


def classify(
    source: Dataset | Iterable[str | os.PathLike[str]],
    model: str | os.PathLike[str] | None = None,
    *,
    concurrency: int | tuple[int, int] | None = None,
    num_cpus: int = 1,
    num_gpus: float = 0,
    look: Look = DEFAULT_LOOK,
) -> Dataset:
    """Classifies pictures on the Ray cluster that this process is connected to, lazily.

    Args:
        source: paths and addresses (``s3://bucket/a.jpg``); or a dataset with the column ``bytes``
            or ``path`` or both, as ``ray.data.read_binary_files(..., include_paths=True)`` makes
            it. Local paths must be the same on all machines.
        model: as of `FungiClassifier`, on this machine: the others get it from here.
        concurrency: how many workers, each with one session; or at least and at most how many. By
            default as many as the cluster has CPUs or GPUs for.
        num_cpus: CPUs of each worker: threads that decode and, without a GPU, classify.
        num_gpus: GPUs of each worker: 0, or 1, or a fraction, for workers that share one.
        look: how pictures are looked at.

    Returns:
        A dataset with the columns ``image``, ``top``, ``error_type`` and ``error_message``, as
        `fungi_onnx.parquet` has them. ``image`` is the path, or empty. A picture that cannot be
        used is a row with an error.

    Raises:
        ModelNotFoundError, ModelFormatError: as of `FungiClassifier`.
        ValueError: an argument is none of the above.
        When the dataset is worked through, ``ray.exceptions.RayError``, whose text ends with that
        of a SourceError (storage refuses, or a machine does not see the pictures) or of a
        DeviceUnavailableError: Ray passes them on as text.
    """
    checked = look.classifier(model)
    pool = _concurrency(concurrency, num_cpus, num_gpus)
    witness = None
    if not isinstance(source, Dataset):
        names = [os.fspath(name) for name in source]
        witness = _witness(names)
        source = _dataset(blocks.of_names(names, pool[1]))
    return _classified(
        source,
        checked.path,
        _Job(
            name=checked.path.name,
            look=look,
            storage=Storage(),
            folder=os.getcwd(),
            witness=witness,
            device="cuda" if num_gpus else "cpu",
            workers=num_cpus,
        ),
        pool,
        num_gpus,
    )


def _classified(
    source: Dataset, model: Path, job: _Job, pool: tuple[int, int], num_gpus: float
) -> Dataset:
    return source.map_batches(
        _Worker,
        # Once, into the object store: each machine fetches it once from there.
        fn_constructor_args=[ray.put(model.read_bytes()), job],
        batch_size=512 if num_gpus else None,  # None: block by block
        batch_format="pyarrow",
        compute=ActorPoolStrategy(min_size=pool[0], max_size=pool[1]),
        num_cpus=job.workers,
        num_gpus=num_gpus or None,
        udf_modifying_row_count=False,
    )


def _dataset(found: Iterable[pa.Table]) -> Dataset:
    return ray.data.from_arrow_refs([ray.put(block) for block in found])


def _witness(names: Iterable[str]) -> str | None:
    """A local picture that is there: who does not see it sees none."""
    local = (name for name in names if not storage.is_address(name))
    return next((name for name in local if os.path.exists(name)), None)


def _concurrency(
    concurrency: int | tuple[int, int] | None, num_cpus: int, num_gpus: float
) -> tuple[int, int]:
    if isinstance(concurrency, int):
        concurrency = (concurrency, concurrency)
    if concurrency is None:
        has = ray.cluster_resources()
        fits = int(has.get("CPU", 0) // num_cpus)
        if num_gpus:
            fits = min(fits, int(has.get("GPU", 0) // num_gpus))
        concurrency = (1, max(1, fits))
    low, high = concurrency
    if not 1 <= low <= high:
        raise ValueError(f"concurrency must be at least 1, and not {concurrency}")
    return low, high


def batch(
    source: str,
    output: str,
    model: str | os.PathLike[str] | None = None,
    *,
    address: str | None = None,
    column: str | None = None,
    resume: bool = False,
    workers: int | None = None,
    device: str = "auto",
    look: Look = DEFAULT_LOOK,
) -> tuple[bulk.Summary, FungiClassifier]:
    """Classifies what a source names, into a folder of Parquet parts: `fungi-onnx batch`.

    Args:
        source: a folder, a list, ``-`` or a Parquet table; the first two and the last may be
            addresses. A Parquet table is what ends with ``.parquet``, or has a ``column``.
        output: a folder or an address, see `fungi_onnx.parts`.
        model: as of `classify`.
        address: of the cluster, as of ``ray.init``; by default one is started on this machine.
        column: of the table, as of `fungi_onnx.blocks.of_table`.
        resume: go on with the results that are there.
        workers: how many; by default one for each CPU of the cluster, or for each GPU.
        device: ``"cpu"``, ``"cuda"``, or ``"auto"``: CUDA if the cluster has GPUs.
        look: how pictures are looked at.

    Returns:
        What the run came to, and the model.

    Raises:
        ModelNotFoundError, ModelFormatError, DeviceUnavailableError: as of `FungiClassifier`.
        SourceError: the source cannot be used, or storage refuses.
        ResultsError: as of `fungi_onnx.parts.Parts`.
        ClusterError: Ray cannot be reached, or failed.
        ValueError: ``device`` is none of the above.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device must be 'auto', 'cpu' or 'cuda' on a cluster, not '{device}'")
    source, query = storage.query_of(source)
    at = Storage(query)
    table = column is not None or source.rstrip("/").endswith(".parquet")
    names = iter(()) if table else storage.names(source, at)  # told before any work
    checked = look.classifier(model)
    with _connected(address):
        has = ray.cluster_resources()
        num_gpus = int(device == "cuda" or (device == "auto" and has.get("GPU", 0) >= 1))
        if num_gpus and not has.get("GPU"):
            raise DeviceUnavailableError(
                "device 'cuda' was asked for, and the cluster has no GPU (ray status shows it)"
            )
        num_cpus = max(1, int(has.get("CPU", 1) // has["GPU"])) if num_gpus else 1
        pool = _concurrency(workers, num_cpus, num_gpus)
        job = _Job(
            name=checked.path.name,
            look=look,
            storage=at,
            folder=os.getcwd(),
            witness=None,
            device="cuda" if num_gpus else "cpu",
            workers=num_cpus,
        )
        run = bulk.description(
            checked,
            source,
            look.top_k,
            look.limits,
            look.allow_truncated,
        )
        run["made_by"]["device"] = job.device
        with Parts(output, run, resume=resume) as parts, bulk.stopped_by_sigterm():
            witness: list[str] = []
            if table:
                found = blocks.of_table(source, column, at, parts.done, pool[1])
            else:
                left = bulk.left(_noting(names, witness), parts.done)
                found = blocks.of_names(left, pool[1])
            refs, total = [], parts.done.rows
            for block in found:
                refs.append(ray.put(block))
                total += len(block)
            job = dataclasses.replace(job, witness=witness[0] if witness else None)
            progress = Progress(parts.done.rows, parts.failed.total(), lambda: total)

            def rows() -> Iterator[int]:
                if not refs:
                    return
                dataset = _classified(
                    ray.data.from_arrow_refs(refs), checked.path, job, pool, num_gpus
                )
                _settle(dataset.context)
                for rows in dataset.iter_batches(batch_size=None, batch_format="pyarrow"):
                    parts.append(rows)
                    yield len(rows)

            try:
                return bulk.collect(rows(), parts, progress), checked
            except RayError as error:
                raise _cause(error) from None
            finally:
                parts.flush()


def _settle(context: DataContext) -> None:
    """Rows in the order of the names, and our own progress instead of Ray's."""
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.execution_options.preserve_order = True


def _noting(names: Iterator[str], witness: list[str]) -> Iterator[str]:
    for name in names:
        if not witness and not storage.is_address(name) and os.path.exists(name):
            witness.append(name)
        yield name


@contextlib.contextmanager
def _connected(address: str | None) -> Iterator[None]:
    """Inside, Ray is connected to a cluster, or to one that is started of this machine's CPUs."""
    if ray.is_initialized():
        yield
        return
    # Without an address Ray would take any cluster that it finds on this machine.
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    own = address == "local"
    if own:  # by itself Ray reports to its makers
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        _reach(address)
        ray.init(
            address=address,
            num_cpus=cpus.available() if own else None,
            include_dashboard=False if own else None,
            log_to_driver=False,
            logging_level=logging.CRITICAL,  # what goes wrong is raised
        )
    except (OSError, RayError, ValueError, RuntimeError) as error:
        where = "on this machine" if own else f"at {address}"
        raise ClusterError(f"no Ray cluster {where}: {told(error)}") from None
    try:
        yield
    finally:
        ray.shutdown()


def _reach(address: str) -> None:
    """Raises OSError if nobody listens there; Ray by itself would try for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdecimal():
        with socket.create_connection((host.strip("[]"), int(port)), timeout=10):
            pass


def _cause(error: RayError) -> FungiOnnxError:
    """What of ours is behind a failure, which Ray passes on as text; or what Ray says."""
    kinds = (SourceError, DeviceUnavailableError, ModelFormatError)
    found = re.findall(r"fungi_onnx\.errors\.(\w+): (.+)", str(error))
    for name, text in reversed(found):
        for kind in kinds:
            if kind.__name__ == name:
                return kind(text)
    return ClusterError(f"Ray failed: {told(error)}")
