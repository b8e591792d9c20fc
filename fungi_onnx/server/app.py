"""The application: all routes, in one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from pydantic.json_schema import models_json_schema
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from fungi_onnx import __version__
from fungi_onnx.classifier import FungiClassifier
from fungi_onnx.errors import DeviceUnavailableError
from fungi_onnx.limits import Limits
from fungi_onnx.selftest import Report
from fungi_onnx.server import operations, page, problems, schemas, v1, v2
from fungi_onnx.server.batching import Batcher
from fungi_onnx.server.body import Bodies
from fungi_onnx.server.engine import Engine, MakesBatcher
from fungi_onnx.server.gate import OPEN, Gate
from fungi_onnx.server.metrics import Metrics
from fungi_onnx.server.settings import Settings

logger = logging.getLogger("fungi_onnx.server")


def application(
    classifier: FungiClassifier,
    settings: Settings,
    limits: Limits,
    on_failure: Callable[[DeviceUnavailableError], None] = lambda _: None,
    batcher: MakesBatcher = Batcher,
    report: Report | None = None,
) -> ASGIApp:
    """Makes the application.

    Args:
        classifier: the model, with a session of one thread.
        settings: how it is served.
        limits: those that the classifier has, to be told to clients.
        on_failure: as of `Engine`: is told when nothing can be answered any more.
        batcher: as of `Engine`.
        report: the outcome of the golden probes, if they have run: pictures are then taken at
            once. By default they run when the application starts.
    """
    metrics = Metrics(classifier, settings.workers)
    engine = Engine(classifier, settings, metrics, on_failure, batcher)
    engine.report = report
    bodies = Bodies(settings, metrics)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, Any]]:
        probing = None if engine.report else asyncio.create_task(_probe(engine))
        # What the protocol needs of it.
        yield {"max_connections": settings.max_connections, "rejected": metrics.rejected}
        if probing is not None:
            await probing
        await asyncio.to_thread(engine.close)

    app = FastAPI(
        title="fungi-onnx",
        version=__version__,
        summary=f"{classifier.model.name}, without TensorFlow.",
        description=_description(classifier),
        license_info={"name": f"The model: {classifier.model.terms.licence}"},
        root_path=settings.root_path,
        lifespan=lifespan,
        docs_url=None,  # they would load scripts from elsewhere
        redoc_url=None,
        exception_handlers={
            problems.ProblemError: problems.on_problem,
            HTTPException: problems.on_http_exception,
            RequestValidationError: problems.on_invalid,
            Exception: problems.on_failure,
        },
    )
    app.include_router(v1.routes(engine, bodies, settings, limits))
    app.include_router(v2.routes(engine, bodies))
    app.include_router(operations.routes(engine, metrics))
    app.include_router(page.routes())
    _complete_openapi(app, secured=settings.token is not None)
    gate = Gate(app, engine, metrics, settings)
    if not settings.cors_origins:
        return gate
    return CORSMiddleware(
        gate,
        allow_origins=settings.cors_origins,
        allow_methods=["GET", "POST"],
        allow_headers=["Authorization", "Content-Type", v2.HEADER_LENGTH],
        expose_headers=["Retry-After", v2.HEADER_LENGTH],
    )


async def _probe(engine: Engine) -> None:
    try:
        report = await engine.probe()
    except DeviceUnavailableError:
        return  # the server stops, and says so
    passed = sum(result.problem is None for result in report.results)
    text = f"{passed} of {len(report.results)} golden probes passed on {report.device}"
    if report.ok:
        logger.info("ready: %s", text)
    else:
        logger.error("not ready, and it will not be: %s; see fungi-onnx selftest", text)


def _description(classifier: FungiClassifier) -> str:
    terms = classifier.model.terms
    warnings = " ".join(f"**Not for {use}.**" for use in terms.unsuitable)
    return (
        f"{warnings}\n\nErrors are problem details (RFC 9457). A server that has more work than it"
        " can take answers 503 with Retry-After."
    )


def _complete_openapi(app: FastAPI, *, secured: bool) -> None:
    """Adds what the framework cannot see: the schemas of errors and raw bodies, the token."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is not None:
            return app.openapi_schema
        document = generate()
        _, found = models_json_schema(
            [
                (model, "validation")
                for model in (schemas.Problem, schemas.FormProblem, schemas.InferRequest)
            ],
            ref_template="#/components/schemas/{model}",
        )
        components = document.setdefault("components", {})
        components["schemas"] = {**found["$defs"], **components.get("schemas", {})}
        if secured:
            components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
            for path in set(document["paths"]) - set(OPEN):
                for operation in document["paths"][path].values():
                    operation["security"] = [{"token": []}]
                    operation["responses"].update(problems.documented(401))
        return document

    app.openapi = openapi  # type: ignore[method-assign]
