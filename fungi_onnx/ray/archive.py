"""An archive on a cluster: what `fungi-onnx batch --engine ray` does."""

from __future__ import annotations

import os
from collections.abc import Iterator

import ray
from ray.data import DataContext
from ray.exceptions import RayError

from fungi_onnx import blocks, bulk, storage
from fungi_onnx.classifier import FungiClassifier
from fungi_onnx.errors import DeviceUnavailableError
from fungi_onnx.parts import Parts
from fungi_onnx.progress import Progress
from fungi_onnx.ray.cluster import cause, connected
from fungi_onnx.ray.data import DEFAULT_LOOK, Job, Look, classified, pool_size, shipped
from fungi_onnx.storage import Storage


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
    with connected(address):
        num_cpus, num_gpus = _of_each_worker(device)
        pool = pool_size(workers, num_cpus, num_gpus)
        look = look.settled(checked)
        run = bulk.description(
            checked, source, look.top_k, look.min_probability, look.limits, look.allow_truncated
        )
        run["made_by"]["device"] = "cuda" if num_gpus else "cpu"
        with Parts(output, run, resume=resume) as parts, bulk.stopped_by_sigterm():
            if table:
                found = blocks.of_table(source, column, at, parts.done, pool[1])
            else:
                found = blocks.of_names(bulk.left(names, parts.done), pool[1])
            refs, new, witness = shipped(found)
            job = Job(checked.path.name, look, at, os.getcwd(), witness, num_cpus, num_gpus)

            def rows() -> Iterator[int]:
                if not refs:
                    return
                dataset = classified(ray.data.from_arrow_refs(refs), checked.path, job, pool)
                _settle(dataset.context)
                for rows in dataset.iter_batches(batch_size=None, batch_format="pyarrow"):
                    parts.append(rows)
                    yield len(rows)

            progress = Progress(
                parts.done.rows, parts.failed.total(), lambda: parts.done.rows + new
            )
            try:
                return bulk.collect(rows(), parts, progress), checked
            except RayError as error:
                raise cause(error) from None
            finally:
                parts.flush()


def _of_each_worker(device: str) -> tuple[int, int]:
    """CPUs and GPUs: a GPU and its share of the CPUs, or one CPU."""
    has = ray.cluster_resources()
    if device == "cpu" or (device == "auto" and has.get("GPU", 0) < 1):
        return 1, 0
    if not has.get("GPU"):
        raise DeviceUnavailableError(
            "device 'cuda' was asked for, and the cluster has no GPU (ray status shows it)"
        )
    return max(1, int(has.get("CPU", 1) // has["GPU"])), 1


def _settle(context: DataContext) -> None:
    """Rows in the order of the names, and our own progress instead of Ray's."""
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.execution_options.preserve_order = True
