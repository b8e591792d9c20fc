"""What an operator watches, in Prometheus' form."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from fungi_onnx import __version__
from fungi_onnx.classifier import FungiClassifier

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# From a small JPEG (2 ms) to a request that waited in a full queue and was large.
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_REASONS = ("queue", "memory", "size", "slow", "time", "connections", "pipeline", "gone")


class Metrics:
    """The counters and histograms of one server.

    Attributes:
        requests: by method, route and status.
        seconds: of a request, from its head to the end of its answer, by route.
        stage: seconds of a picture by stage: ``queue`` (waiting), ``decode``, ``inference``.
        batch: pictures that shared a run of the model.
        rejected: requests that were refused to protect the server, by reason.
    """

    def __init__(self, classifier: FungiClassifier, workers: int) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call] # a time for each series, which nobody reads
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self.requests = Counter(
            "fungi_onnx_requests",
            "Requests answered.",
            ("method", "route", "status"),
            registry=registry,
        )
        self.seconds = Histogram(
            "fungi_onnx_request_seconds",
            "From a request's head to the end of its answer.",
            ("route",),
            buckets=_SECONDS,
            registry=registry,
        )
        self.stage = Histogram(
            "fungi_onnx_stage_seconds",
            "A picture's time by stage: queue, decode, inference.",
            ("stage",),
            buckets=_SECONDS,
            registry=registry,
        )
        self.batch = Histogram(
            "fungi_onnx_batch_size",
            "Pictures that shared a run of the model.",
            buckets=(1, 2, 4, 8, 16, 32, 64),
            registry=registry,
        )
        self.rejected = Counter(
            "fungi_onnx_rejections",
            "Requests refused to protect the server.",
            ("reason",),
            registry=registry,
        )
        # From the start, with zeros: what is not there cannot be watched.
        for stage in ("queue", "decode", "inference"):
            self.stage.labels(stage)
        for reason in _REASONS:
            self.rejected.labels(reason)
        Gauge("fungi_onnx_workers", "Threads that work.", registry=registry).set(workers)
        model = classifier.model
        Info("fungi_onnx_model", "The model that answers.", registry=registry).info(
            {
                "name": model.slug,
                "title": model.name,
                "precision": model.precision,
                "created": model.created,
                "device": classifier.device,
                "fungi_onnx": __version__,
            }
        )

    def watch(self, name: str, text: str, value: Callable[[], float]) -> None:
        """Adds a gauge that is read when it is asked for."""
        Gauge(name, text, registry=self._registry).set_function(value)

    def text(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self._registry)
