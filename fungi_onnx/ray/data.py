"""Ray Data: an actor pool classifies a dataset of pictures.

Ray moves the work; what a row is, and which rows are there, is decided where a single machine
decides it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray
from ray.data import ActorPoolStrategy, Dataset

from fungi_onnx import blocks, parquet, storage
from fungi_onnx.classifier import FungiClassifier
from fungi_onnx.errors import SourceError
from fungi_onnx.image import DEFAULT_LIMITS
from fungi_onnx.limits import Limits
from fungi_onnx.quiet import decoders_silenced
from fungi_onnx.storage import Storage
from fungi_onnx.temperature import Temperature
from fungi_onnx.views import DEFAULT_VIEW, Crop, View


@dataclasses.dataclass(frozen=True)
class Look:
    """How pictures are looked at, and how many classes a row has: as of `FungiClassifier`."""

    top_k: int = 5
    view: View = DEFAULT_VIEW
    crop: Crop = "whole"
    limits: Limits = DEFAULT_LIMITS
    allow_truncated: bool = False
    temperature: Temperature | None = None
    min_probability: float | None = None

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
            temperature=self.temperature,
        )

    def settled(self, classifier: FungiClassifier) -> Look:
        """The same for machines that have the model, and nothing that lies beside it here."""
        return dataclasses.replace(self, temperature=classifier.temperature)


DEFAULT_LOOK = Look()


@dataclasses.dataclass(frozen=True)
class Job:
    """What a worker needs besides the model.

    Attributes:
        name: of the model file.
        look: how pictures are looked at.
        storage: opens what has an address.
        folder: that local paths are relative to.
        witness: a local picture that must be seen.
        num_cpus, num_gpus: what the worker has.
    """

    name: str
    look: Look
    storage: Storage
    folder: str
    witness: str | None
    num_cpus: int
    num_gpus: float


class Worker:
    """An actor: one session, which classifies block after block."""

    def __init__(self, model: Any, job: Job) -> None:
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
            self._classifier = job.look.classifier(path, "cuda" if job.num_gpus else "cpu")
        self._job = job

    def __call__(self, block: pa.Table) -> pa.Table:
        job, names = self._job, []
        blocks.check(block)

        def images() -> Iterator[Any]:
            found = blocks.pictures(block, job.storage, job.look.limits, job.num_cpus)
            for name, image in found:
                names.append(name)
                yield image

        with decoders_silenced():
            predictions = self._classifier.classify_many(
                images(),
                job.look.top_k,
                workers=job.num_cpus,
                min_probability=job.look.min_probability,
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
        A dataset with the columns ``image``, ``top``, ``unsure``, ``error_type`` and
        ``error_message``, as `fungi_onnx.parquet` has them. ``image`` is the path, or empty. A
        picture that cannot be used is a row with an error.

    Raises:
        ModelNotFoundError, ModelFormatError: as of `FungiClassifier`.
        ValueError: an argument is none of the above.
        When the dataset is worked through, ``ray.exceptions.RayError``, whose text ends with that
        of a SourceError (storage refuses, or a machine does not see the pictures) or of a
        DeviceUnavailableError: Ray passes them on as text.
    """
    checked = look.classifier(model)
    pool = pool_size(concurrency, num_cpus, num_gpus)
    witness = None
    if not isinstance(source, Dataset):
        refs, _, witness = shipped(blocks.of_names(map(os.fspath, source), pool[1]))
        source = ray.data.from_arrow_refs(refs)
    look = look.settled(checked)
    job = Job(checked.path.name, look, Storage(), os.getcwd(), witness, num_cpus, num_gpus)
    return classified(source, checked.path, job, pool)


def shipped(found: Iterable[pa.Table]) -> tuple[list[Any], int, str | None]:
    """Puts blocks into the object store.

    Returns:
        The references, how many rows there are, and one local picture that is there, if any is
        named: a machine that does not see it sees none.
    """
    refs, rows, witness = [], 0, None
    for block in found:
        if witness is None:
            local = (name for name in blocks.names(block) if not storage.is_address(name))
            witness = next((name for name in local if os.path.exists(name)), None)
        rows += len(block)
        refs.append(ray.put(block))
    return refs, rows, witness


def classified(source: Dataset, model: Path, job: Job, pool: tuple[int, int]) -> Dataset:
    """The dataset of rows, lazily, made by as many workers as ``pool`` says."""
    return source.map_batches(
        Worker,
        # Once, into the object store: each machine fetches it once from there.
        fn_constructor_args=[ray.put(model.read_bytes()), job],
        batch_size=512 if job.num_gpus else None,  # None: block by block
        batch_format="pyarrow",
        compute=ActorPoolStrategy(min_size=pool[0], max_size=pool[1]),
        num_cpus=job.num_cpus,
        num_gpus=job.num_gpus or None,
        udf_modifying_row_count=False,
    )


def pool_size(
    concurrency: int | tuple[int, int] | None, num_cpus: int, num_gpus: float
) -> tuple[int, int]:
    """How many workers at least and at most; by default as many as the cluster has room for.

    Raises:
        ValueError: that cannot be.
    """
    if num_cpus < 1 or num_gpus < 0:
        raise ValueError(f"a worker has at least 1 CPU, and not {num_cpus} and {num_gpus:g} GPUs")
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
