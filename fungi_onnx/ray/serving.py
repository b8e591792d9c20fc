"""Ray Serve: replicas of the server's own application, as many as the load asks for."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import ray
from ray import serve
from starlette.types import ASGIApp

from fungi_onnx import selftest
from fungi_onnx.classifier import FungiClassifier
from fungi_onnx.errors import (
    DeviceUnavailableError,
    ModelFormatError,
    ModelNotFoundError,
    SourceError,
)
from fungi_onnx.image import DEFAULT_LIMITS
from fungi_onnx.limits import Limits
from fungi_onnx.quiet import decoders_silenced
from fungi_onnx.server.app import application
from fungi_onnx.server.run import settle_process
from fungi_onnx.server.settings import Settings
from fungi_onnx.storage import Storage, is_address, query_of, told


def deployment(
    model: str | os.PathLike[str] | None = None,
    *,
    replicas: tuple[int, int] = (1, 8),
    num_cpus: int = 1,
    num_gpus: float = 0,
    settings: Settings | None = None,
    limits: Limits = DEFAULT_LIMITS,
    temperature: float | None = None,
) -> serve.Application:
    """An application for Ray Serve: ``serve.run(deployment("fungi.onnx"))``.

    It answers what `fungi-onnx serve` answers. What is set here is in the configuration that
    ``serve build`` writes, and can be changed there.

    Args:
        model: as of `FungiClassifier`, on each machine that runs a replica; or an address
            (``s3://models/fungi.onnx``), from which each replica fetches it.
        replicas: at least and at most how many; Ray starts and stops them with the load.
        num_cpus: CPUs of each replica, and so its threads.
        num_gpus: GPUs of each: 0, or 1, or a fraction, for replicas that share one.
        settings: how each serves, as of `fungi-onnx serve`; its ``workers`` are the CPUs that
            Ray gives it. With ``batch`` above 1, Ray Serve gathers the pictures of a batch; by
            default that is so on GPUs, with 16. Ray's own HTTP proxy holds the connections:
            ``grace``, ``max_connections`` and ``root_path`` are its business.
        limits: how large pictures may be.
        temperature: as of `FungiClassifier`, as a number.

    Raises:
        ValueError: ``replicas`` are less than 0, or more at least than at most.
    """
    low, high = replicas
    if not 0 <= low <= high or high < 1:
        raise ValueError(f"replicas must be at least and at most how many, and not {replicas}")
    if model is not None and os.path.isfile(model):  # else an address, or an installed wheel
        model = os.path.abspath(model)
    settings = settings or Settings(batch=16 if num_gpus else 1)
    busy = max(settings.batch, num_cpus)
    return serve.deployment(
        serve.ingress()(Replica),
        name="fungi-onnx",
        ray_actor_options={"num_cpus": num_cpus, "num_gpus": num_gpus},
        autoscaling_config={
            "min_replicas": low,
            "max_replicas": high,
            # As many again as are worked on: the next ones are there when a thread is free.
            "target_ongoing_requests": 2 * busy,
        },
        # A replica never has more than it may accept, and what none has room for is refused.
        max_ongoing_requests=num_cpus + settings.queue,
        max_queued_requests=num_cpus + settings.queue,
    ).bind(model, settings, limits, temperature)


class Replica:
    """A process with one session, which serves."""

    def __init__(
        self,
        model: str | os.PathLike[str] | None,
        settings: Settings,
        limits: Limits,
        temperature: float | None = None,
    ) -> None:
        """Loads the model and runs its golden probes: a replica that fails them never serves.

        Raises:
            ModelNotFoundError, ModelFormatError, DeviceUnavailableError: as of `FungiClassifier`;
                the second also if a probe failed.
            SourceError: storage refuses the model.
        """
        settle_process()
        self._quiet = contextlib.ExitStack()  # for as long as the process lives
        self._quiet.enter_context(decoders_silenced())
        has = ray.get_runtime_context().get_assigned_resources()
        self._settings = dataclasses.replace(settings, workers=max(1, int(has.get("CPU", 1))))
        self._limits = limits
        self._failure: DeviceUnavailableError | None = None
        device = "cuda" if has.get("GPU") else "cpu"
        with _at_hand(model) as path:
            self._classifier = FungiClassifier(
                path, device=device, threads=1, limits=limits, temperature=temperature
            )
        self._classifier.warm_up(self._settings.batch)
        self._report = selftest.run(self._classifier)
        if self._report.failure is not None:
            raise ModelFormatError(f"{self._classifier.path}: {self._report.failure}")

    def __serve_build_asgi_app__(self) -> ASGIApp:
        return application(
            self._classifier,
            self._settings,
            self._limits,
            on_failure=self._fail,
            batcher=_batcher,
            report=self._report,
        )

    def check_health(self) -> None:
        """Asked by Ray every few seconds; who raises is replaced.

        Raises:
            DeviceUnavailableError: the GPU failed, and does not come back in the same process.
        """
        if self._failure is not None:
            raise self._failure

    def _fail(self, error: DeviceUnavailableError) -> None:
        self._failure = error


def _batcher(
    run: Callable[[list[Any]], Awaitable[list[Any]]], *, size: int, delay: float, parallel: int
) -> Any:
    """Ray's request batching in the form of `fungi_onnx.server.batching.Batcher`."""

    async def batch(items: list[Any]) -> list[Any]:
        return await run(items)

    return serve.batch(
        max_batch_size=size, batch_wait_timeout_s=delay, max_concurrent_batches=parallel
    )(batch)


@contextlib.contextmanager
def _at_hand(model: str | os.PathLike[str] | None) -> Iterator[str | os.PathLike[str] | None]:
    """A path of the model: its own, or inside this that of a copy."""
    if model is None or not is_address(os.fspath(model)):
        yield model
        return
    address, query = query_of(os.fspath(model))
    try:
        system, inside = Storage(query).locate(address)
        with system.open_input_stream(inside) as file:
            data = file.read()
    except FileNotFoundError:
        raise ModelNotFoundError(f"{address}: there is no such model") from None
    except OSError as error:
        raise SourceError(f"{address}: the model cannot be read: {told(error)}") from None
    with tempfile.TemporaryDirectory(prefix="fungi-onnx-") as folder:
        path = Path(folder, inside.rpartition("/")[2])
        path.write_bytes(data)
        yield path


app = deployment()
