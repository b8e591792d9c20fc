"""What an operator's tools ask: is it alive, is it ready, how is it doing."""

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse

from fungi_onnx.server import problems, schemas
from fungi_onnx.server.engine import Engine
from fungi_onnx.server.metrics import MEDIA_TYPE, Metrics


def routes(engine: Engine, metrics: Metrics) -> APIRouter:
    """The routes of an operator."""
    router = APIRouter(tags=["operations"])

    @router.get("/healthz", responses={200: {"model": schemas.Health}})
    async def healthz() -> JSONResponse:
        """Whether the process is alive; if not, start it again."""
        return JSONResponse({"status": "ok"})

    @router.get(
        "/readyz", responses={200: {"model": schemas.Readiness}, **problems.documented(503)}
    )
    async def readyz() -> JSONResponse:
        """Whether answers are given: the golden probes have passed on this very machine."""
        return JSONResponse(engine.check_ready().to_dict())

    @router.get(
        "/metrics",
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    )
    async def prometheus() -> Response:
        """Counters and histograms in Prometheus' text format."""
        return Response(metrics.text(), media_type=MEDIA_TYPE)

    return router
